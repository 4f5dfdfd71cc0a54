"""Events that a journey could not be matched with, tried again: the journey may have been mended, or the database be
well again. One event a customer at a time, in the order in which they came."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, func, insert, select, update

from engine.cohort.program import Program
from engine.runtime import matching
from engine.runtime.ingest import arrived
from engine.store.database import Database
from engine.store.failures import deadlocked
from engine.store.merges import looks_stay
from engine.store.scratch import scratch
from engine.store.tables import event, parked

log = logging.getLogger("karibu.parking")

AGAIN_AFTER = timedelta(minutes=5)


def try_again(database: Database, programs: Sequence[Program], now: datetime) -> None:
    """Match the parked events whose time has come, each journey in a transaction of its own."""
    due = parked.c.at <= now - AGAIN_AFTER
    with database.read() as connection:
        waiting = set(connection.scalars(select(parked.c.journey).where(due).distinct()))
    for program in programs:
        while program.name in waiting:
            if not database.written(partial(_round, program=program, now=now)):
                break


def _round(connection: Connection, program: Program, now: datetime) -> int:
    """Try the first due event of each customer; how many that were. Those that fail again wait again."""
    due = (parked.c.journey == program.name, parked.c.at <= now - AGAIN_AFTER)
    looks_stay(connection)
    scratch(connection, arrived)
    first = (
        select(func.min(parked.c.event_id).label("event_id"))
        .join(event, event.c.id == parked.c.event_id)
        .where(*due)
        .group_by(event.c.customer_id)
        .subquery()
    )
    rows = select(event.c.id, event.c.customer_id, event.c.name).join(first, first.c.event_id == event.c.id)
    connection.execute(insert(arrived).from_select(list(arrived.c), rows))
    names = set(connection.scalars(select(arrived.c.name).distinct()))
    if not names:
        return 0
    tried = parked.c.event_id.in_(select(arrived.c.event_id))
    try:
        with connection.begin_nested():
            matching.match(connection, program, arrived, names, now, inside=True)
            connection.execute(delete(parked).where(parked.c.journey == program.name, tried))
    except Exception as error:
        if deadlocked(error):
            raise
        log.error("journey %s could still not be matched with an event: %s", program.name, type(error).__name__)
        again = update(parked).where(parked.c.journey == program.name, tried)
        connection.execute(again.values(at=now, attempts=parked.c.attempts + 1))
    return len(names)
