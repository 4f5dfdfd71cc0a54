"""Local time in sets: joins of `zone_period`, which holds when a time zone had which offset.

SQLite knows no time zones and PostgreSQL knows its own; both read ours, filled from the tz database through zoneinfo,
so a wait ends at the same moment wherever it is computed. Everything is whole microseconds: local micros are the wall
clock (the local date and time read as if it were UTC), days are counted from 1970-01-01.

A zone that is missing or isn't loaded counts as the brand's; the brand's must be loaded. Before 2000 and after 2060 the
nearest known offset holds. A wall-clock time that comes twice means the first one; one that is skipped means as long
after the jump as it would have been (zoneinfo's fold=0).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    delete,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from engine.store import zones
from engine.store.scratch import insert_ignore
from engine.store.tables import customer, zone_period
from engine.store.types import micros

SECOND = 1_000_000
DAY = 86_400 * SECOND
FARTHEST = 26 * 3600 * SECOND  # no wall clock is farther than this from UTC, nor jumps farther
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31

Micros = ColumnElement[Any] | datetime | int
Zone = ColumnElement[Any] | str | None


class UnknownZone(ValueError):
    """The tz database has no zone of this name."""


def ensure_zones(connection: Connection, names: Iterable[str | None]) -> None:
    """Load these zones, those that aren't yet. Names the tz database doesn't know are passed over.

    Call it where a customer's zone is written, in that transaction, and with the brand's zone before anything else.
    """
    wanted = {name for name in names if name in zones.names()}
    if wanted:
        first = zone_period.c.from_at == zones.BEGINNING
        known = select(zone_period.c.zone).where(zone_period.c.zone.in_(sorted(wanted)), first)
        _fill(connection, wanted.difference(connection.scalars(known)))


def ensure_used_zones(connection: Connection, brand_zone: str) -> None:
    """Load the brand's zone and every zone a customer has: one look at the whole customer table (after an import)."""
    if brand_zone not in zones.names():
        raise UnknownZone(f'there is no time zone "{brand_zone}"')
    used = connection.scalars(select(customer.c.timezone).where(customer.c.timezone.is_not(None)).distinct())
    ensure_zones(connection, {brand_zone, *used})


def loaded_zones(connection: Connection) -> list[str]:
    """The names of the zones that are loaded, in order."""
    first = zone_period.c.from_at == zones.BEGINNING
    return list(connection.scalars(select(zone_period.c.zone).where(first).order_by(zone_period.c.zone)))


def refresh_zones(connection: Connection) -> list[str]:
    """Load again those zones whose rules have changed with a new tz database, and name them. Call it at start."""
    rows = connection.execute(select(zone_period).order_by(zone_period.c.zone, zone_period.c.from_at))
    stored: dict[str, list[tuple[datetime, datetime, int]]] = {}
    for zone, from_at, to_at, offset in rows:
        stored.setdefault(zone, []).append((from_at, to_at, offset))
    changed = [z for z, was in stored.items() if z in zones.names() and tuple(was) != zones.periods(z)]
    if changed:
        connection.execute(delete(zone_period).where(zone_period.c.zone.in_(changed)))
        _fill(connection, changed)
    return changed


def _fill(connection: Connection, names: Iterable[str]) -> None:
    rows = [
        {"zone": zone, "from_at": from_at, "to_at": to_at, "offset_s": offset}
        for zone in sorted(names)
        for from_at, to_at, offset in zones.periods(zone)
    ]
    if rows:
        connection.execute(insert_ignore(connection, zone_period), rows)


def local_micros(instant: Micros, zone: Zone, brand_zone: str) -> ColumnElement[int]:
    """The wall clock at a moment. NULL for a NULL moment."""
    at = _whole(instant)
    return at + _first_known(lambda name: _offset_at(at, name), zone, brand_zone) * _number(SECOND)


def utc_micros(local: Micros, zone: Zone, brand_zone: str) -> ColumnElement[int]:
    """The moment a wall clock means. NULL for NULL."""
    at = _whole(local)
    return at - _first_known(lambda name: _offset_on_wall(at, name), zone, brand_zone) * _number(SECOND)


def local_day(instant: Micros, zone: Zone, brand_zone: str) -> ColumnElement[int]:
    """The number of the local day at a moment."""
    return day_of(local_micros(instant, zone, brand_zone))


def local_date(instant: Micros, zone: Zone, brand_zone: str) -> ColumnElement[str]:
    """The local date at a moment, as `2026-12-24`."""
    return day_text(local_day(instant, zone, brand_zone))


def day_of(local: Micros) -> ColumnElement[int]:
    """The number of the day in which a wall-clock time lies; days before 1970 are negative."""
    # Division truncates towards zero, so it is done from the first day of the calendar on.
    return (_whole(local) - _number(FIRST_DAY * DAY)) // _number(DAY) + _number(FIRST_DAY)


def time_of_day(local: Micros) -> ColumnElement[int]:
    """Microseconds since local midnight of a wall-clock time."""
    return (_whole(local) - _number(FIRST_DAY * DAY)) % _number(DAY)


def weekday_of(day: ColumnElement[int]) -> ColumnElement[int]:
    """0 (Monday) to 6 (Sunday) of a day number. 0001-01-01 was a Monday."""
    return (day - _number(FIRST_DAY)) % _number(7)


def day_text(day: ColumnElement[int]) -> ColumnElement[str]:
    """`2026-12-24` of a day number; NULL outside the years 1 to 9999."""
    return case((day.between(_number(FIRST_DAY), _number(LAST_DAY)), _DayText(day)))


def day_number(text: ColumnElement[Any]) -> ColumnElement[int]:
    """The day number of a text like `2026-12-24`; NULL when the text is not exactly a day of the calendar."""
    return _DayNumber(text)


def _first_known(offset: Any, zone: Zone, brand_zone: str) -> ColumnElement[int]:
    brand: ColumnElement[int] = offset(literal(brand_zone, Text))
    if zone is None or (isinstance(zone, str) and zone == brand_zone):
        return brand
    named: ColumnElement[int] = offset(literal(zone, Text) if isinstance(zone, str) else zone)
    return func.coalesce(named, brand)


def _offset_at(at: ColumnElement[int], zone: ColumnElement[str]) -> ColumnElement[int]:
    """Seconds east of UTC at a moment; NULL for a zone that isn't loaded. One seek in the primary key."""
    p = zone_period.alias()
    found = select(type_coerce(p.c.offset_s, BigInteger)).where(p.c.zone == zone, _whole(p.c.from_at) <= at)
    return found.order_by(p.c.from_at.desc()).limit(1).correlate_except(p).scalar_subquery()


def _offset_on_wall(local: ColumnElement[int], zone: ColumnElement[str]) -> ColumnElement[int]:
    """Seconds east of UTC that a wall clock is to be read with.

    The last period whose first wall-clock time has come is the one, but in an hour that comes twice the one before it.
    A skipped hour lies before the first wall-clock time of the new period, so it is read with the old offset.
    """
    p, q = zone_period.alias(), zone_period.alias()
    start = _whole(p.c.from_at)
    before = (
        select(q.c.offset_s)
        .where(q.c.zone == p.c.zone, q.c.from_at < p.c.from_at)
        .order_by(q.c.from_at.desc())
        .limit(1)
        .correlate_except(q)
        .scalar_subquery()
    )
    again = and_(local < start + _number(FARTHEST), local < start + before * _number(SECOND))
    found = select(type_coerce(case((again, before), else_=p.c.offset_s), BigInteger)).where(
        p.c.zone == zone,
        start <= local + _number(FARTHEST),  # a bound for the index
        start + p.c.offset_s * _number(SECOND) <= local,
    )
    return found.order_by(p.c.from_at.desc()).limit(1).correlate_except(p).scalar_subquery()


def _whole(value: Micros) -> ColumnElement[int]:
    """Microseconds as a plain number: arithmetic on an Instant would give an Instant back."""
    if isinstance(value, datetime):
        return _number(micros(value))
    return _number(value) if isinstance(value, int) else type_coerce(value, BigInteger)


def _number(value: int) -> ColumnElement[int]:
    return literal(value, BigInteger)  # PostgreSQL would add and multiply small numbers in 32 bits


class _DayText(FunctionElement[str]):
    name = "day_text"
    type = Text()
    inherit_cache = True


class _DayNumber(FunctionElement[int]):
    name = "day_number"
    type = BigInteger()
    inherit_cache = True


@compiles(_DayText, "sqlite")
def _day_text_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"date(({compiler.process(element.clauses, **kw)}) * 86400, 'unixepoch')"


@compiles(_DayText, "postgresql")
def _day_text_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"to_char(DATE '1970-01-01' + CAST({compiler.process(element.clauses, **kw)} AS INTEGER), 'YYYY-MM-DD')"


@compiles(_DayNumber, "sqlite")
def _day_number_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # date() reads 'now' and, with a modifier, mends 2026-02-30: only a text that it gives back unchanged is a date.
    text = compiler.process(element.clauses, **kw)
    is_date = f"date({text}, '+0 days') = {text} AND {text} >= '0001'"
    return f"CASE WHEN {is_date} THEN CAST(julianday({text}) - 2440587.5 AS INTEGER) END"


@compiles(_DayNumber, "postgresql")
def _day_number_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return (
        f"CASE WHEN {text} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$' AND pg_input_is_valid({text}, 'date') "
        f"THEN CAST(CAST({text} AS DATE) - DATE '1970-01-01' AS BIGINT) END"
    )
