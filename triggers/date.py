"""`date: customer.birthday`: a customer enters when the anniversary of a date of theirs comes, in their own time zone.

    enter: {date: customer.birthday, offset: -7d, at: "09:00"}

It goes off once a local date in each zone, at `at` (09:00 unless said otherwise; a time the clock skips that day goes
off at the jump), and takes those whose anniversary, moved by `offset`, is that date. The cause is the anniversary's
year, so a date that is corrected within the year takes nobody twice. The day itself is no anniversary; an unknown year
is fine. `repeat: once` takes a date once, for each value it has.

Who has no such date at that moment isn't taken, unless `late` says how many days on they still are. Dates that passed
while nothing was running are made up for, up to three days (or `late`, if that is longer).
"""

from __future__ import annotations

from calendar import isleap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date as Day
from datetime import datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator
from sqlalchemy import ColumnElement, FromClause, Select, Text, and_, case, cast, func, literal, null, or_, select

from engine.cohort.fires import Beginning, Fire, Look, Timed
from engine.language.fields import DateAttribute
from engine.language.journey import Complaint
from engine.language.moments import Duration, Offset, TimeOfDay
from engine.language.registry import trigger
from engine.store.local_time import day_number, day_of, day_text, local_date
from engine.store.tables import customer
from engine.store.zones import first_instant, wall, zone_named

DAY = timedelta(days=1)
MADE_UP_FOR = 3 * DAY
LATEST = 60 * DAY


class Due(NamedTuple):
    """A local date that is due, and those before it whose latecomers are still taken."""

    day: Day
    earlier: tuple[Day, ...]


@trigger("date")
class DateTrigger(Timed):
    """Lets customers in on the anniversary of one of their dates."""

    date: DateAttribute = Field(description="customer.birthday, customer.created or a date attribute of project.yaml.")
    offset: Offset = Field(timedelta(0), description="Whole days before (-7d) or after the date.")
    at: TimeOfDay = Field(time(9), description="The time of day, customer time.")
    leap_day: Literal["feb28", "mar1"] = Field("feb28", description="When 29 February is in a year without one.")
    late: Duration | None = Field(None, description="How late a date may arrive and still count, in whole days.")
    repeat: Literal["yearly", "once"] = Field("yearly", description="Each year, or once for each value of the date.")

    @model_validator(mode="before")
    @classmethod
    def _each_year(cls, given: Any) -> Any:
        """A birthday comes every year, so whoever writes nothing of `again` means the next one too."""
        yearly = isinstance(given, Mapping) and given.get("repeat", "yearly") == "yearly"
        return {**given, "again": "after exit"} if yearly and "again" not in given else given

    def leap_day_in_march(self) -> bool:
        return self.leap_day == "mar1"

    def complaints(self) -> Iterable[Complaint]:
        if self.offset % DAY:
            yield Complaint(("offset",), "the offset of a date is in whole days", "like -7d; the time of day is `at`")
        if self.late is not None and (self.late % DAY or self.late > LATEST):
            yield Complaint(("late",), "late is in whole days, up to 60", "like 7d")

    def anchor(self) -> str:
        return f"date {self.date} {self.offset // DAY} {self.repeat}"

    def next_fire(self, now: datetime, zones: Iterable[str], brand_zone: str) -> datetime | None:
        moments = [
            at
            for name in {brand_zone, *zones}
            for n in range(-1, 4)
            if (at := self._goes_off(wall(now, zone := zone_named(name)).date() + n * DAY, zone)) > now
        ]
        return min(moments)

    def names_anybody(self, look: Look, since: datetime, until: datetime) -> bool:
        first, last = (since - self._reach()).date() - DAY, until.date() + DAY  # a day wider than any zone
        days = [first + n * DAY for n in range((last - first) // DAY + 1)]
        return bool(look.connection.scalar(select(self._rows(look, days, look.zones).exists())))

    def _reach(self) -> timedelta:
        """How far back a look goes."""
        return max(MADE_UP_FOR, self.late or MADE_UP_FOR)

    def pending(self, look: Look, beginning: Beginning) -> list[Fire]:
        after = max(beginning.after(look.now), look.now - self._reach())
        days = {zone: list(self._days(zone_named(zone), after, look.now)) for zone in look.zones}
        every = [day for found in days.values() for day in found]
        done = look.fired(look.zones, f"{_DATE}{min(every)}", f"{_DATE}{max(every)}") if every else set()
        zones_of: dict[Due, list[str]] = defaultdict(list)
        for zone, found in days.items():
            for day in found:
                if (zone, f"{_DATE}{day}") not in done:
                    zones_of[Due(day, self._earlier(zone_named(zone), day, beginning.since))].append(zone)
        fires = [
            Fire(
                f"{_DATE}{due.day}",
                tuple(zones),
                min(self._goes_off(due.day, zone_named(zone)) for zone in zones),
                tuple(day.isoformat() for day in due.earlier),
            )
            for due, zones in zones_of.items()
        ]
        return sorted(fires, key=lambda fire: fire.at)

    def named(self, look: Look, fire: Fire) -> Select[Any]:
        days = [Day.fromisoformat(day) for day in (fire.name.removeprefix(_DATE), *fire.earlier)]
        return self._rows(look, days, fire.zones)

    def overlooked(self, look: Look, people: FromClause) -> list[Select[Any]]:
        """Those whose date has already gone off without them, within `late`."""
        return [] if self.late is None else self._gone_off(look, people, self.late)

    def takes_latecomers(self) -> bool:
        return self.late is not None

    def passed(self, look: Look, people: FromClause) -> list[Select[Any]]:
        """The same, as far back as a fire goes that is made up for, and it takes latecomers too."""
        return [] if self.late is None else self._gone_off(look, people, self._reach() + self.late + DAY)

    def _gone_off(self, look: Look, people: FromClause, back: timedelta) -> list[Select[Any]]:
        """Those of `people` whose date went off at most so long ago, and who have had no answer."""
        if look.connection.execute(select(people.c.customer_id).limit(1)).first() is None:
            return []
        beginning, _ = self.beginning(look)
        now = max(look.now, beginning.seen)  # another engine may be ahead, and its fires have gone off
        since = max(beginning.since, now - back)
        zones_of: dict[tuple[Day, ...], list[str]] = defaultdict(list)
        for zone in look.zones:
            if days := tuple(self._days(zone_named(zone), since, now)):
                zones_of[days].append(zone)
        changed = customer.c.id.in_(select(people.c.customer_id))
        return [self._rows(look, days, zones).where(changed) for days, zones in zones_of.items()]

    def _goes_off(self, day: Day, zone: ZoneInfo) -> datetime:
        return first_instant(datetime.combine(day, self.at), zone)

    def _days(self, zone: ZoneInfo, after: datetime, now: datetime) -> Iterator[Day]:
        """The local dates whose moment lies in [after, now]."""
        day, last = wall(after, zone).date() - DAY, wall(now, zone).date() + DAY
        while day <= last:
            if after <= self._goes_off(day, zone) <= now:
                yield day
            day += DAY

    def _earlier(self, zone: ZoneInfo, day: Day, since: datetime) -> tuple[Day, ...]:
        days = [day - n * DAY for n in range(1, (self.late or timedelta(0)) // DAY + 1)]
        return tuple(earlier for earlier in days if self._goes_off(earlier, zone) >= since)

    def _rows(self, look: Look, days: Sequence[Day], zones: Iterable[str]) -> Select[Any]:
        """The customers of these zones whose date, moved by the offset, is one of these days."""
        dates = [day - self.offset for day in days]
        by_year: dict[int, list[Day]] = defaultdict(list)
        for day in dates:
            by_year[day.year].append(day)
        matches = {year: self._is_one_of(year, same_year, look) for year, same_year in by_year.items()}
        cause = self._cause(matches, look)
        rows = select(customer.c.id.label("customer_id"), cause.label("cause"), null().label("event_id")).where(
            or_(*matches.values()), look.lives_in(zones)
        )
        return rows.where(look.unanswered(cause)) if self.late is not None else rows

    def _cause(self, matches: dict[int, ColumnElement[bool]], look: Look) -> ColumnElement[str]:
        if self.repeat == "once":
            return literal("date:") + self._text(look)
        years = list(matches)
        named = [(matches[year], literal(f"date:{year}")) for year in years[1:]]
        first = literal(f"date:{years[0]}")
        return case(*named, else_=first) if named else first

    def _is_one_of(self, year: int, days: list[Day], look: Look) -> ColumnElement[bool]:
        """Whether the customer's date has its anniversary (with `once`: is itself) on one of these days of one year."""
        if self.repeat == "once":
            return self._text(look).in_([day.isoformat() for day in days])
        pairs = [pair for day in days for pair in self._written_as(day)]
        if self.date == "customer.birthday":
            return and_(
                or_(*(and_(customer.c.birth_month == month, customer.c.birth_day == day) for month, day in pairs)),
                or_(customer.c.birth_year.is_(None), customer.c.birth_year < year),
            )
        text = self._text(look)
        anniversary = and_(
            func.substr(text, 6).in_([f"{month:02}-{day:02}" for month, day in pairs]),
            func.substr(text, 1, 4) < f"{year:04}",
            day_number(text).is_not(None),
        )
        return and_(_created_near(days), anniversary) if self.date == "customer.created" else anniversary

    def _written_as(self, day: Day) -> Iterator[tuple[int, int]]:
        """The months and days whose anniversary this day is."""
        yield day.month, day.day
        if not isleap(day.year) and (day.month, day.day) == ((2, 28) if self.leap_day == "feb28" else (3, 1)):
            yield 2, 29

    def _text(self, look: Look) -> ColumnElement[str]:
        """The date as `2026-12-24`; NULL while it is unknown, also a birthday's whose year is."""
        name = self.date.removeprefix("customer.")
        if name == "created":
            return local_date(customer.c.created_at, customer.c.timezone, look.brand_zone)
        if name == "birthday":
            year, month, day = customer.c.birth_year, customer.c.birth_month, customer.c.birth_day
            return _digits(10_000 + year) + "-" + _digits(100 + month) + "-" + _digits(100 + day)
        text: ColumnElement[str] = customer.c.attributes[name].as_string()
        return text


_DATE = "date "


def _digits(number: ColumnElement[int]) -> ColumnElement[str]:
    """10007 as `0007`: a number with as many zeros before it as were added to it."""
    return func.substr(cast(number, Text), 2, type_=Text)


def _created_near(days: list[Day]) -> ColumnElement[bool]:
    """A cheap first sieve, in UTC and a day wider than any zone, so that the local date is computed for few."""
    near = {f"{day + n * DAY:%m-%d}" for day in days for n in (-1, 0, 1)} | {"02-29"}
    return func.substr(day_text(day_of(customer.c.created_at)), 6).in_(sorted(near))
