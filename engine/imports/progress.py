"""How far an import has come: a mark written in the transaction of each batch, so that an import that was killed goes
on where the database says, and nothing is read, counted or rejected twice.

The mark is of one file as it is (its size, its time, its first and last bytes), read one way (columns, zone, source)
for one project.yaml. When any of that has changed the import begins anew, which is safe: an event is known by its key.
When an import has ended its mark goes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, delete, select

from engine.imports.reading import Place
from engine.store.database import Database
from engine.store.scratch import insert_into
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


@dataclass(frozen=True)
class Bookmark:
    """The mark of one import. `digest` says of what."""

    name: str
    digest: str

    @classmethod
    def of(cls, path: Path, *how: object) -> Bookmark:
        """`how`: the way it is read."""
        said = path.stat()
        with path.open("rb") as file:
            ends = sha256(file.read(ENDS))
            file.seek(max(0, said.st_size - ENDS))
            ends.update(file.read(ENDS))
        whole = [said.st_size, said.st_mtime_ns, ends.hexdigest(), *map(str, how)]
        return cls("import " + _digest([str(path.resolve())]), _digest(whole))

    def read(self, database: Database) -> Progress | None:
        """How far it had come, if it was broken off."""
        with database.read() as connection:
            value: dict[str, Any] | None = connection.scalar(select(mark.c.value).where(mark.c.name == self.name))
        if value is None or value["digest"] != self.digest:
            return None
        return Progress(**value["progress"])

    def write(self, connection: Connection, progress: Progress) -> None:
        row = {"name": self.name, "value": {"digest": self.digest, "progress": asdict(progress)}}
        add = insert_into(connection, mark).values(row)
        connection.execute(add.on_conflict_do_update(index_elements=["name"], set_={"value": add.excluded.value}))

    def forget(self, connection: Connection) -> None:
        connection.execute(delete(mark).where(mark.c.name == self.name))


def _digest(said: list[Any]) -> str:
    return sha256(orjson.dumps(said)).hexdigest()[:32]
