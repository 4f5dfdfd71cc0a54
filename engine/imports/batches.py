"""A batch of an import as one transaction, and how large it is.

Imports are history: they move counts and segments, and let nobody in, unless they are `live`; nor for a date that has
gone off (engine/imports/latecomers.py). Whoever comes to belong
to a segment by imported facts is written as a member without having joined it in anybody's eyes: the look at the
segments stands in the transaction of the batch, after a look that lets in whoever had joined before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, exists, select

from engine.cohort.program import Program
from engine.imports import bulk, history
from engine.imports.latecomers import Latecomers
from engine.imports.rows import Kind
from engine.runtime import tick
from engine.runtime.pace import Pace
from engine.runtime.runtime import Runtime
from engine.segments import membership
from engine.segments.survey import PIECE, prepare
from engine.store import published
from engine.store.merges import looks_stay
from engine.store.scratch import touch
from engine.store.tables import segment_state
from triggers.segment import SegmentTrigger

AWAY = 0.03
"""Seconds off SQLite's writer after a batch while somebody else writes: one who waits for it looks every 25 ms."""

Mark = Callable[[Connection, int], None]
"""Writes in the batch's own transaction how far the import has come. It is told how many of the batch were new."""


class Outdated(Exception):
    """The project was published while the import ran: segments may be others than this process has read."""


@dataclass(frozen=True)
class Batches:
    """Takes batches into one engine's database."""

    runtime: Runtime
    live: bool

    def taken(self, kind: Kind, batch: Sequence[Any], written: datetime, mark: Mark) -> int:
        """Take a batch; how many were new. `mark` isn't called for what is live. `written`: when the file was."""
        now = self.runtime.clock.now()
        if not batch and not self.live:  # every row was rejected
            with self.runtime.database.write() as connection:
                mark(connection, 0)
            return 0
        if kind is Kind.CUSTOMERS:
            names = {person.external_id for person in batch}
            return self._as_history(
                lambda connection: bulk.write(connection, batch, now, min(written, now)), names, mark
            )
        if self.live:
            return self.runtime.ingest(batch).accepted
        known = self.runtime.content.vocabulary.events
        worth = {name: (one.value, one.properties[one.value]) for name, one in known.items() if one.value}
        names = {who for _, _, who, *_ in batch}
        return self._as_history(lambda connection: history.take(connection, batch, worth, now), names, mark)

    def _as_history(self, take: Callable[[Connection], int], names: Iterable[str], mark: Mark) -> int:
        """`names`: of the customers whom the batch is about."""
        programs = list(self.runtime.programs().values())
        letting_in = [p for p in programs if p.takes_entries and isinstance(p.journey.enter, SegmentTrigger)]
        absorbing = bool(letting_in) and not self.live
        now = self.runtime.clock.now()
        latecomers = Latecomers.of(programs, names, now)

        def write(connection: Connection) -> int:
            looks_stay(connection)
            if absorbing:
                self._look(connection, programs, now)
            latecomers.note(connection)
            new = take(connection)
            latecomers.refuse(connection)
            if absorbing:
                membership.refresh(connection, self.runtime.content, now)
            mark(connection, new)
            return new

        return self.runtime.database.written(write)

    def _look(self, connection: Connection, programs: list[Program], now: datetime) -> None:
        if published.times(connection) != self.runtime.as_of:
            raise Outdated
        tick.refresh(connection, self.runtime.content, programs, now)

    def look_once_more(self) -> None:
        """Judge everybody: what was imported may have changed the shop's rhythm, and with it who belongs where."""
        if self.live:
            return
        programs: list[Program] = list(self.runtime.programs().values())
        database, content, clock = self.runtime.database, self.runtime.content, self.runtime.clock
        with database.read() as connection:
            if not connection.scalar(select(exists(select(segment_state.c.segment)))):
                return
        found = prepare(database, content, clock.now(), self.runtime.as_of, full=True)

        def write(connection: Connection, suspects: Sequence[int], full: bool) -> None:
            looks_stay(connection)
            now = clock.now()
            self._look(connection, programs, now)
            touch(connection, suspects)
            membership.refresh(connection, content, now, full=full)

        if not found:  # on PostgreSQL a long look keeps nobody waiting
            database.written(partial(write, suspects=(), full=True))
        # Beside an engine that is up, which looks as well: so the suspects are told as who was touched, not by moments.
        suspects = sorted({id_ for one in found.values() for id_ in one.ids})
        for start in range(0, len(suspects), PIECE):
            database.written(partial(write, suspects=suspects[start : start + PIECE], full=False))
            time.sleep(AWAY)


class Writing:
    """How many events a transaction takes.

    SQLite has one writer. While somebody else writes, batches are small, and a rest follows each: another process has
    no place in a queue for the writer, it looks now and then whether it is free."""

    def __init__(self, runtime: Runtime) -> None:
        self.pace: Pace = runtime.pace
        self.sqlite = runtime.database.dialect == "sqlite"
        self._seen: int | None = None
        self._small = False

    def size(self) -> int:
        size = self.pace.chunk()
        self._small = size < Pace.LARGE
        return size

    def look(self, connection: Connection) -> None:
        """Whether another connection has written since."""
        if self.sqlite:
            seen = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
            if self._seen is not None and seen != self._seen:
                self.pace.gives_way()
            self._seen = seen

    def give_way(self) -> None:
        if self.sqlite and self._small:
            time.sleep(AWAY)
