"""The import: rows in batches, each batch a transaction; what is wrong goes into a file beside it.

Imports are history: they move counts and segments, and let nobody in, unless they are `live`. Whoever comes to belong
to a segment by imported facts is written as a member without having joined it in anybody's eyes: the look at the
segments stands in the transaction of the batch, after a look that lets in whoever had joined before.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import Connection, exists, select

from engine.cohort.program import Program
from engine.imports import bulk
from engine.imports.faults import every_fault, has_columns
from engine.imports.reading import CsvTable, Row, Table, opened
from engine.imports.rows import OURS, Faulty, Kind, Layout, Person, Rows
from engine.runtime import tick
from engine.runtime.door import Door
from engine.runtime.ingest import BATCH, Incoming, ingest
from engine.runtime.runtime import Runtime
from engine.segments import membership
from engine.store.merges import looks_stay
from engine.store.tables import segment_state
from triggers.segment import SegmentTrigger

SHOWN = 5
"""Faults that are told at once; the file of rejected rows has them all."""

Tell = Callable[[float, int], None]
"""Hears how much of the file is done (0 to 1), and how many rows."""


@dataclass
class Result:
    """What became of a file. `new`: customers or events that weren't there before; `known`: those that were."""

    kind: Kind
    rows: int = 0
    new: int = 0
    known: int = 0
    rejected: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    reject_file: Path | None = None
    left_out: tuple[str, ...] = ()


@dataclass
class Import:
    """One import of one file. `event`: the event of every row; `named`: columns by what they are; `source`: whose keys
    these are."""

    runtime: Runtime
    door: Door
    kind: Kind | None = None
    event: str | None = None
    named: dict[str, str] = field(default_factory=dict)
    zone: ZoneInfo | None = None
    source: str = "import"
    live: bool = False

    def run(self, path: Path, tell: Tell) -> Result:
        """Take a file. Raises Unreadable when it can't be read at all, NoKind when it is unclear what it holds,
        NoColumn when a column that was named isn't there; then nothing was taken."""
        table = opened(path)
        self.door.sightings.remember(self.runtime.database, self.door.project.events)
        try:
            return self._run(path, table, self._counting(tell))
        finally:
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
        if table.columns:
            has_columns(self.named, table.columns)
        now = self.runtime.clock.now()
        zone = self.zone or ZoneInfo(self.runtime.content.project.brand.timezone)
        rows = Rows(self.door, zone, now, self.event, self.source)
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        layouts: dict[tuple[str, ...], Layout] = {}
        if table.columns:
            layouts[table.columns] = self._layout(table.columns)
        left_out: dict[str, None] = {}
        rejects = Rejects(path, table)
        result: Result | None = None
        batch: list[Any] = []

        def flush() -> None:
            assert result is not None
            if batch:
                taken = self._people(batch, written) if result.kind is Kind.CUSTOMERS else self._events(batch)
                result.new += taken
                result.known += len(batch) - taken
                batch.clear()
            tell(table.done(), result.rows)

        for row in table.rows():
            columns = table.columns or tuple(row.cells)
            if columns not in layouts and row.fault is None:
                layouts[columns] = self._layout(columns)
            layout = layouts.get(columns)
            if result is None:
                result = Result(layout.kind if layout else self.kind or Kind.EVENTS)
            result.rows += 1
            fault = row.fault
            if fault is None:
                assert layout is not None
                try:
                    batch.append(self._read(rows, row, layout, left_out))
                except Faulty as faulty:
                    fault = "; ".join(every_fault(rows, row.cells, layout)) or str(faulty)
            if fault is not None:
                result.rejected += 1
                rejects.add(row, fault)
                if len(result.faults) < SHOWN:
                    result.faults.append((row.line, fault))
            if len(batch) >= BATCH:
                flush()
        if result is None:
            result = Result(layouts[table.columns].kind if table.columns else self.kind or Kind.EVENTS)
        flush()
        self._look_once_more()
        result.reject_file = rejects.close()
        result.left_out = tuple(left_out)
        return result

    def _layout(self, columns: tuple[str, ...]) -> Layout:
        return Layout.of(columns, self.kind, self.named, self.event)

    def _read(self, rows: Rows, row: Row, layout: Layout, left_out: dict[str, None]) -> Incoming | Person:
        if layout.kind is Kind.EVENTS:
            return rows.incoming(row.cells, layout)
        known = self._attributes()
        strange = [name for name in layout.rest if name not in known]
        if not strange:
            return rows.person(row.cells, layout)
        left_out.update(dict.fromkeys(strange))
        return rows.person({name: value for name, value in row.cells.items() if name not in strange}, layout)

    def _attributes(self) -> frozenset[str]:
        vocabulary = self.door.vocabulary
        return frozenset({*vocabulary.customer, "push_token", "consent", "consent_at", "tags"})

    def _events(self, batch: Sequence[Incoming]) -> int:
        if self.live:
            return self.runtime.ingest(batch).accepted
        worth = {name: e.value for name, e in self.runtime.content.project.events.items() if e.value}

        def take(connection: Connection, now: datetime) -> int:
            return ingest(connection, [], worth, batch, now, live=False).accepted

        return self._as_history(take)

    def _people(self, batch: Sequence[Person], written: datetime) -> int:
        def take(connection: Connection, now: datetime) -> int:
            return bulk.write(connection, batch, now, min(written, now))

        return self._as_history(take)

    def _as_history(self, take: Callable[[Connection, datetime], int]) -> int:
        programs = list(self.runtime.programs().values())
        letting_in = [p for p in programs if p.takes_entries and isinstance(p.journey.enter, SegmentTrigger)]
        now = self.runtime.clock.now()
        with self.runtime.database.write() as connection:
            looks_stay(connection)
            if letting_in and not self.live:
                tick.refresh(connection, self.runtime.content, programs, now)
            taken = take(connection, now)
            if letting_in and not self.live:
                membership.refresh(connection, self.runtime.content, now)
        return taken

    def _look_once_more(self) -> None:
        """Judge everybody: what was imported may have changed the shop's rhythm, and with it who belongs where."""
        if self.live:
            return
        programs: list[Program] = list(self.runtime.programs().values())
        now = self.runtime.clock.now()
        with self.runtime.database.write() as connection:
            if connection.scalar(select(exists(select(segment_state.c.segment)))):
                tick.refresh(connection, self.runtime.content, programs, now)
                membership.refresh(connection, self.runtime.content, now, full=True)


class Rejects:
    """The rows that were not taken, with their line and the reason, in a file beside the imported one that can be
    mended and imported in its turn. There is no such file when every row was taken."""

    def __init__(self, path: Path, table: Table) -> None:
        self.table = table
        self.path = path.with_name(f"{path.stem}.rejected{path.suffix if isinstance(table, CsvTable) else '.ndjson'}")
        self._file: TextIOWrapper | None = None
        self._csv: Any = None

    def add(self, row: Row, reason: str) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            if isinstance(self.table, CsvTable):
                self._csv = csv.writer(self._file, delimiter=self.table.delimiter)
                self._csv.writerow([*(name for name in self.table.header if name not in OURS), *OURS])
        if isinstance(self.table, CsvTable):
            keep = row.raw
            if len(keep) == len(self.table.header):  # else it stays as it is, so that it fits no better than before
                keep = [cell for name, cell in zip(self.table.header, keep, strict=True) if name not in OURS]
            self._csv.writerow([*keep, row.line, reason])
        else:
            line = {"line": row.line, "reason": reason, "row": row.raw}
            if isinstance(row.raw, dict):
                line = {**row.raw, "line": row.line, "reason": reason}
            self._file.write(orjson.dumps(line, default=str).decode() + "\n")

    def close(self) -> Path | None:
        if self._file is None:
            self.path.unlink(missing_ok=True)  # of an import before: those rows have been taken now
            return None
        self._file.close()
        return self.path
