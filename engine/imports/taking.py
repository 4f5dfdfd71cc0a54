"""The import: rows in batches, each batch a transaction; what is wrong goes into a file beside it.

How far it has come stands in that transaction too: killed anywhere and run again, it goes on (engine/imports/progress).
A live import reads its file again from the beginning: what came before is known by its key.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from engine.imports import history
from engine.imports.batches import Batches, Writing
from engine.imports.faults import every_fault, has_columns
from engine.imports.progress import Bookmark, Progress
from engine.imports.reading import Row, Table, opened
from engine.imports.rejects import Rejects
from engine.imports.rows import Faulty, Kind, Layout, Person, Rows
from engine.runtime.door import Door
from engine.runtime.ingest import BATCH, Incoming
from engine.runtime.runtime import Runtime

SHOWN = 5
"""Faults that are told at once; the file of rejected rows has them all."""

KNOWN_LAYOUTS = 1_000
"""JSON lines may name other columns on each line."""

Tell = Callable[[float, int], None]
"""Hears how much of the file is done (0 to 1), and how many rows."""


@dataclass
class Result:
    """What became of a file. `new`: customers or events that weren't there before; `known`: those that were.
    `resumed`: rows that an import had dealt with that was broken off; the other figures count them too, `faults`
    doesn't."""

    kind: Kind
    rows: int = 0
    new: int = 0
    known: int = 0
    rejected: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    reject_file: Path | None = None
    left_out: tuple[str, ...] = ()
    resumed: int = 0


@dataclass
class Import:
    """One import of one file. `event`: the event of every row; `named`: columns by what they are; `source`: whose keys
    these are; `anew`: from the first row, though it had been broken off. `going_on` hears when rows are skipped which
    an import that was broken off had dealt with: how many."""

    runtime: Runtime
    door: Door
    kind: Kind | None = None
    event: str | None = None
    named: dict[str, str] = field(default_factory=dict)
    zone: ZoneInfo | None = None
    source: str = "import"
    live: bool = False
    anew: bool = False
    going_on: Callable[[int], None] = lambda rows: None

    def run(self, path: Path, tell: Tell) -> Result:
        """Take a file. Raises Unreadable when it can't be read at all, NoKind when it is unclear what it holds,
        NoColumn when a column that was named isn't there, and then nothing was taken; Changed when it was broken off
        and the file has changed since."""
        table = opened(path)
        self.door.sightings.remember(self.runtime.database, self.door.project.events)
        gc.freeze()  # else whatever is loaded is looked through every few thousand rows, a tenth of the whole time
        try:
            return self._run(path, table, self._counting(tell))
        finally:
            gc.unfreeze()
            table.close()
            self.door.sightings.write(self.runtime.database, self.runtime.clock.now())

    def _counting(self, tell: Tell) -> Tell:
        """Write what was seen at the door as the file goes on."""

        def told(done: float, rows: int) -> None:
            now = self.runtime.clock.now()
            if self.door.sightings.due(now):
                self.door.sightings.write(self.runtime.database, now)
            tell(done, rows)

        return told

    def _run(self, path: Path, table: Table, tell: Tell) -> Result:
        work = _Work(self, path, table, tell)
        try:
            return work.run()
        finally:
            work.rejects.leave()

    def attributes(self) -> frozenset[str]:
        vocabulary = self.door.vocabulary
        return frozenset({*vocabulary.customer, "push_token", "consent", "consent_at", "tags"})


def happening(who: str, name: str, key: str, at: datetime, properties: Mapping[str, Any], source: str) -> Incoming:
    """An event that is taken as if it had come just now."""
    return Incoming(who, name, key, at, properties, None, source)


class _Work:
    """One file on its way in."""

    def __init__(self, how: Import, path: Path, table: Table, tell: Tell) -> None:
        self.how, self.table, self.tell = how, table, tell
        runtime = how.runtime
        zone = how.zone or ZoneInfo(runtime.content.project.brand.timezone)
        self.rows = Rows(how.door, zone, runtime.clock.now(), how.event, how.source)
        self.written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        self.rejects = Rejects(path, table)
        self.left_out: dict[str, None] = {}
        self.batch: list[Any] = []
        self.pending = 0
        self.kind: Kind | None = how.kind
        self.result = Result(how.kind or Kind.EVENTS)
        project = sha256(runtime.content.project.model_dump_json().encode()).hexdigest()
        named = sorted(how.named.items())
        self.bookmark = Bookmark.of(path, how.kind, how.event, named, zone, how.source, self.rejects.path, project)
        self.batches = Batches(runtime, how.live)
        self.pace = Writing(runtime)
        self.size = self._size()
        self.layouts: dict[tuple[str, ...], Layout] = {}
        self.readers: dict[tuple[str, ...], Callable[[Sequence[Any]], Any]] = {}

    def run(self) -> Result:
        if self.table.columns:
            has_columns(self.how.named, self.table.columns)
            self._reader(self.table.columns)  # a file that can't be understood is told before anything is taken
        self._go_on()
        last: tuple[str, ...] | None = None
        for row in self.table.rows():
            if row.columns is not last and row.fault is None:
                read = self._reader(row.columns)
                last = row.columns
            fault = row.fault
            if fault is None:
                try:
                    self.batch.append(read(row.values))
                except Faulty as faulty:
                    cells = dict(zip(row.columns, row.values, strict=True))
                    fault = "; ".join(every_fault(self.rows, cells, self.layouts[row.columns])) or str(faulty)
            self.pending += 1
            if fault is not None:
                self._reject(row, fault)
            if self.pending >= self.size:
                self._flush()
        if self.pending:
            self._flush()
        return self._ended()

    def _go_on(self) -> None:
        before = None if self.how.live or self.how.anew else self.bookmark.read(self.how.runtime.database)
        if before is not None and self.rejects.go_on(before.rejects):
            self.how.going_on(before.rows)
            self.table.go_on(before.place)
            self.kind = None if before.kind is None else Kind(before.kind)
            self.result = Result(self.kind or Kind.EVENTS, before.rows, before.new, before.known, before.rejected)
            self.result.resumed = before.rows
            self.left_out = dict.fromkeys(before.left_out)
        self.size = self._size()

    def _reader(self, columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
        if columns not in self.readers:
            if len(self.readers) >= KNOWN_LAYOUTS:
                self.readers.clear()
                self.layouts.clear()
            layout = Layout.of(columns, self.kind, self.how.named, self.how.event)
            if self.kind is not layout.kind:  # the first row tells what all of them are
                self.kind = self.result.kind = layout.kind
                self.size = self._size()
            self.layouts[columns] = layout
            self.readers[columns] = self._made(layout, columns)
        return self.readers[columns]

    def _made(self, layout: Layout, columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
        if layout.kind is Kind.EVENTS:
            return self.rows.events(layout, columns, happening if self.how.live else history.row)
        known = self.how.attributes()
        strange = [name for name in layout.rest if name not in known]

        def person(values: Sequence[Any]) -> Person:
            self.left_out.update(dict.fromkeys(strange))
            cells = dict(zip(columns, values, strict=True))
            return self.rows.person({name: cells[name] for name in columns if name not in strange}, layout)

        return person

    def _reject(self, row: Row, fault: str) -> None:
        result = self.result
        result.rejected += 1
        self.rejects.add(row, fault)
        if len(result.faults) < SHOWN:
            result.faults.append((row.line, fault))

    def _flush(self) -> None:
        result = self.result
        result.rows += self.pending
        place, rejects = self.table.place(), self.rejects.save()

        def mark(connection: Connection, new: int) -> None:
            self.pace.look(connection)
            known = result.known + len(self.batch) - new
            counts = (result.rows, result.new + new, known, result.rejected)
            progress = Progress(*place, self.kind and self.kind.value, *counts, rejects, list(self.left_out))
            self.bookmark.write(connection, progress)

        new = self.batches.taken(result.kind, self.batch, self.written, mark)
        result.new += new
        result.known += len(self.batch) - new
        self.batch.clear()
        self.pending = 0
        self.pace.give_way()
        self.size = self._size()
        self.tell(self.table.done(), result.rows)

    def _size(self) -> int:
        return BATCH if self.how.live or self.kind is not Kind.EVENTS else self.pace.size()

    def _ended(self) -> Result:
        result = self.result
        self.tell(self.table.done(), result.rows)
        self.batches.look_once_more()
        result.reject_file = self.rejects.close()
        result.left_out = tuple(self.left_out)
        if not self.how.live:
            with self.how.runtime.database.write() as connection:
                self.bookmark.forget(connection)
        return result
