"""The rows that were not taken, with their line and the reason, in a file beside the imported one that can be mended
and imported in its turn. There is no such file when every row was taken."""

from __future__ import annotations

import csv
import os
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

import orjson

from engine.imports.reading import CsvTable, Row, Table, plain
from engine.imports.rows import OURS


class Rejects:
    """The file of one import. It is made with the first row that is added."""

    def __init__(self, path: Path, table: Table) -> None:
        self.table = table
        beside = plain(path)
        self.path = path.with_name(
            f"{beside.stem}.rejected{beside.suffix if isinstance(table, CsvTable) else '.ndjson'}"
        )
        self._file: TextIOWrapper | None = None
        self._csv: Any = None
        self._unsaved = False
        self._size = 0

    def go_on(self, size: int) -> bool:
        """Go on after the first `size` bytes, which an import that was killed had saved; what it wrote after them goes.
        False, and nothing is done, when the file isn't what it left."""
        if not size:
            return True
        if not self.path.is_file() or self.path.stat().st_size < size:
            return False
        os.truncate(self.path, size)
        self._open("a")
        self._size = size
        return True

    def add(self, row: Row, reason: str) -> None:
        if self._file is None:
            self._open("w")
            if isinstance(self.table, CsvTable):
                self._csv.writerow([*(name for name in self.table.header if name not in OURS), *OURS])
        assert self._file is not None
        self._unsaved = True
        if isinstance(self.table, CsvTable):
            keep = row.raw
            if len(keep) == len(self.table.header):  # else it stays as it is, so that it fits no better than before
                keep = [cell for name, cell in zip(self.table.header, keep, strict=True) if name not in OURS]
            self._csv.writerow([*keep, row.line, reason])
        else:
            raw = dict(zip(row.columns, row.values, strict=True)) if row.raw is None and row.columns else row.raw
            line = {"line": row.line, "reason": reason, "row": raw}
            if isinstance(raw, dict):
                line = {**raw, "line": row.line, "reason": reason}
            self._file.write(orjson.dumps(line, default=str).decode() + "\n")

    def save(self) -> int:
        """Bring what was added to the disk; the size of the file."""
        if self._unsaved:
            assert self._file is not None
            self._file.flush()
            os.fsync(self._file.fileno())
            self._size = os.fstat(self._file.fileno()).st_size
            self._unsaved = False
        return self._size

    def close(self) -> Path | None:
        """The file, if there is one."""
        if self._file is None:
            self.path.unlink(missing_ok=True)  # of an import before: those rows have been taken now
            return None
        self._file.close()
        return self.path

    def leave(self) -> None:
        """Close it in the middle of the work."""
        if self._file is not None:
            self._file.close()

    def _open(self, how: Literal["a", "w"]) -> None:
        self._file = self.path.open(how, encoding="utf-8", errors="surrogateescape", newline="")
        if isinstance(self.table, CsvTable):
            self._csv = csv.writer(self._file, delimiter=self.table.delimiter)
