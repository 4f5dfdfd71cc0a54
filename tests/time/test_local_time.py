from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, func, insert, literal, select

from engine.store import local_time as lt
from engine.store import zones
from engine.store.database import Database
from engine.store.tables import customer, zone_period
from engine.store.types import EPOCH, micros

BRAND = "Africa/Nairobi"
AROUND = [
    timedelta(seconds=s) for s in (-93600, -7200, -5400, -3600, -1800, -1, 0, 1, 1800, 3599, 3600, 5400, 7200, 93600)
]

probe = Table(
    "probe",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("zone", Text),
    Column("at", BigInteger),
    Column("local", BigInteger),
    prefixes=["TEMPORARY"],
)


def wall_micros(at: datetime, zone: str) -> int:
    return micros(at.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC))


def meant_micros(local: datetime, zone: str) -> int:
    return micros(local.replace(tzinfo=ZoneInfo(zone), fold=0))


@cache
def moments() -> list[tuple[str, datetime]]:
    """Random moments in every zone, and the neighbourhood of every jump that any zone makes."""
    chance = Random(20260228)
    start, end = datetime(2000, 1, 3, tzinfo=UTC), datetime(2059, 12, 29, tzinfo=UTC)
    found = [
        (zone, start + timedelta(microseconds=chance.randrange((end - start) // timedelta(microseconds=1))))
        for zone in sorted(zones.names())
        for _ in range(20)
    ]
    alike = {zones.periods(zone): zone for zone in sorted(zones.names())}  # links share their rules
    found += [
        (zone, jump + near)
        for rules, zone in alike.items()
        for jump, _, _ in rules[1:]
        for near in (*AROUND, timedelta(seconds=chance.randrange(-90_000, 90_000)))
        if start < jump + near < end
    ]
    return found


@pytest.fixture
def probes(database: Database) -> Iterator[Connection]:
    """A connection with every zone loaded and a table of moments to convert: as UTC and as a wall clock."""
    with database.write() as connection:
        lt.ensure_zones(connection, zones.names())
        probe.create(connection)
        rows = [
            {
                "id": n,
                "zone": zone,
                "at": micros(at),
                "local": micros(at.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)),
            }
            for n, (zone, at) in enumerate(moments())
        ]
        # A skipped wall clock is shown at no moment, so it is made by moving what is shown.
        rows += [
            {**row, "id": len(rows) + n, "local": int(str(row["local"])) + 1_800_000_000 * (n % 5 - 2)}
            for n, row in enumerate(rows)
        ]
        for begin in range(0, len(rows), 20_000):
            connection.execute(insert(probe), rows[begin : begin + 20_000])
        yield connection


@pytest.mark.slow
def test_the_wall_clock_is_zoneinfos_in_every_zone_at_every_jump(probes: Connection) -> None:
    computed = select(probe.c.zone, probe.c.at, lt.local_micros(probe.c.at, probe.c.zone, BRAND)).where(
        probe.c.id < len(moments())
    )
    wrong = [
        (zone, at, local)
        for zone, at, local in probes.execute(computed)
        if local != wall_micros(EPOCH + timedelta(microseconds=at), zone)
    ]
    assert wrong == []


@pytest.mark.slow
def test_the_moment_a_wall_clock_means_is_zoneinfos_in_every_zone_at_every_jump(probes: Connection) -> None:
    computed = select(probe.c.zone, probe.c.local, lt.utc_micros(probe.c.local, probe.c.zone, BRAND))
    wrong = [
        (zone, local, at)
        for zone, local, at in probes.execute(computed)
        if at != meant_micros(datetime(1970, 1, 1) + timedelta(microseconds=local), zone)
    ]
    assert wrong == []


def asked(database: Database, *columns: object) -> tuple[object, ...]:
    with database.write() as connection:
        lt.ensure_zones(connection, [BRAND, "Europe/Berlin", "America/New_York"])
        return tuple(connection.execute(select(*columns)).one())  # type: ignore[call-overload]


def test_an_hour_that_comes_twice_means_the_first_and_a_skipped_one_as_long_after_the_jump(database: Database) -> None:
    twice, skipped = datetime(2026, 10, 25, 2, 30, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    first, after = asked(database, *(lt.utc_micros(local, "Europe/Berlin", BRAND) for local in (twice, skipped)))
    assert first == micros(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert after == micros(datetime(2026, 3, 29, 1, 30, tzinfo=UTC))


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../etc/passwd", "europe/berlin"])
def test_a_zone_nobody_knows_counts_as_the_brands(database: Database, zone: str | None) -> None:
    at = datetime(2026, 5, 1, 21, 30, tzinfo=UTC)
    local, back = asked(
        database,
        lt.local_micros(at, literal(zone, Text), BRAND),
        lt.utc_micros(datetime(2026, 5, 2, 0, 30, tzinfo=UTC), literal(zone, Text), BRAND),
    )
    assert (local, back) == (micros(datetime(2026, 5, 2, 0, 30, tzinfo=UTC)), micros(at))


def test_a_missing_moment_has_no_local_time(database: Database) -> None:
    nothing = literal(None, BigInteger)
    assert asked(
        database,
        lt.local_micros(nothing, BRAND, BRAND),
        lt.utc_micros(nothing, BRAND, BRAND),
        lt.local_date(nothing, BRAND, BRAND),
    ) == (None, None, None)


def test_the_local_date_and_the_weekday_are_the_customers(database: Database) -> None:
    at = datetime(2026, 12, 24, 22, 30, tzinfo=UTC)
    day = lt.local_day(at, BRAND, BRAND)
    assert asked(
        database,
        lt.local_date(at, BRAND, BRAND),
        lt.local_date(at, "America/New_York", BRAND),
        lt.weekday_of(day),
        lt.time_of_day(lt.local_micros(at, BRAND, BRAND)),
    ) == ("2026-12-25", "2026-12-24", 4, 90 * 60 * lt.SECOND)


def test_before_2000_and_after_2060_the_nearest_offset_holds(database: Database) -> None:
    # Nairobi has kept its offset since 1960; Berlin's of the first days of 2000 and the last of 2059 is winter time.
    for zone, hours in ((BRAND, 3), ("Europe/Berlin", 1)):
        for at in (
            datetime(1, 1, 2, tzinfo=UTC),
            datetime(1969, 7, 20, 20, tzinfo=UTC),
            datetime(9999, 7, 1, tzinfo=UTC),
        ):
            expected = micros(at) + hours * 3600 * lt.SECOND
            assert asked(database, lt.local_micros(at, zone, BRAND)) == (expected,)


DATES = ["2026-12-24", "0001-01-01", "9999-12-31", "2024-02-29", "1969-12-31"]
NO_DATES = [
    "2026-02-30",
    "2023-02-29",
    "0000-01-01",
    "now",
    "",
    "2026-1-1",
    "2026-12-24 10:00",
    "24.12.2026",
    "today",
    "2461033.5",
]


def test_a_text_is_a_day_only_if_it_is_exactly_one(database: Database) -> None:
    for text in DATES:
        number = (date.fromisoformat(text) - date(1970, 1, 1)).days
        column = literal(text, Text)
        assert asked(database, lt.day_number(column), lt.day_text(lt.day_number(column))) == (number, text)
    for text in NO_DATES:
        assert asked(database, lt.day_number(literal(text, Text))) == (None,)


def test_a_day_outside_the_calendar_has_no_text(database: Database) -> None:
    for number in (lt.FIRST_DAY - 1, lt.LAST_DAY + 1, 2**62):
        assert asked(database, lt.day_text(literal(number, BigInteger))) == (None,)


def test_loading_zones_twice_changes_nothing_and_a_new_tz_database_replaces_them(database: Database) -> None:
    count = select(func.count()).select_from(zone_period)
    with database.write() as connection:
        lt.ensure_zones(connection, ["Europe/Berlin", BRAND, "Mars/Olympus", None])
        first = connection.scalar(count)
        lt.ensure_zones(connection, [BRAND, "Europe/Berlin"])
        assert connection.scalar(count) == first
        assert lt.loaded_zones(connection) == [BRAND, "Europe/Berlin"]
        assert lt.refresh_zones(connection) == []
        connection.execute(zone_period.update().where(zone_period.c.zone == BRAND).values(offset_s=7200))
        assert lt.refresh_zones(connection) == [BRAND]
        assert connection.scalar(count) == first


def test_after_an_import_every_zone_in_use_is_loaded(database: Database) -> None:
    common = {"attributes": {}, "bucket": 1, "created_at": EPOCH, "updated_at": EPOCH}
    with database.write() as connection:
        connection.execute(
            insert(customer),
            [
                {"external_id": str(n), "timezone": zone, **common}
                for n, zone in enumerate(["Asia/Manila", None, "Mars/Olympus", "Asia/Yerevan"])
            ],
        )
        lt.ensure_used_zones(connection, BRAND)
        assert lt.loaded_zones(connection) == [BRAND, "Asia/Manila", "Asia/Yerevan"]
        with pytest.raises(lt.UnknownZone):
            lt.ensure_used_zones(connection, "Mars/Olympus")


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2059, 12, 30)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"]),
)
def test_the_first_moment_of_a_wall_clock_shows_it_or_the_time_right_after_the_jump(local: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    local = local.replace(microsecond=0)
    first = zones.first_instant(local, zone)
    assert zones.wall(first, zone) >= local
    assert zones.wall(first - timedelta(seconds=1), zone) < local


def test_a_skipped_time_comes_first_at_the_jump() -> None:
    assert zones.first_instant(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Berlin")) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )
    # Samoa had no 30 December 2011.
    assert zones.first_instant(datetime(2011, 12, 30, 9), ZoneInfo("Pacific/Apia")) == datetime(
        2011, 12, 30, 10, tzinfo=UTC
    )
