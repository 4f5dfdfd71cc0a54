"""An import of events with their tallies, against a hand-written script that reads the same file into the same tables.

    make bench-import                      100k and 1M events of a CSV file, on SQLite (synchronous=FULL) and PostgreSQL
    make bench-import ARGS="--sizes 10000000 --database postgresql"

Timed: reading the file, typing each row, creating the customers, writing events and tallies, all of it committed. The
yardstick does what a careful engineer would type for this one file: it knows its columns, trusts every cell, and reads
it with the csv module into COPY (executemany on SQLite) and set statements, in batches of the same size. It checks
nothing, touches nobody for the segments, tells no progress and can't go on when it is killed. Each runs in a process of
its own, whose peak of memory is told: it must not grow with the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import text

from bench.cohort import places
from engine.app import App
from engine.cohort.arms import bucket_of
from engine.imports import Import
from engine.runtime.advance import Pace
from engine.runtime.clock import VirtualClock
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
        yield who, f"{name}:{key}", name, micros(datetime.fromisoformat(at)), json.dumps(properties)


def _people(new: list[str], unknown: str) -> list[tuple[Any, ...]]:
    return [(who, unknown, bucket_of(who), micros(NOW), micros(NOW)) for who in new]


PEOPLE = "INSERT INTO customer (external_id, attributes, bucket, created_at, updated_at)"
COLUMNS = "(source, key, customer_id, name, occurred_at, received_at, properties)"
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
                ON CONFLICT DO NOTHING RETURNING customer_id, name, occurred_at, properties)
            {TALLY}, sum(CASE name WHEN 'purchase' THEN (properties ->> 'total')::bigint ELSE 0 END), min(occurred_at),
            max(occurred_at) FROM new GROUP BY customer_id, name {ADD.format(least="least", greatest="greatest")}"""
    )


def alone(way: Callable[[str, str, str], float], *given: str) -> tuple[float, float]:
    """Run in a process of its own: seconds, and the peak of its memory in MiB."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_alone, (way, *given))


def _alone(way: Callable[[str, str, str], float], *given: str) -> tuple[float, float]:
    return way(*given), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tallies(address: str) -> list[tuple[Any, ...]]:
    database = Database(address)
    asked = "SELECT count(*), sum(count), sum(total), min(first_at), max(last_at) FROM tally"
    with database.read() as connection:
        found = [tuple(map(int, row)) for row in connection.execute(text(asked))]
    database.dispose()
    return found


def run(place: Callable[[str, str | None], str], folder: Path, size: int) -> dict[str, float]:
    file = folder / f"{size}.csv"
    if not file.exists():
        write_file(file, size)
    if not (folder / "workflows").exists():
        (folder / "workflows").mkdir()
        (folder / "workflows/project.yaml").write_text(PROJECT)
    addresses = [place(f"{name}{size}", None) for name in ("ours", "hand")]
    for address in addresses:
        made = Database(address)
        made.migrate()
        made.dispose()
    seconds, rss = alone(ours, str(folder), addresses[0], str(file))
    base, base_rss = alone(by_hand, str(folder), addresses[1], str(file))
    assert tallies(addresses[0]) == tallies(addresses[1])
    return {
        "size": size,
        "seconds": seconds,
        "yardstick": base,
        "per_second": size / seconds,
        "ratio": seconds / base,
        "rss_mib": rss,
        "yardstick_rss_mib": base_rss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    asked = parser.parse_args()
    print(
        f"{platform.platform()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"SQLAlchemy {sqlalchemy.__version__}"
    )
    figures: dict[str, list[dict[str, float]]] = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        with tempfile.TemporaryDirectory() as folder, places(kind, Path(folder)) as place:
            figures[kind] = [_told(kind, run(place, Path(folder), int(size))) for size in asked.sizes.split(",")]
    worst = max(one["ratio"] for found in figures.values() for one in found)
    print(json.dumps({"bench": "import", "figures": figures, "ratio": round(worst, 2)}))


def _told(kind: str, one: dict[str, float]) -> dict[str, float]:
    print(
        f"{kind} {int(one['size']):>10,} events: {one['per_second']:>9,.0f}/s, {one['ratio']:.2f} x by hand, "
        f"{one['rss_mib']:,.0f} MiB at most",
        flush=True,
    )
    return {name: round(value, 3) for name, value in one.items()}


if __name__ == "__main__":
    main()
