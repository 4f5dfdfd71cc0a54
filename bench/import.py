"""An import of events with their tallies, against a hand-written script that reads the same file into the same tables.

    make bench-import                     100k and 1M events of a CSV file, on SQLite (synchronous=FULL) and PostgreSQL;
                                          and 5M without the yardstick, for the memory
    make bench-import ARGS="--sizes 10000000 --memory 0 --database postgresql"

Timed: reading the file, typing each row, creating the customers, writing events, tallies and who was touched, all of it
committed. The yardstick does what a careful engineer would type for this one file: it knows its columns, trusts every
cell, remembers which customers it has made, and reads with the csv module into COPY (executemany on SQLite) and set
statements, in batches of the same size. It checks nothing, counts nothing that it sees, tells no progress and can't go
on when it is killed. Both leave the same rows, which is checked. Each runs in a process of its own, in turns; of a
small size, which a neighbour's work falsifies, the best of three counts. The peak of memory is told: it must not grow
with the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import sqlalchemy
from sqlalchemy import text

from bench.cohort import places
from engine.app import App
from engine.cohort.arms import bucket_of
from engine.imports import Import
from engine.runtime.clock import VirtualClock
from engine.runtime.pace import Pace
from engine.settings import Settings
from engine.store.database import Database
from engine.store.types import micros

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
PROJECT = """
brand: {name: Duka, timezone: Africa/Nairobi, locale: en, currency: KES}
events:
  purchase: {value: total, properties: {total: money, sku: text}}
  visit: {properties: {total: money, sku: text}}
"""
APART = 3 * 365 * 86_400
SMALL = 200_000
Way = Callable[[str, str, str], float]
EACH = 10
"""Events of a customer, on average."""


def write_file(path: Path, size: int) -> None:
    """A shop's history in order of time: seven of ten events are purchases."""
    chance, start = random.Random(size), NOW - timedelta(seconds=APART)
    with path.open("w", encoding="utf-8") as file:
        file.write("customer,event,at,order_id,total,sku\n")
        for n in range(size):
            at = (start + timedelta(seconds=n * APART // size)).isoformat()
            name = "purchase" if chance.random() < 0.7 else "visit"
            who, total = chance.randrange(max(1, size // EACH)), chance.randrange(100, 20_000) / 100
            file.write(f"c{who},{name},{at},o{n},{total:.2f},S{chance.randrange(5_000)}\n")


def ours(root: str, address: str, file: str) -> float:
    app = App(Settings.of(Path(root), secret_key="the secret of the bench"), VirtualClock(NOW))
    app.__dict__["database"] = Database(address)
    work = Import(app.runtime, app.door)
    start = time.perf_counter()
    result = work.run(Path(file), lambda done, rows: None)
    took = time.perf_counter() - start
    assert result.rejected == 0, result.faults
    app.close()
    return took


def by_hand(root: str, address: str, file: str) -> float:
    database = Database(address)
    start = time.perf_counter()
    known: set[str] = set()
    with Path(file).open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        while batch := list(islice(rows, Pace.LARGE)):
            new = {row[0] for row in batch} - known
            known |= new
            with database.write() as connection:
                driver = connection.connection.driver_connection
                cursor = driver.cursor()  # type: ignore[union-attr]
                (_sqlite_batch if database.dialect == "sqlite" else _postgresql_batch)(cursor, sorted(new), batch)
                cursor.close()
    took = time.perf_counter() - start
    database.dispose()
    return took


def _typed(batch: list[list[str]]) -> Iterator[tuple[Any, ...]]:
    for who, name, at, key, total, sku in batch:
        properties = {"order_id": key, "total": int(total.replace(".", "")), "sku": sku}
        yield who, f"{name}:{key}", name, micros(datetime.fromisoformat(at)), orjson.dumps(properties).decode()


def _people(new: list[str], unknown: str) -> list[tuple[Any, ...]]:
    return [(who, unknown, bucket_of(who), micros(NOW), micros(NOW)) for who in new]


PEOPLE = "INSERT INTO customer (external_id, attributes, bucket, created_at, updated_at)"
COLUMNS = "(source, key, customer_id, name, occurred_at, received_at, properties)"
TOUCH = "INSERT INTO touched (customer_id) SELECT DISTINCT customer_id"
TALLY = "INSERT INTO tally (customer_id, name, count, total, first_at, last_at) SELECT customer_id, name, count(*)"
ADD = """ON CONFLICT (customer_id, name) DO UPDATE SET count = tally.count + excluded.count,
    total = tally.total + excluded.total, first_at = {least}(tally.first_at, excluded.first_at),
    last_at = {greatest}(tally.last_at, excluded.last_at)"""


def _sqlite_batch(cursor: Any, new: list[str], batch: list[list[str]]) -> None:
    cursor.executemany(f"{PEOPLE} VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", _people(new, "{}"))
    (before,) = cursor.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()
    cursor.executemany(
        f"""INSERT INTO event {COLUMNS} VALUES ('import', ?2, (SELECT id FROM customer WHERE external_id = ?1), ?3, ?4,
            {micros(NOW)}, ?5) ON CONFLICT DO NOTHING""",
        _typed(batch),
    )
    cursor.execute(
        f"""{TALLY}, sum(CASE name WHEN 'purchase' THEN properties ->> '$.total' ELSE 0 END), min(occurred_at),
            max(occurred_at) FROM event WHERE id > {before} GROUP BY customer_id, name
            {ADD.format(least="min", greatest="max")}"""
    )
    cursor.execute(f"{TOUCH} FROM event WHERE id > {before} ON CONFLICT DO NOTHING")


def _postgresql_batch(cursor: Any, new: list[str], batch: list[list[str]]) -> None:
    cursor.executemany(f"{PEOPLE} VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", _people(new, "{}"))
    cursor.execute(
        """CREATE TEMPORARY TABLE IF NOT EXISTS hand (who text COLLATE "C", key text, name text, at bigint, said jsonb)
           ON COMMIT DELETE ROWS"""
    )
    with cursor.copy("COPY hand FROM STDIN") as copy:
        for row in _typed(batch):
            copy.write_row(row)
    cursor.execute(
        f"""WITH new AS (INSERT INTO event {COLUMNS}
                SELECT 'import', key, id, name, at, {micros(NOW)}, said FROM hand JOIN customer ON external_id = who
                ON CONFLICT DO NOTHING RETURNING customer_id, name, occurred_at, properties),
            touches AS ({TOUCH} FROM new ON CONFLICT (customer_id) DO UPDATE SET customer_id = excluded.customer_id)
            {TALLY}, sum(CASE name WHEN 'purchase' THEN (properties ->> 'total')::bigint ELSE 0 END), min(occurred_at),
            max(occurred_at) FROM new GROUP BY customer_id, name {ADD.format(least="least", greatest="greatest")}"""
    )


@dataclass(frozen=True)
class Spent:
    """What a run took. `seconds` by the clock and `cpu` of its own process; its memory at most, in MiB: `own`, and
    `rss` with the parts of SQLite's file that it has mapped."""

    seconds: float
    cpu: float
    own: float
    rss: float


def alone(way: Way, *given: str) -> Spent:
    """Run in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_alone, (way, *given))


def _alone(way: Way, *given: str) -> Spent:
    begun, most, over = time.process_time(), 0.0, Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.25):
            most = max(most, _mib("RssAnon"))

    watching = Thread(target=watch)
    watching.start()
    seconds = way(*given)
    over.set()
    watching.join()
    return Spent(seconds, time.process_time() - begun, most, _mib("VmHWM"))


def _mib(what: str) -> float:
    """What Linux tells of this process's memory: RssAnon is no part of a file, VmHWM the most of all that it had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:")), 0.0)


def left(address: str) -> list[tuple[Any, ...]]:
    """What an import leaves, in numbers."""
    database = Database(address)
    asked = (
        "SELECT count(*), sum(count), sum(total), min(first_at), max(last_at) FROM tally",
        "SELECT count(*), sum(occurred_at % 1000003), min(received_at), max(received_at) FROM event",
        "SELECT count(*), sum(bucket % 1000003) FROM customer",
        "SELECT count(*) FROM touched",
    )
    with database.read() as connection:
        found = [tuple(map(int, row)) for one in asked for row in connection.execute(text(one))]
    database.dispose()
    return found


def run(place: Callable[[str, str | None], str], folder: Path, size: int, ways: Sequence[Way]) -> dict[str, float]:
    file = folder / f"{size}.csv"
    if not file.exists():
        write_file(file, size)
    if not (folder / "workflows").exists():
        (folder / "workflows").mkdir()
        (folder / "workflows/project.yaml").write_text(PROJECT)
    found: dict[str, list[Spent]] = {}
    for turn in range(3 if size <= SMALL else 1):
        addresses = [place(f"{way.__name__}{size}_{turn}", None) for way in ways]
        for way, address in zip(ways, addresses, strict=True):
            made = Database(address)
            made.migrate()
            made.dispose()
            found.setdefault(way.__name__, []).append(alone(way, str(folder), address, str(file)))
        there = [left(address) for address in addresses]
        assert all(one == there[0] for one in there), there
    best = {name: min(spent, key=lambda one: one.seconds) for name, spent in found.items()}
    mine = best["ours"]
    figures = {"size": size, "seconds": mine.seconds, "per_second": size / mine.seconds}
    figures |= {"cpu": mine.cpu, "own_mib": mine.own, "rss_mib": mine.rss}
    if "by_hand" in best:
        hand = best["by_hand"]
        figures |= {"yardstick": hand.seconds, "ratio": mine.seconds / hand.seconds, "yardstick_cpu": hand.cpu}
        figures |= {"yardstick_own_mib": hand.own, "yardstick_rss_mib": hand.rss}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--memory", default="5000000", help="a size without the yardstick, for its memory; or 0")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    asked = parser.parse_args()
    print(
        f"{platform.platform()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"SQLAlchemy {sqlalchemy.__version__}"
    )
    sizes: list[tuple[int, Sequence[Way]]] = [(int(size), (ours, by_hand)) for size in asked.sizes.split(",") if size]
    if int(asked.memory):
        sizes.append((int(asked.memory), (ours,)))
    figures: dict[str, list[dict[str, float]]] = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        with tempfile.TemporaryDirectory() as folder, places(kind, Path(folder)) as place:
            figures[kind] = [_told(kind, run(place, Path(folder), size, ways)) for size, ways in sizes]
    worst = max(one.get("ratio", 0) for found in figures.values() for one in found)
    print(json.dumps({"bench": "import", "figures": figures, "ratio": round(worst, 2)}))


def _told(kind: str, one: dict[str, float]) -> dict[str, float]:
    beside = f"{one['ratio']:.2f} x by hand, " if "ratio" in one else ""
    print(
        f"{kind} {int(one['size']):>10,} events: {one['per_second']:>9,.0f}/s, {beside}"
        f"{one['own_mib']:,.0f} MiB of its own at most, {one['rss_mib']:,.0f} with mapped files",
        flush=True,
    )
    return {name: round(value, 3) for name, value in one.items()}


if __name__ == "__main__":
    main()
