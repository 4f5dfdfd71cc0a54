"""Coupon codes from a file into a pool, batch by batch: a file of millions takes no more memory than one of ten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, and_, tuple_, update

from engine.cohort.coupons import folded, fresh_codes
from engine.imports import reading
from engine.runtime.runtime import Runtime
from engine.steps.coupon import Coupon
from engine.store.tables import enrolment

BATCH = 5_000
LONGEST = 64
SHOWN = 10
"""Lines of a kind that are told, at most."""

NAMES = ("code", "coupon", "coupon_code")


@dataclass
class Loaded:
    """What became of a file: codes that are new to all pools, lines whose code was there before or stands twice, and
    lines without a code that can be one. The first lines of each; codes are money, so none is told."""

    new: int = 0
    known: int = 0
    wrong: int = 0
    known_at: list[int] = field(default_factory=list)
    wrong_at: list[int] = field(default_factory=list)


def load(engine: Runtime, pool: str, file: Path) -> Loaded:
    """Put the codes of a file into a pool, and wake those who wait for one. Again, it changes nothing.

    Raises Unreadable, and ValueError when no column is called `code`."""
    loaded, table = Loaded(), reading.opened(file)
    try:
        for batch in _batches(table, loaded):
            with engine.database.write() as connection:
                _keep(connection, pool, batch, loaded)
    finally:
        table.close()
    if loaded.new:
        with engine.database.write() as connection:
            _wake(connection, engine, pool)
    return loaded


def _batches(table: reading.Table, loaded: Loaded) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    for row in table.rows():
        places = [n for n, name in enumerate(row.columns) if name.strip().casefold() in NAMES]
        if len(places) != 1:
            raise ValueError("its first line must name one column code")
        value = row.values[places[0]] if row.fault is None and places[0] < len(row.values) else None
        code = "" if value is None else str(value).strip()
        if not code or len(code) > LONGEST or not code.isprintable():
            loaded.wrong += 1
            loaded.wrong_at += [row.line] if len(loaded.wrong_at) < SHOWN else []
            continue
        batch.append((row.line, code))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _keep(connection: Connection, pool: str, batch: list[tuple[int, str]], loaded: Loaded) -> None:
    fresh = fresh_codes(connection, pool, [code for _, code in batch])
    for line, code in batch:
        if (key := folded(code)) in fresh:
            fresh.remove(key)
            loaded.new += 1
        else:
            loaded.known += 1
            loaded.known_at += [line] if len(loaded.known_at) < SHOWN else []


def _wake(connection: Connection, engine: Runtime, pool: str) -> None:
    """Have those look again who wait at a coupon step of this pool."""
    places = [
        (version_id, node.id)
        for version_id, program in engine.programs().items()
        for node in program.graph.nodes.values()
        if isinstance(node.step, Coupon) and node.step.coupon == pool
    ]
    if places:
        waits = and_(tuple_(enrolment.c.version_id, enrolment.c.step).in_(places), enrolment.c.state == "waiting")
        connection.execute(update(enrolment).where(waits).values(due_at=engine.clock.now()))
