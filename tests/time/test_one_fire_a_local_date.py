"""One fire per local date: in every zone, over two years, with a clock that jumps and several processes that look."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert

from engine.cohort.fires import Look, Timed
from engine.store import zones
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.tables import customer
from engine.store.types import EPOCH
from tests.patience import PATIENCE
from tests.promises import figures
from tests.time.conftest import BRAND, Shop, utc
from triggers.date import DateTrigger
from triggers.schedule import ScheduleTrigger

START, END = datetime(2027, 6, 1, tzinfo=UTC), datetime(2029, 6, 1, tzinfo=UTC)  # with a leap day
NIGHT = time(2, 30)  # the clocks of most zones skip it in spring and show it twice in autumn
HOUR = timedelta(hours=1)


def zones_by_rules() -> list[str]:
    """One zone of each set of rules that holds in these years: together, every zone."""
    alike: dict[tuple[object, ...], str] = {}
    for zone in sorted(zones.names()):
        rules = tuple(
            (max(a, START), min(b, END), offset) for a, b, offset in zones.periods(zone) if a < END and b > START
        )
        alike.setdefault(rules, zone)
    return sorted(alike.values())


def clock(chance: Random) -> Iterator[datetime]:
    """Moments of a clock that is looked at every few hours and now and then is put on or back by an hour."""
    now = START
    while now < END:
        yield now
        now += timedelta(seconds=chance.randrange(600, 11 * 3600))
        if chance.random() < 0.2:
            yield now + HOUR
            yield now
            now += timedelta(seconds=chance.randrange(60, 3600))


def expected(
    names: list[str], moments: list[datetime], of: Callable[[str, date], str]
) -> Counter[tuple[str, str, datetime]]:
    """(zone, cause, when): each local date at the first look that is not before its moment, if one is near enough."""
    found: Counter[tuple[str, str, datetime]] = Counter()
    ahead = [max(moments[: n + 1]) for n in range(len(moments))]
    for name in names:
        zone, day = ZoneInfo(name), date(2027, 5, 30)
        waiting = []
        while day < date(2029, 6, 3):
            waiting.append((zones.first_instant(datetime.combine(day, NIGHT), zone), day))
            day += timedelta(days=1)
        waiting = [(at, day) for at, day in waiting if at >= START]
        for now, latest in zip(moments, ahead, strict=True):
            while waiting and waiting[0][0] <= latest:
                _, day = waiting.pop(0)
                found[name, of(name, day), now] += 1
    return found


def customers(database: Database, rows: list[dict[str, object]]) -> None:
    common = {"attributes": {}, "bucket": 1, "created_at": EPOCH, "updated_at": EPOCH}
    with database.write() as connection:
        ensure_zones(connection, [BRAND, *(str(row["timezone"]) for row in rows)])
        connection.execute(insert(customer), [common | row for row in rows])


def looks(database: Database, trigger: Timed, moments: list[datetime]) -> Counter[tuple[str, str, datetime]]:
    came: Counter[tuple[str, str, datetime]] = Counter()
    for now in moments:
        with database.write() as connection:
            look = Look(connection, "journey", START, BRAND, now)
            for fire in trigger.claim(look, trigger.due(look)):
                named = trigger.named(look, fire).add_columns(customer.c.timezone, customer.c.external_id)
                for row in connection.execute(named):
                    came[row.timezone, f"{row.cause} {row.external_id.split(' ')[-1]}", now] += 1
    return came


@pytest.mark.slow
def test_a_daily_schedule_goes_off_once_a_local_date_in_every_zone(sqlite_database: Database) -> None:
    names, moments = zones_by_rules(), list(clock(Random(1)))
    customers(sqlite_database, [{"external_id": f"{zone} someone", "timezone": zone} for zone in names])
    trigger = ScheduleTrigger.model_validate(
        {"schedule": "30 2 * * *", "zone": "customer", "misfire": "run within 12h"}
    )
    came = looks(sqlite_database, trigger, moments)
    meant = expected(names, moments, lambda _, day: f"schedule:{day}T02:30 someone")
    doubled, missed = (came - meant).total(), (meant - came).total()
    figures("one fire a local date", zones=len(names), fires=came.total(), doubled=doubled, missed=missed)
    assert came == meant


@pytest.mark.slow
def test_every_birthday_goes_off_once_a_year_in_every_zone(sqlite_database: Database) -> None:
    names, moments = zones_by_rules(), list(clock(Random(2)))
    days = [date(2028, 1, 1) + n * timedelta(days=1) for n in range(366)]
    customers(
        sqlite_database,
        [
            {"external_id": f"{zone} {day:%m-%d}", "timezone": zone, "birth_month": day.month, "birth_day": day.day}
            for zone in names
            for day in days
        ],
    )
    trigger = DateTrigger.model_validate({"date": "customer.birthday", "at": "02:30"})
    came = looks(sqlite_database, trigger, moments)
    due = expected(names, moments, lambda _, day: f"date:{day.year} {day:%m-%d}")
    for zone, cause, now in list(due):  # 29 February is on the 28th in years without one
        if cause.endswith("02-28") and "2028" not in cause:
            due[zone, cause.replace("02-28", "02-29"), now] += 1
    assert came == due
    assert max(came.values()) == 1
    print(f"{len(names)} zones, {sum(came.values())} birthdays, doubled 0, missed 0")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["date", "schedule"])
def test_two_processes_that_look_at_once_let_everybody_in_once(postgres_url: str, kind: str) -> None:
    names = ["Africa/Nairobi", "Asia/Manila", "Europe/Berlin", "America/New_York"]
    database = Database(postgres_url)
    customers(
        database,
        [
            {"external_id": f"{zone} {day}", "timezone": zone, "birth_month": 5, "birth_day": day}
            for zone in names
            for day in range(1, 32)
        ],
    )
    daily = ScheduleTrigger.model_validate({"schedule": "0 9 * * *", "zone": "customer"})
    trigger: Timed = daily if kind == "schedule" else DateTrigger.model_validate({"date": "customer.birthday"})
    begin = datetime(2028, 5, 1, tzinfo=UTC)
    moments = [begin + n * HOUR for n in range(24 * 7)]
    came: dict[tuple[str, str], list[int]] = defaultdict(list)
    failed: list[BaseException] = []
    together = threading.Barrier(3)

    def process(number: int) -> None:
        mine = Database(postgres_url)  # its own connections
        try:
            for now in moments:
                together.wait(PATIENCE)
                with mine.write() as connection:
                    look = Look(connection, "journey", begin, BRAND, now)
                    for fire in trigger.claim(look, trigger.due(look)):
                        rows = trigger.named(look, fire).add_columns(customer.c.external_id)
                        for row in connection.execute(rows):
                            came[row.external_id, row.cause].append(number)
        except BaseException as error:
            failed.append(error)
            together.abort()
        finally:
            mine.dispose()

    threads = [threading.Thread(target=process, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.dispose()
    assert not failed
    assert {len(who) for who in came.values()} == {1}
    assert len(came) == 7 * len(names) * (31 if kind == "schedule" else 1)
    print("first, by process:", sorted(Counter(who[0] for who in came.values()).items()))


def test_a_second_look_in_the_same_moment_finds_nothing(shop: Callable[..., Shop]) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    trigger = DateTrigger.model_validate({"date": "customer.birthday"})
    assert here.looks(trigger, *[utc("2026-05-20 06:00")] * 2) == [[("amina", "date:2026")], []]
