"""Events that a journey could not be matched with, tried again: the journey may have been mended, or the database be
well again. One event a customer at a time, in the order in which they came.

Each try waits twice as long as the one before. After the last the event stays, and `karibu status` tells of it; a
publish that changes the journey gives it all its tries again, for that is how a journey is mended.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from engine.cohort.program import Program
from engine.runtime import matching
from engine.runtime.ingest import arrived, lock_live
from engine.store.apart import apart
from engine.store.database import Database
from engine.store.merges import looks_stay
from engine.store.scratch import scratch
from engine.store.tables import event, parked

log = logging.getLogger("karibu.parking")

FIRST, LONGEST = timedelta(minutes=5), timedelta(days=1)
TRIES = 14
"""The first was when the event came, the last is nearly a week after it."""

GIVEN_UP = parked.c.attempts >= TRIES


def pause(attempts: int) -> timedelta:
    """How long after so many tries the next one is."""
    return min(FIRST * (1 << (attempts - 1)), LONGEST)


def _due(now: datetime) -> ColumnElement[bool]:
    return or_(*(and_(parked.c.attempts == n, parked.c.at <= now - pause(n)) for n in range(1, TRIES)))


def afresh(connection: Connection, journeys: Sequence[str]) -> None:
    """These journeys were changed: what could not be matched with them has all its tries again."""
    connection.execute(update(parked).where(parked.c.journey.in_(journeys)).values(attempts=1))


def try_again(database: Database, programs: Sequence[Program], now: datetime) -> None:
    """Match the parked events whose time has come, each journey (all its versions) in a transaction of its own."""
    with database.read() as connection:
        waiting = list(connection.scalars(select(parked.c.journey).where(_due(now)).distinct()))
    for journey in sorted(waiting):
        versions = [program for program in programs if program.name == journey]
        more = len(versions)
        while more:
            more = database.written(partial(_round, versions=versions, now=now))


def _round(connection: Connection, versions: Sequence[Program], now: datetime) -> int:
    """Try the first due event of each customer; how many that were. Those that fail again wait again."""
    journey = versions[0].name
    looks_stay(connection)
    scratch(connection, arrived)
    first = (
        select(func.min(parked.c.event_id).label("event_id"))
        .join(event, event.c.id == parked.c.event_id)
        .where(parked.c.journey == journey, _due(now))
        .group_by(event.c.customer_id)
        .subquery()
    )
    rows = select(event.c.id, event.c.customer_id, event.c.name).join(first, first.c.event_id == event.c.id)
    connection.execute(insert(arrived).from_select(list(arrived.c), rows))
    names = set(connection.scalars(select(arrived.c.name).distinct()))
    if not names:
        return 0
    lock_live(connection, connection.scalars(select(arrived.c.customer_id)))
    tried = and_(parked.c.journey == journey, parked.c.event_id.in_(select(arrived.c.event_id)))
    with apart(connection) as trial:
        for program in versions:
            matching.match(connection, program, arrived, names, now, inside=True)
        connection.execute(delete(parked).where(tried))
    if trial.error is not None:
        log.error("journey %s could still not be matched with an event: %s", journey, type(trial.error).__name__)
        again = update(parked).where(tried)
        connection.execute(again.values(at=now, attempts=parked.c.attempts + 1))
    return len(names)
