"""How far an import has come: a mark written in the transaction of each batch, so that an import that was killed goes
on where the database says, and nothing is read, counted or rejected twice.

The mark is of one file as it is (its size, its time, its first and last bytes), read one way (columns, zone, source)
for one project.yaml. Where the file has changed meanwhile nobody but its owner knows which of its rows were taken, so
they are asked. Read another way it begins anew, which is safe: an event is known by its key. When an import has ended
its mark goes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete

from engine.imports.reading import Place
from engine.store import marks
from engine.store.database import Database
from engine.store.tables import mark

ENDS = 1 << 16
"""Bytes of the file's beginning and end that are looked at."""


@dataclass
class Progress:
    """Up to which place the rows of a file were taken or rejected, and what became of them. `rejects`: the size of the
    file of rejected rows."""

    offset: int
    line: int
    kind: str | None
    rows: int
    new: int
    known: int
    rejected: int
    rejects: int
    left_out: list[str] = field(default_factory=list)

    @property
    def place(self) -> Place:
        return Place(self.offset, self.line)


class Changed(Exception):
    """The file of an import that was broken off isn't what it was then. `rows`: how many had been dealt with."""

    def __init__(self, path: Path, rows: int) -> None:
        super().__init__(f"{path} has changed since its import was broken off after {rows:,} rows")
        self.rows = rows


@dataclass(frozen=True)
class Bookmark:
    """The mark of one import: of the file at `path` as `file` says, read as `way` says."""

    path: Path
    name: str
    file: str
    way: str

    @classmethod
    def of(cls, path: Path, *how: object) -> Bookmark:
        """`how`: the way it is read."""
        said = path.stat()
        with path.open("rb") as file:
            ends = sha256(file.read(ENDS))
            file.seek(max(0, said.st_size - ENDS))
            ends.update(file.read(ENDS))
        whole = [said.st_size, said.st_mtime_ns, ends.hexdigest()]
        return cls(path, "import " + _digest([str(path.resolve())]), _digest(whole), _digest([*map(str, how)]))

    def read(self, database: Database) -> Progress | None:
        """How far it had come, if it was broken off. Raises Changed."""
        with database.read() as connection:
            value: dict[str, Any] | None = connection.scalar(marks.kept(self.name))
        if value is None:
            return None
        progress = Progress(**value["progress"])
        if value["file"] != self.file:
            raise Changed(self.path, progress.rows)
        return progress if value["way"] == self.way else None

    def write(self, connection: Connection, progress: Progress) -> None:
        marks.put(connection, self.name, {"file": self.file, "way": self.way, "progress": asdict(progress)})

    def forget(self, connection: Connection) -> None:
        connection.execute(delete(mark).where(mark.c.name == self.name))


def _digest(said: list[Any]) -> str:
    return sha256(orjson.dumps(said)).hexdigest()[:32]
