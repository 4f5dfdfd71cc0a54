"""A file as rows: CSV, JSON lines (either may be gzipped), Parquet. One row at a time, so that memory stays flat
however long the file is, and from any place between two rows, so that a broken import can go on."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
GZIP = ".gz"
PARQUET_ROWS = 200_000
"""Rows of a Parquet file that are unpacked at once. Fewer take less memory, but then a large row group is looked
through more often: 9 million rows in a single one took 90 s in all with half as many at once, and 3 s in nine."""

LONGEST_CELL = 1_000_000
BUFFER = 1 << 18
BOM = b"\xef\xbb\xbf"
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


class Unreadable(Exception):
    """The file as a whole can't be read."""


class Row(NamedTuple):
    """One row: its line (in Parquet: its number, from 1), its columns, what they hold (nothing is None), what is wrong
    with it, and how it was written. A tuple, for there are millions of them."""

    line: int
    columns: tuple[str, ...]
    values: Sequence[Any]
    fault: str | None = None
    raw: Any = None


class Place(NamedTuple):
    """A place between two rows: bytes (unpacked; in Parquet rows) and lines before it."""

    offset: int
    line: int


class Table(Protocol):
    """A file that is open for reading. `columns` is empty where each row says its own (JSON lines)."""

    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """Raises Unreadable when the file turns out to be damaged."""
        ...

    def place(self) -> Place:
        """The place after the last row that was given."""
        ...

    def go_on(self, place: Place) -> None:
        """Give the rows after this place next."""
        ...

    def done(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        ...

    def close(self) -> None: ...


def opened(path: Path) -> Table:
    """Open a file by what its name ends in. Raises Unreadable."""
    kind, packed = SUFFIXES.get(plain(path).suffix.lower()), path.suffix.lower() == GZIP
    if kind is None or (packed and kind == "parquet"):
        raise Unreadable(
            f"{path} is no CSV, JSON lines or Parquet file: its name ends in none of {', '.join(SUFFIXES)}, "
            f"nor, but for Parquet, with {GZIP} after it"
        )
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    if kind == "parquet":
        return ParquetTable(path)
    return CsvTable(path) if kind == "csv" else LinesTable(path)


def plain(path: Path) -> Path:
    """The path without .gz."""
    return path.with_suffix("") if path.suffix.lower() == GZIP else path


class Stream:
    """The bytes of a file, unpacked on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._file = path.open("rb", buffering=0)
        packed = path.suffix.lower() == GZIP
        inner: Any = gzip.GzipFile(fileobj=self._file, mode="rb") if packed else self._file
        self.bytes = io.BufferedReader(inner, BUFFER)

    def seek(self, place: Place) -> None:
        try:
            self.bytes.seek(place.offset)
        except DAMAGED as error:
            raise self.damaged(place.line, error) from None

    def done(self) -> float:
        return min(1.0, self._file.tell() / max(self.size, 1))

    def damaged(self, line: int, error: Exception) -> Unreadable:
        return Unreadable(
            f"{self.path} can't be unpacked beyond line {line}: {error or 'it is damaged'}. Mend the file and import "
            "it again with --anew: what was taken counts once"
        )

    def close(self) -> None:
        self.bytes.close()
        self._file.close()


class CsvTable:
    """Commas, semicolons or tabs, as the first line has them; UTF-8. `header` is as it was written."""

    def __init__(self, path: Path) -> None:
        self.stream = Stream(path)
        self._text: io.TextIOWrapper | None = None
        try:
            self._head(path)
        except DAMAGED as error:
            self.close()
            raise self.stream.damaged(1, error) from None
        except BaseException:
            self.close()
            raise

    def _head(self, path: Path) -> None:
        start = len(BOM) if self.stream.bytes.read(len(BOM)) == BOM else 0
        self._seek(Place(start, 0))
        assert self._text is not None
        first = self._text.readline()
        if not first.strip():
            raise Unreadable(f"{path} is empty: its first line names the columns")
        self.delimiter = max(",;\t", key=first.count)
        csv.field_size_limit(LONGEST_CELL)
        self.go_on(Place(start, 0))
        try:
            self.header = [name.strip() for name in next(self.reader)]
        except csv.Error as error:
            raise Unreadable(f"the first line of {path} is no CSV: {error}") from None
        self.columns = tuple(self.header)
        twice = {name for name in self.header if self.header.count(name) > 1}
        if twice or "" in self.header:
            what = f'has two columns "{sorted(twice)[0]}"' if twice - {""} else "has a column without a name"
            raise Unreadable(f"{path} {what}")

    def _seek(self, place: Place) -> None:
        if self._text is not None:
            self._text.detach()
        self.stream.seek(place)
        # Bytes that are no UTF-8 become lone surrogates, so that only their row is refused.
        self._text = io.TextIOWrapper(self.stream.bytes, encoding="utf-8", errors="surrogateescape", newline="")
        self._read, self._before = place
        self._doubtful = False

    def go_on(self, place: Place) -> None:
        self._seek(place)
        self.reader = csv.reader(self._lines(), delimiter=self.delimiter, strict=True)

    def place(self) -> Place:
        return Place(self._read, self._before + self.reader.line_num)

    def _lines(self) -> Iterator[str]:
        assert self._text is not None
        for line in self._text:
            if line.isascii() and "\0" not in line:
                self._read += len(line)
            else:
                self._read += len(line.encode(errors="surrogateescape"))
                self._doubtful = True
            yield line

    def rows(self) -> Iterator[Row]:
        columns, reader, width, before = self.columns, self.reader, len(self.header), self._before
        while True:
            line = before + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, columns, (), f"this is no CSV: {error}", [])
                continue
            except DAMAGED as error:
                raise self.stream.damaged(line, error) from None
            if not cells:
                continue
            fault = None
            if len(cells) != width:
                fault = f"this row has {len(cells)} cells, and the first line names {width} columns"
            elif self._doubtful:
                fault = unclean(cells)
            self._doubtful = False
            yield Row(line, columns, [cell.strip() or None for cell in cells], fault, cells)

    def done(self) -> float:
        return self.stream.done()

    def close(self) -> None:
        if self._text is not None:
            self._text.detach()
            self._text = None
        self.stream.close()


class LinesTable:
    """A JSON object a line."""

    columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.stream = Stream(path)
        self._place = Place(0, 0)

    def go_on(self, place: Place) -> None:
        self.stream.seek(place)
        self._place = place

    def place(self) -> Place:
        return self._place

    def rows(self) -> Iterator[Row]:
        read, number = self._place
        lines = iter(self.stream.bytes)
        while True:
            try:
                line = next(lines, None)
            except DAMAGED as error:
                raise self.stream.damaged(number + 1, error) from None
            if line is None:
                return
            read, number = read + len(line), number + 1
            self._place = Place(read, number)
            text = line.strip()
            if not text:
                continue
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                yield Row(number, (), (), f"this is no JSON: {error.msg}", text.decode(errors="replace"))
                continue
            if not isinstance(value, dict):
                yield Row(number, (), (), "a JSON object is expected on each line", value)
                continue
            values = tuple(value.values())
            yield Row(number, tuple(value), values, unclean(values), value)

    def done(self) -> float:
        return self.stream.done()

    def close(self) -> None:
        self.stream.close()


class ParquetTable:
    """Rows as Polars reads them, PARQUET_ROWS at a time: memory is bounded by these and the row group they lie in."""

    def __init__(self, path: Path) -> None:
        import polars as pl

        try:
            self.frame = pl.scan_parquet(path)
            self.columns = tuple(self.frame.collect_schema().names())
            self.total = int(self.frame.select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Unreadable(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from None
        self.read = 0

    def go_on(self, place: Place) -> None:
        self.read = place.offset

    def place(self) -> Place:
        return Place(self.read, self.read)

    def rows(self) -> Iterator[Row]:
        columns = self.columns
        # Not `collect_batches`, which unpacks ahead: a dozen row groups, however slowly their rows are taken.
        for start in range(self.read, self.total, PARQUET_ROWS):
            for values in self.frame.slice(start, PARQUET_ROWS).collect().iter_rows():
                self.read += 1
                yield Row(self.read, columns, values, unclean(values))

    def done(self) -> float:
        return self.read / max(self.total, 1)

    def close(self) -> None:
        pass


def unclean(values: Iterable[Any]) -> str | None:
    """What no database of ours takes in a text: U+0000, and bytes that are no UTF-8."""
    for value in values:
        if isinstance(value, str) and not (value.isascii() and "\0" not in value):
            if "\0" in value:
                return "it holds U+0000, which no text may"
            if any("\ud800" <= character <= "\udfff" for character in value):
                return "it holds bytes that are no UTF-8"
    return None
