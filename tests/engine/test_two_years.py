"""Two years of dates and schedules in every time zone, through the engine's own tick: every customer enters once for
every date that comes, at the first look after its moment.

The oracle asks zoneinfo what the wall clock shows, quarter of an hour by quarter of an hour, and knows nothing else.
"""

from __future__ import annotations

from calendar import isleap
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from random import Random
from threading import Barrier, Thread
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.tables import customer, enrolment
from engine.store.types import EPOCH
from tests.depth import DEPTH
from tests.engine.shop import Shop
from tests.time.test_one_fire_a_local_date import zones_by_rules

QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
BEGIN, END = datetime(2027, 2, 20, tzinfo=UTC), datetime(2029, 3, 8, tzinfo=UTC)  # a leap day, and two years without

YEARLY = {
    "at-night": ("customer.birthday", 0, "02:30", "feb28"),
    "week-before": ("customer.birthday", -7, "00:00", "feb28"),
    "week-after": ("customer.renewal", 7, "23:45", "mar1"),
}
JOURNEYS = {
    name: f'enter: {{date: {of}, offset: {days}d, at: "{at}", leap_day: {leap}, again: always}}\nsteps: [{{wait: 1d}}]\n'
    for name, (of, days, at, leap) in YEARLY.items()
}
DAYS = [(1, 3), (2, 28), (2, 29), (3, 1), (3, 28), (4, 4), (9, 26), (10, 31), (12, 30)]
"""Birthdays about the nights on which clocks change, leap days and the turn of the year."""
LEAP = DAYS[1:4]


def days_of(n: int) -> list[tuple[int, int]]:
    """The birthdays in the zone with this number: every zone has those of a leap day, some have all of them."""
    return LEAP if n % max(1, round(4 / DEPTH)) else DAYS


class Wandering:
    """A clock that can be put back."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def looks(chance: Random, longest: timedelta) -> Iterator[datetime]:
    """Moments at which the clock is looked at: close together, then again nobody looks for hours or days; now and then
    it is put on or back by an hour."""
    now = BEGIN
    while now < END:
        yield now
        if chance.random() < 0.1:
            yield now + HOUR
            yield now
        now += chance.choice([2 * DAY, longest, longest]) * chance.random()


@cache
def comes(zone: str, day: date, at: time) -> datetime:
    """The first moment at which that day's wall clock shows this time or a later one."""
    local, clock = datetime.combine(day, at), ZoneInfo(zone)
    moment = local.replace(tzinfo=UTC) - 15 * HOUR
    while moment.astimezone(clock).replace(tzinfo=None) < local:
        moment += QUARTER
    return moment


def anniversary(month: int, day: int, year: int, leap: str) -> date:
    if (month, day) == (2, 29) and not isleap(year):
        return date(year, 2, 28) if leap == "feb28" else date(year, 3, 1)
    return date(year, month, day)


def came_in(database: Database) -> Counter[tuple[str, str, str, datetime]]:
    """Who entered which journey, for what cause and when."""
    with database.read() as connection:
        columns = (enrolment.c.journey, customer.c.external_id, enrolment.c.cause, enrolment.c.entered_at)
        rows = connection.execute(select(*columns).join(customer, customer.c.id == enrolment.c.customer_id))
        return Counter(tuple(row) for row in rows)


@pytest.mark.slow
def test_every_yearly_date_lets_everybody_in_once_a_year_in_every_zone(database: Database, tmp_path: Path) -> None:
    seed = 20281
    moments = list(looks(Random(seed), timedelta(hours=70)))
    zones = zones_by_rules()
    people = [
        {
            "external_id": f"{zone} {month}-{day}",
            "timezone": zone,
            "birth_month": month,
            "birth_day": day,
            "attributes": {"renewal": f"2024-{month:02}-{day:02}"},
            "bucket": 1,
            "created_at": EPOCH,
            "updated_at": EPOCH,
        }
        for n, zone in enumerate(zones)
        for month, day in days_of(n)
    ]
    with database.write() as connection:
        ensure_zones(connection, zones)
        connection.execute(insert(customer), people)
    shop = Shop.of(tmp_path, database, JOURNEYS, publish=False)
    clock = Wandering(BEGIN)
    shop.runtime.clock = clock
    shop.runtime.publish()
    entered = 0
    for clock.at in moments:
        ticked = shop.runtime.tick()
        assert not ticked.failed
        entered += sum(ticked.entered.values())
    came = came_in(database)
    due = Counter(expected(zones, moments))
    doubled, missed = sum((came - due).values()), sum((due - came).values())
    print(
        f"{database.dialect}: {len(zones)} zones (all by their rules), {len(moments)} looks (seed {seed}), "
        f"{sum(came.values())} yearly dates, doubled {doubled}, missed {missed}"
    )
    assert came == due
    assert entered == sum(came.values()) == len({(journey, who, cause) for journey, who, cause, _ in came})


def expected(zones: list[str], moments: list[datetime]) -> Iterator[tuple[str, str, str, datetime]]:
    """(journey, customer, cause, when) of every entry."""
    for n, zone in enumerate(zones):
        for month, day in days_of(n):
            for journey, (_, offset, at, leap) in YEARLY.items():
                for year in range(2027, 2030):
                    fire = anniversary(month, day, year, leap) + offset * DAY
                    moment = comes(zone, fire, time.fromisoformat(at))
                    found = next((now for now in moments if now >= moment), None)
                    if moment >= BEGIN and found is not None:
                        yield journey, f"{zone} {month}-{day}", f"date:{year}", found


NIGHTS = [(date(2027, 3, 11), date(2027, 4, 6)), (date(2027, 10, 24), date(2027, 11, 9))]
"""In these weeks the clocks of America and Europe, Chile and Australia change."""
CRON, TIMES = "0,30 2,3,14 * * *", [time(hour, minute) for hour in (2, 3, 14) for minute in (0, 30)]
SCHEDULES = {
    f"{policy.replace(' ', '-')}-{zone.split('/')[-1].lower().replace('_', '-')}": (policy, zone)
    for policy in ("run", "skip", "run within 6h")
    for zone in ("customer", "Europe/Berlin", "America/New_York")
}
LATE: dict[str, timedelta] = {"run": timedelta.max, "skip": timedelta(minutes=5), "run within 6h": 6 * HOUR}
LIVING = [
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Africa/Nairobi",
    "Asia/Manila",
]


@pytest.mark.slow
@pytest.mark.parametrize("weeks", NIGHTS, ids=["spring", "autumn"])
def test_schedules_go_off_once_with_two_engines_and_what_was_missed_is_the_misfires(
    database: Database, tmp_path: Path, weeks: tuple[date, date]
) -> None:
    """Six times a day in each zone, policy by policy, while the engines are now and then away for hours."""
    seed = 42
    chance, begin = Random(seed), datetime.combine(weeks[0], time(), UTC)
    moments, now = [], begin
    while now < datetime.combine(weeks[1], time(), UTC):
        now += chance.choice([timedelta(minutes=4), HOUR, 3 * HOUR, 9 * HOUR]) * chance.uniform(0.5, 1.5)
        moments += [now] * 2 if chance.random() < 0.2 else [now]
    journeys = {
        name: f'enter: {{schedule: "{CRON}", zone: {zone}, misfire: {policy}, again: always}}\nsteps: [{{wait: 1d}}]\n'
        for name, (policy, zone) in SCHEDULES.items()
    }
    with database.write() as connection:
        ensure_zones(connection, LIVING)
        common = {"attributes": {}, "bucket": 1, "created_at": EPOCH, "updated_at": EPOCH}
        connection.execute(insert(customer), [common | {"external_id": zone, "timezone": zone} for zone in LIVING])
    shop = Shop.of(tmp_path, database, journeys, publish=False)
    clock = Wandering(begin)
    shop.runtime.clock = clock
    shop.runtime.publish()
    second = Database(database.url.render_as_string(hide_password=False))
    other = Runtime(second, shop.runtime.content, shop.runtime.registry, clock, shop.runtime.post)
    alone = list(entries(moments, clock, [shop.runtime, other]))
    second.dispose()
    came = came_in(database)
    due = Counter(scheduled(begin, moments))
    doubled, missed = sum((came - due).values()), sum((due - came).values())
    print(
        f"{database.dialect}, {begin:%Y-%m}: 2 engines, {len(moments)} looks (seed {seed}), {len(SCHEDULES)} schedules, "
        f"{sum(came.values())} entries, let in by one or the other {alone}, doubled {doubled}, missed {missed}"
    )
    assert came == due
    assert sum(alone) == sum(came.values())


def entries(moments: list[datetime], clock: Wandering, engines: list[Runtime]) -> Iterator[int]:
    """How many each engine let in, all of them looking at once at each moment."""
    let_in, failed = [0] * len(engines), list[tuple[str, str]]()
    together = Barrier(len(engines) + 1)

    def engine(number: int) -> None:
        try:
            for _ in moments:
                together.wait(120)
                ticked = engines[number].tick()
                let_in[number] += sum(ticked.entered.values())
                failed.extend(ticked.failed.items())
                together.wait(120)
        except BaseException as error:
            failed.append(("", type(error).__name__))
            together.abort()
            raise

    threads = [Thread(target=engine, args=(n,)) for n in range(len(engines))]
    for thread in threads:
        thread.start()
    for clock.at in moments:
        together.wait(120)
        together.wait(120)
    for thread in threads:
        thread.join()
    assert not failed
    yield from let_in


def scheduled(begin: datetime, moments: list[datetime]) -> Iterator[tuple[str, str, str, datetime]]:
    """(journey, customer, cause, when) of every entry: of the times that have come since the last look the last one,
    unless it came too long ago."""
    for name, (policy, where) in SCHEDULES.items():
        for zone in LIVING if where == "customer" else [where]:
            days = [begin.date() + n * DAY for n in range(-2, 30)]
            fires = sorted((comes(zone, day, at), datetime.combine(day, at)) for day in days for at in TIMES)
            # Times that come together, those that the clock skips with the one after the jump, go off as the last.
            last = dict(fires)
            seen = begin
            for now in moments:
                come = [at for at in last if seen < at <= now or at == begin == seen]
                seen = max(seen, now)
                if come and now - max(come) <= LATE[policy]:
                    cause = f"schedule:{last[max(come)]:%Y-%m-%dT%H:%M}"
                    for who in [zone] if where == "customer" else LIVING:
                        yield name, who, cause, now
