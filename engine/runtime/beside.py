"""What was being taken in while the clock let people in, on PostgreSQL.

Neither sees what the other hasn't committed: an exit that happened after its customer's entry would be heard by nobody.
Who comes in by an event is locked for that (`matching.let_in`). Those whom the clock lets in may be a million, and no
event must wait until they are all inside: a mark is left with them, and when whoever took events in meanwhile has
committed, what came beside is heard. SQLite has one writer, and needs none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, select

from engine.cohort.program import Program
from engine.runtime.matching import UNHEARD, hear_what_came_beside
from engine.store.database import Database
from engine.store.failures import DatabaseBusy
from engine.store.merges import facts_are_in, looks_stay
from engine.store.tables import mark
from engine.store.types import moment

log = logging.getLogger("karibu.beside")

KEPT = timedelta(days=1)
"""So long it is tried, and a version waited for that this engine doesn't know."""


def hear(database: Database, programs: Sequence[Program], now: datetime) -> None:
    """Let those whom the clock has let in hear what came beside. What fails, or is busy, waits for the next look."""
    if database.dialect == "sqlite":
        return
    with database.read() as connection:
        left = select(mark.c.name).where(mark.c.name >= UNHEARD, mark.c.name < UNHEARD + "~")
        names = list(connection.scalars(left))
    if not names:
        return
    try:
        database.written(facts_are_in)
    except DatabaseBusy:
        return
    known = {program.version_id: program for program in programs}
    for name in names:
        version, at = (int(part) for part in name.removeprefix(UNHEARD).split(":"))
        entered_at = moment(at)
        over = now - entered_at >= KEPT
        program = None if over else known.get(version)
        if program is None and not over:
            continue
        try:
            database.written(partial(_hear, name=name, program=program, entered_at=entered_at, now=now))
        except Exception as error:
            log.error("version %d could not hear what came beside its entries: %s", version, type(error).__name__)


def _hear(connection: Connection, name: str, program: Program | None, entered_at: datetime, now: datetime) -> None:
    looks_stay(connection)
    taken = connection.execute(delete(mark).where(mark.c.name == name)).rowcount
    if taken and program is not None:
        hear_what_came_beside(connection, program, entered_at, now)
