"""Time zones in Python: which there are, when each had which offset, and the moment a wall clock means.

What `local_time` does in sets, the functions here do for one moment; the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

FIRST_YEAR, END_YEAR = 2000, 2060
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
# Since 2000 no zone has kept an offset for less than a week (Gaza, Recife), so a step of three days passes none by.
_STRIDE = timedelta(days=3)
_SECOND = timedelta(seconds=1)


@cache
def names() -> frozenset[str]:
    """Every time zone of the tz database."""
    return frozenset(available_timezones())


@cache
def zone_named(name: str) -> ZoneInfo:
    """The zone of this name. Kept: zoneinfo itself keeps eight, and reads the others from their files each time."""
    return ZoneInfo(name)


def zone_or(name: str | None, brand_zone: str) -> ZoneInfo:
    """The zone of this name, or the brand's when there is none of that name."""
    return zone_named(name if name in names() else brand_zone)


@cache
def periods(zone: str) -> tuple[tuple[datetime, datetime, int], ...]:
    """(from, to, seconds east of UTC), without a gap from the first to the last moment of the calendar.

    Exact from 2000 to 2060; before and after, the nearest offset is drawn out.
    """
    return tuple(_periods(zone_named(zone)))


def _periods(zone: ZoneInfo) -> Iterator[tuple[datetime, datetime, int]]:
    begin, at, last = BEGINNING, datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(END_YEAR, 1, 1, tzinfo=UTC)
    offset = _offset(at, zone)
    while at < last:
        then, at = at, at + _STRIDE
        if _offset(at, zone) != offset:
            change = _change(then, at, zone)
            yield begin, change, offset
            begin, offset = change, _offset(change, zone)
            at = change
    yield begin, END, offset


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second in which the offset becomes another than it was before, by bisection."""
    offset = _offset(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2 // _SECOND * _SECOND
        before, after = (middle, after) if _offset(middle, zone) == offset else (before, middle)
    return after


def _offset(at: datetime, zone: ZoneInfo) -> int:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset // _SECOND


def wall(at: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows at this moment: a naive datetime."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment a wall clock means. A time that comes twice means the first one; one that is skipped means as long
    after the jump as it would have been."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the wall clock shows this time or a later one: of a skipped time, the jump itself."""
    late = instant(local, zone)
    if wall(late, zone) == local:
        return late
    # Skipped. Read with the offset after the jump it lies before the jump, with the offset before the jump behind it.
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change(early.replace(microsecond=0), late.replace(microsecond=0), zone)
