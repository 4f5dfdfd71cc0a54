"""Entries at scale: a whole audience let in by a schedule while events come in, and a tick while many wait at the door.

    make bench-entry                                    100,000 customers on SQLite and PostgreSQL
    make bench-entry ARGS="--size 20000 --database sqlite"

The schedule: how many enter a second, how long the transactions were that wrote meanwhile, and how long events took
(SQLite has one writer). The door: what a tick, and an event that names somebody else, cost with the whole size waiting
and no room, and with 1,000: the gate is the ratio of the two ticks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy import event as hooks

from bench.cohort import PROJECT, places
from bench.shop import NOW, fill
from engine.builtins import registry
from engine.channels.base import Sender
from engine.language.content import load
from engine.rendering.renderer import Renderer
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.runtime.post import Post
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.store.types import micros

YARDSTICK, TICKS, EVERY = 1_000, 30, 0.02
JOURNEYS = {
    "broadcast": 'enter: {schedule: "0 12 * * *", audience: customer.country != "XX"}\nsteps: [{wait: 5d}]\n',
    "waiting": "enter: {event: purchase, limit: {at_most: 1, per: day, over: wait}}\nsteps: [{wait: 5d}]\n",
}


def runtime(root: Path, database: Database, journey: str) -> Runtime:
    (root / "workflows").mkdir(parents=True)
    (root / "workflows/project.yaml").write_text(PROJECT)
    (root / f"workflows/{journey}.yaml").write_text(f"journey: {journey}\ntopic: offers\n{JOURNEYS[journey]}")
    words = registry()
    content = load(root, words)
    post = Post({}, Renderer(root, content.project), Sender("Duka"), lambda subscription: "")
    made = Runtime(database, content, words, VirtualClock(NOW - timedelta(hours=1)), post)
    made.publish()
    made.tick()
    return made


@contextmanager
def written(database: Database) -> Iterator[list[float]]:
    """The milliseconds of every transaction that writes."""
    begun, took = threading.local(), []

    def begin(connection: Connection) -> None:
        writes = "IMMEDIATE" in connection.get_execution_options()["karibu_begin"]
        begun.at = time.perf_counter() if writes else None

    def end(*_: object) -> None:  # with its commit, which is over when the connection comes back
        if getattr(begun, "at", None) is not None:
            took.append((time.perf_counter() - begun.at) * 1000)

    writer = database._writer
    hooks.listen(writer, "begin", begin, insert=True)
    hooks.listen(writer.pool, "checkin", end)
    try:
        yield took
    finally:
        hooks.remove(writer, "begin", begin)
        hooks.remove(writer.pool, "checkin", end)


@contextmanager
def events(engine: Runtime, size: int) -> Iterator[list[float]]:
    """Events of somebody every 20 ms; how long each took, in milliseconds."""
    over, took = threading.Event(), []

    def come() -> None:
        n = 0
        while not over.wait(EVERY):
            n += 1
            begun = time.perf_counter()
            engine.ingest([Incoming(f"c{1 + n * 7919 % size}", "visit", f"v{n}", engine.clock.now(), {})])
            took.append((time.perf_counter() - begun) * 1000)

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def schedule(engine: Runtime, size: int) -> dict[str, float]:
    """Everybody enters by the schedule while events come in."""
    clock = engine.clock
    assert isinstance(clock, VirtualClock)
    with events(engine, size) as waited:
        time.sleep(0.5)
        clock.advance_to(NOW)
        waited.clear()
        with written(engine.database) as took:
            begun = time.perf_counter()
            entered = engine.tick().entered["broadcast"]
            seconds = time.perf_counter() - begun
    assert entered == size, entered
    return {
        "entered_per_second": round(size / seconds),
        "writes": len(took),
        "write_p50_ms": round(statistics.median(took), 1),
        "write_p95_ms": round(statistics.quantiles(took, n=20)[18], 1),
        "longest_write_ms": round(max(took), 1),
        "events": len(waited),
        "event_p50_ms": round(statistics.median(waited), 1),
        "longest_event_ms": round(max(waited), 1),
    }


def door(engine: Runtime, waiting: int) -> dict[str, float]:
    """A tick, and an event that names somebody new, with so many at the door and no room."""
    at = micros(engine.clock.now())
    engine.ingest([Incoming("first", "purchase", f"first {waiting}", engine.clock.now(), {})])
    with engine.database.write() as c:
        c.execute(
            text(
                "INSERT INTO candidate (journey, customer_id, key, cause, reason, since) "
                f"SELECT 'waiting', id, '', 'event:0', 'limit', {at} FROM customer WHERE external_id LIKE 'c%' "
                f"ORDER BY id LIMIT {waiting} ON CONFLICT DO NOTHING"
            )
        )
    with engine.database.write() as c:
        c.exec_driver_sql("ANALYZE")
    engine.tick()
    names = iter(range(1_000_000))

    def come() -> None:
        n = next(names)
        engine.ingest([Incoming(f"new {waiting} {n}", "purchase", f"new {waiting} {n}", engine.clock.now(), {})])

    return {"tick_ms": _median(engine.tick), "event_ms": _median(come)}


def _median(do: Callable[[], object]) -> float:
    took = []
    for _ in range(TICKS):
        begun = time.perf_counter()
        do()
        took.append((time.perf_counter() - begun) * 1000)
    return round(statistics.median(took), 2)


def run(kind: str, size: int, folder: Path) -> dict[str, dict[str, float]]:
    figures = {}
    with places(kind, folder) as place:
        for journey in JOURNEYS:
            database = Database(place(journey, None))
            database.migrate()
            fill(database, size, size)
            _number_on(database)
            engine = runtime(folder / journey, database, journey)
            if journey == "broadcast":
                figures["schedule"] = schedule(engine, size)
            else:
                figures["few"] = door(engine, min(YARDSTICK, size))
                figures["many"] = door(engine, size)
            database.dispose()
    return figures


def _number_on(database: Database) -> None:
    """Have PostgreSQL number new rows after those that came with their ids."""
    if database.dialect == "postgresql":
        with database.write() as c:
            for name in ("customer", "event"):
                c.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    asked = parser.parse_args()
    figures = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder:
            figures[kind] = run(kind, asked.size, Path(folder))
        for name, found in figures[kind].items():
            print(f"{kind} {name}: " + ", ".join(f"{key} {value:,}" for key, value in found.items()), flush=True)
    ratio = max(found["many"]["tick_ms"] / found["few"]["tick_ms"] for found in figures.values())
    print(json.dumps({"bench": "entry", "size": asked.size, "figures": figures, "ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
