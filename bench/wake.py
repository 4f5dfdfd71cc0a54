"""How long after their time those who wait are moved on, while a million wait, in `karibu up`.

    make bench-wake                                                a million waiters, SQLite and PostgreSQL
    make bench-wake ARGS="--waiters 50000 --database sqlite --seconds 15"

Everybody stands at the first of two waits. A stream of them is due at even times, the others over the year to come.
Timed: from each one's `due_at` until another connection sees that they have left the step.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sqlalchemy import select, text

from bench.flow import at
from bench.join import PROJECT, service, tell
from bench.shop import fill
from engine.store.database import Database
from engine.store.tables import enrolment, journey_version

JOURNEY = """
journey: patience
topic: offers
enter: {event: purchase}
steps:
  - wait: 30d
    id: waits
  - tag: woken
  - wait: 30d
"""
FILES = {"workflows/project.yaml": PROJECT, "workflows/patience.yaml": JOURNEY}
AHEAD = 40
"""Seconds from filling the table to the first who is due: the service starts meanwhile."""

_WAITERS = """
INSERT INTO enrolment (id, journey, version_id, customer_id, key, cause, side_by_side, state, step, visit, due_at,
    entered_at, moved_at)
SELECT id, 'patience', {version}, id, '', 'event:' || id, {false}, 'waiting', 'waits', 1,
    CASE WHEN id <= {stream} THEN {start} + id * {apart} ELSE {start} + 3600000000 + id * {seldom} END,
    {start} - 2592000000000, {start} - 2592000000000
FROM customer
"""
YEAR = 365 * 86_400 * 1_000_000


def wait_in_line(database: Database, waiters: int, stream: int, rate: float) -> float:
    """Put everybody at the first wait. When the first of the stream is due, in seconds since 1970."""
    start = time.time() + AHEAD + waiters / 40_000
    with database.write() as connection:
        rows = _WAITERS.format(
            version=connection.execute(select(journey_version.c.id)).scalar_one(),
            false="0" if database.dialect == "sqlite" else "false",
            stream=stream,
            start=round(start * 1e6),
            apart=round(1e6 / rate),
            seldom=YEAR // waiters,
        )
        connection.execute(text(rows))
    if database.dialect == "postgresql":
        with database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
    assert time.time() < start - AHEAD / 2, "the machine is too slow for this many: they are due already"
    return start


def watched(database: Database, start: float, stream: int, rate: float) -> list[float]:
    """Milliseconds from each one's time until they have left the step, in order."""
    lags: list[float] = []
    waiting = set(range(1, stream + 1))
    while waiting and time.time() < start + stream / rate + 60:
        low, high = min(waiting), min(stream, int((time.time() - start) * rate) + 1)
        if high >= low:
            gone = select(enrolment.c.id).where(enrolment.c.id.between(low, high), enrolment.c.step != "waits")
            with database.read() as connection:
                found = waiting.intersection(connection.scalars(gone))
            now = time.time()
            lags += [(now - (start + one / rate)) * 1000 for one in found]
            waiting -= found
        time.sleep(0.01)
    assert not waiting, f"{len(waiting)} still wait"
    return sorted(lags)


def measured(address: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    database = Database(address)
    database.migrate()
    fill(database, options.waiters, options.waiters // 10)
    stream = int(options.seconds * options.rate)
    begins: list[float] = []
    with service(
        folder / "project",
        FILES,
        address,
        lambda: begins.append(wait_in_line(database, options.waiters, stream, options.rate)),
    ):
        assert time.time() < begins[0], "the service took too long to start"
        lags = watched(database, begins[0], stream, options.rate)
    database.dispose()
    return {"p50_ms": at(lags, 0.5), "p99_ms": at(lags, 0.99), "max_ms": round(lags[-1], 1), "woken": len(lags)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=100, help="of them due a second")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    options = parser.parse_args()
    print(f"{options.waiters:,} wait", flush=True)
    tell("wake", measured, options)


if __name__ == "__main__":
    main()
