"""`schedule: "0 9 * * mon"` or `at: 2026-12-24 09:00`: all of the audience enter when the time comes.

    enter: {schedule: "0 9 * * mon", zone: customer, audience: consented("email", "news")}

Five fields as in Debian's cron: minute, hour, day of the month, month, day of the week, with names (`jan`, `mon`),
lists, ranges, steps, `L` and `mon#1`; when both days are given, either will do. The times are those of the brand's
zone, of the zone that is named, or with `zone: customer` of each customer's own.

A time goes off once in each zone. One that the clock shows twice goes off the first time; one that it skips goes off
at the jump; several that come due together go off as one, the last of them. What was missed while nothing was running
is the `misfire`'s: `run` it whenever it is found, `skip` it (later than five minutes), or `run within 6h`; `run within
1h` is the default. The cause is the local time, so somebody who travels enters once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, PlainSerializer, WithJsonSchema, model_validator
from sqlalchemy import Select, literal, null, select

from engine.cohort.fires import Beginning, Fire, Look, Timed
from engine.language.errors import Wrong
from engine.language.journey import Complaint, Dated
from engine.language.moments import LocalMoment, duration_text, parse_duration, text_or
from engine.language.registry import trigger
from engine.store import zones
from engine.store.tables import customer
from engine.store.zones import first_instant, wall, zone_named

ON_TIME = timedelta(minutes=5)
NEW_YEAR = datetime.fromisoformat("2026-01-01")  # any: schedules are read on the wall clock
MINUTE = timedelta(minutes=1)
FOLD = timedelta(hours=3)  # no clock has been put back by more since 2000
_FIELDS = 'write minute, hour, day, month and weekday, like "0 9 * * mon"'


def _cron(text: str) -> str:
    text = " ".join(text.split())
    if len(text.split(" ")) != 5:
        raise Wrong(f'"{text}" has {len(text.split())} fields, and a schedule has five', _FIELDS)
    try:
        CronSim(text, NEW_YEAR)
    except CronSimError as error:
        said = str(error).removeprefix("Bad ")
        raise Wrong(f'"{text}" is no schedule: there is no such {said}', _FIELDS) from None
    return text


def _zone(text: str) -> str:
    if text not in ("brand", "customer") and text not in zones.names():
        raise Wrong(f'"{text}" is not a time zone', "write brand, customer or a name like Africa/Nairobi")
    return text


@dataclass(frozen=True)
class Misfire:
    """How late a fire still goes off; None: however late."""

    within: timedelta | None

    def __str__(self) -> str:
        if self.within is None:
            return "run"
        return "skip" if self.within == ON_TIME else f"run within {duration_text(self.within)}"


def parse_misfire(text: str) -> Misfire:
    """`run`, `skip` or `run within 6h`."""
    words = text.split()
    if words == ["run"]:
        return Misfire(None)
    if words == ["skip"]:
        return Misfire(ON_TIME)
    if len(words) == 3 and words[:2] == ["run", "within"]:
        return Misfire(max(parse_duration(words[2]), ON_TIME))
    raise Wrong(f'"{text}" says not what to do with a missed time', "write run, skip or run within 6h")


MisfireRule = Annotated[
    Misfire,
    text_or(Misfire, parse_misfire),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(run|skip|run within [0-9]+[mhdw])$"}),
]
Cron = Annotated[str, text_or(str, _cron), WithJsonSchema({"type": "string", "examples": ["0 9 * * mon"]})]
ZoneRule = Annotated[
    str, text_or(str, _zone), WithJsonSchema({"type": "string", "examples": ["brand", "customer", "Africa/Nairobi"]})
]


@trigger("schedule", "at")
class ScheduleTrigger(Timed):
    """Lets all of the audience in at a time, once or again and again."""

    schedule: Cron | None = Field(None, description="When, again and again: the five fields of cron.")
    at: LocalMoment | None = Field(None, description="When, once: a date and a time.")
    zone: ZoneRule = Field("brand", description="Whose time it is: brand, customer (each their own) or a time zone.")
    misfire: MisfireRule = Field(Misfire(timedelta(hours=1)), description="What becomes of a time that was missed.")

    @model_validator(mode="after")
    def _one_time(self) -> ScheduleTrigger:
        if (self.schedule is None) == (self.at is None):
            raise Wrong("a schedule is either a cron or a moment", "write schedule: or at:, not both")
        return self

    def broadcasts(self) -> bool:
        return True

    def dated(self) -> Iterable[Dated]:
        if self.at is not None:
            yield Dated(("at",), self.at, "nobody is let in any more")

    def complaints(self) -> Iterable[Complaint]:
        if self.schedule is not None and next(self._times(NEW_YEAR, back=False), None) is None:
            yield Complaint(("schedule",), "this time never comes", _FIELDS)

    def anchor(self) -> str:
        return f"time {self.schedule or self.at} {self.zone}"

    def next_fire(self, now: datetime, zones: Iterable[str], brand_zone: str) -> datetime | None:
        moments: list[datetime] = []
        for name in self._in(tuple(zones), brand_zone):
            zone = zone_named(name)
            times = self._times(wall(now, zone) - MINUTE, back=False)
            moments += islice((at for local in times if (at := first_instant(local, zone)) > now), 1)
        return min(moments, default=None)

    def pending(self, look: Look, beginning: Beginning) -> list[Fire]:
        after = beginning.after(look.now)
        if self.misfire.within is not None:
            after = max(after, look.now - self.misfire.within)
        zones_of: dict[tuple[datetime, datetime], list[str]] = defaultdict(list)
        for name in self._in(look.zones, look.brand_zone):
            if (last := self._last(zone_named(name), after, look.now)) is not None:
                zones_of[last].append(name)
        if not zones_of:
            return []
        # A fire of the near future went off when the clock ran ahead; one of the far future is an old mistake of the
        # clock.
        oldest, newest = min(local for local, _ in zones_of), max(local for local, _ in zones_of) + timedelta(days=1)
        latest: dict[str, str] = {}
        for name, fire in look.fired({z for names in zones_of.values() for z in names}, _name(oldest), _name(newest)):
            latest[name] = max(fire, latest.get(name, ""))
        fires = []
        for (local, at), names in sorted(zones_of.items()):
            open_in = tuple(name for name in names if latest.get(name, "") < _name(local))
            if open_in:
                fires.append(Fire(_name(local), open_in, at))
        return fires

    def named(self, look: Look, fire: Fire) -> Select[Any]:
        cause = literal(f"schedule:{fire.name.removeprefix(_TIME)}").label("cause")
        rows = select(customer.c.id.label("customer_id"), cause, null().label("event_id"))
        return rows.where(look.lives_in(fire.zones)) if self.zone == "customer" else rows

    def _in(self, loaded: tuple[str, ...], brand_zone: str) -> tuple[str, ...]:
        """The zones whose clocks count."""
        if self.zone == "customer":
            return tuple(sorted({*loaded, brand_zone}))
        return (brand_zone if self.zone == "brand" else self.zone,)

    def _times(self, start: datetime, *, back: bool) -> Iterator[datetime]:
        """The local times after `start` (or before it, latest first)."""
        if self.at is not None:
            if self.at < start if back else self.at > start:
                yield self.at
            return
        local: datetime | None = start
        while local and (local := _neighbour(self.schedule or "", local, back)):
            yield local

    def _last(self, zone: ZoneInfo, after: datetime, now: datetime) -> tuple[datetime, datetime] | None:
        """The last local time that has come, with its moment, if that lies in [after, now]."""
        # Within a fold the clock has shown later times than it shows now.
        start = max(wall(now, zone), wall(now - FOLD, zone) + FOLD)
        for local in self._times(start.replace(second=0, microsecond=0) + MINUTE, back=True):
            at = first_instant(local, zone)
            if at <= now:
                return (local, at) if at >= after else None
        return None


@lru_cache(4096)
def _neighbour(schedule: str, start: datetime, back: bool) -> datetime | None:
    """The local time next to `start`. Kept: in one look hundreds of zones ask for a few dozen."""
    return next(CronSim(schedule, start, reverse=back), None)


def _name(local: datetime) -> str:
    return f"{_TIME}{local:%Y-%m-%dT%H:%M}"


_TIME = "time "
