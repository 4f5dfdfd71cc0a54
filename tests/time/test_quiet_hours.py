"""Quiet hours in every zone, around every change of its clocks, against zoneinfo."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, insert, select

from engine.cohort.quiet import over_at
from engine.language.gate import QuietHours
from engine.store import local_time as lt
from engine.store import zones
from engine.store.database import Database
from engine.store.types import MICROSECOND, micros, moment

BRAND = "Africa/Nairobi"
FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
NEAR = [timedelta(minutes=m) for m in (-1500, -721, -300, -61, -31, -1, 0, 1, 31, 59, 61, 90, 119, 121, 300, 721)]
HOURS = [
    ("21:00", "08:00"),
    ("00:30", "01:30"),
    ("01:15", "02:30"),
    ("02:10", "02:50"),
    ("23:00", "00:00"),
    ("08:00", "03:00"),
]

probe = Table(
    "probe",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("zone", Text),
    Column("at", BigInteger),
    prefixes=["TEMPORARY"],
)


def moments() -> list[tuple[str, datetime]]:
    """Every zone of other rules at moments of a plain day, and around each of its jumps."""
    alike = {zones.periods(zone): zone for zone in sorted(zones.names())}
    plain = [datetime(2026, 7, 14, hour, 7, tzinfo=UTC) for hour in range(0, 24, 3)]
    found = [(zone, at) for zone in alike.values() for at in plain]
    for rules, zone in alike.items():
        jumps = [jump for jump, _, _ in rules[1:] if FIRST < jump < LAST]
        found += [(zone, jump + near) for jump in jumps for near in NEAR]
    return found


@pytest.mark.parametrize("hours", HOURS, ids=" to ".join)
def test_what_is_held_goes_out_when_the_wall_clock_is_past_the_quiet_hours(
    hours: tuple[str, str], database: Database
) -> None:
    start, end = map(time.fromisoformat, hours)
    quiet = QuietHours.model_validate({"from": start, "to": end, "spread": "1m"})
    asked = moments()
    with database.write() as connection:
        lt.ensure_zones(connection, zones.names())
        probe.create(connection)
        rows = [{"id": n, "zone": zone, "at": micros(at)} for n, (zone, at) in enumerate(asked)]
        connection.execute(insert(probe), rows)
        until = over_at(quiet, probe.c.at, probe.c.zone, BRAND)
        got = dict(connection.execute(select(probe.c.id, until)).all())
    held = 0
    for n, (zone, at) in enumerate(asked):
        where = ZoneInfo(zone)
        if not quiet.within(at.astimezone(where).time()):
            assert got[n] is None, (zone, at)
            continue
        held += 1
        released = moment(got[n])
        assert at < released <= at + timedelta(hours=26), (zone, at, released)
        # Violations: none. The clock on their wall is past the quiet hours.
        assert not quiet.within(released.astimezone(where).time()), (zone, at, released)
        # Nor is it held longer than it must be, but where a jump of the clocks skipped the end.
        offsets = {(released - back).astimezone(where).utcoffset() for back in (timedelta(0), timedelta(hours=3))}
        if len(offsets) == 1:
            assert quiet.within((released - MICROSECOND).astimezone(where).time()), (zone, at, released)
    assert held > len(asked) / 40
    print(
        f"quiet hours {hours}: {len(asked)} moments in {len({zone for zone, _ in asked})} zones, {held} held, violations: 0"
    )
