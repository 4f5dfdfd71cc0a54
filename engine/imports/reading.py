"""A file as rows: CSV, JSON lines, Parquet. One row at a time, so that memory stays flat however long the file is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
PARQUET_ROWS = 20_000
LONGEST_CELL = 1_000_000


class Unreadable(Exception):
    """The file as a whole can't be read."""


@dataclass(frozen=True)
class Row:
    """One row: its line (in Parquet: its number, from 1), its cells by column (empty ones are None), or what is wrong
    with it."""

    line: int
    cells: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    raw: Any = None


class Table(Protocol):
    """A file that is open for reading. `columns` is empty where each row says its own (JSON lines)."""

    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]: ...

    def done(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        ...

    def close(self) -> None: ...


def opened(path: Path) -> Table:
    """Open a file by what its name ends in. Raises Unreadable."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise Unreadable(
            f"{path} is no CSV, JSON lines or Parquet file: its name ends in none of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    if kind == "parquet":
        return ParquetTable(path)
    return CsvTable(path) if kind == "csv" else LinesTable(path)


class CsvTable:
    """Commas, semicolons or tabs, as the first line has them; UTF-8. `header` is as it was written."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        # Bytes that are no UTF-8 become lone surrogates, so that only their row is refused.
        self.file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            self._head(path)
        except BaseException:
            self.file.close()
            raise

    def _head(self, path: Path) -> None:
        first = self.file.readline()
        if not first.strip():
            raise Unreadable(f"{path} is empty: its first line names the columns")
        self.file.seek(0)
        self.delimiter = max(",;\t", key=first.count)
        csv.field_size_limit(LONGEST_CELL)
        self.reader = csv.reader(self._lines(), delimiter=self.delimiter, strict=True)
        self.read = 0
        try:
            self.header = [name.strip() for name in next(self.reader)]
        except csv.Error as error:
            raise Unreadable(f"the first line of {path} is no CSV: {error}") from None
        self.columns = tuple(self.header)
        twice = {name for name in self.header if self.header.count(name) > 1}
        if twice or "" in self.header:
            what = f'has two columns "{sorted(twice)[0]}"' if twice - {""} else "has a column without a name"
            raise Unreadable(f"{path} {what}")

    def _lines(self) -> Iterator[str]:
        for line in self.file:
            self.read += len(line)
            yield line

    def rows(self) -> Iterator[Row]:
        while True:
            line = self.reader.line_num + 1
            try:
                cells = next(self.reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, fault=f"this is no CSV: {error}", raw=[])
                continue
            if not cells:
                continue
            fault = None
            if len(cells) != len(self.header):
                fault = f"this row has {len(cells)} cells, and the first line names {len(self.header)} columns"
            else:
                fault = unclean(cells)
            yield Row(
                line, dict(zip(self.columns, (cell.strip() or None for cell in cells), strict=False)), fault, cells
            )

    def done(self) -> float:
        return min(1.0, self.read / max(self.size, 1))

    def close(self) -> None:
        self.file.close()


class LinesTable:
    """A JSON object a line."""

    columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.file = path.open("rb")
        self.read = 0

    def rows(self) -> Iterator[Row]:
        for number, line in enumerate(self.file, start=1):
            self.read += len(line)
            text = line.strip()
            if not text:
                continue
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                yield Row(number, fault=f"this is no JSON: {error.msg}", raw=text.decode(errors="replace"))
                continue
            if not isinstance(value, dict):
                yield Row(number, fault="a JSON object is expected on each line", raw=value)
                continue
            yield Row(number, value, unclean(value.values()), value)

    def done(self) -> float:
        return min(1.0, self.read / max(self.size, 1))

    def close(self) -> None:
        self.file.close()


class ParquetTable:
    """Rows as Polars reads them, some thousands at a time."""

    def __init__(self, path: Path) -> None:
        import polars as pl

        try:
            self.frame = pl.scan_parquet(path)
            self.columns = tuple(self.frame.collect_schema().names())
            self.total = int(self.frame.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Unreadable(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from None
        self.read = 0

    def rows(self) -> Iterator[Row]:
        for start in range(0, self.total, PARQUET_ROWS):
            for cells in self.frame.slice(start, PARQUET_ROWS).collect().iter_rows(named=True):
                self.read += 1
                yield Row(self.read, cells, unclean(cells.values()), cells)

    def done(self) -> float:
        return self.read / max(self.total, 1)

    def close(self) -> None:
        pass


def unclean(values: Any) -> str | None:
    """What no database of ours takes in a text: U+0000, and bytes that are no UTF-8."""
    for value in values:
        if (isinstance(value, str) and not value.isascii()) or (isinstance(value, str) and "\0" in value):
            if "\0" in value:
                return "it holds U+0000, which no text may"
            if any("\ud800" <= character <= "\udfff" for character in value):
                return "it holds bytes that are no UTF-8"
    return None
