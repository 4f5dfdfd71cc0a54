"""How long the streams were that came to their end with a key of their own: the same key with more lines, or fewer, is
another stream.

Only an end is kept. Of a stream that broke nobody knows how long it was going to be, and it may go on.
"""

from __future__ import annotations

from sqlalchemy import Connection

from engine.store.marks import kept
from engine.store.scratch import insert_ignore
from engine.store.tables import mark

_NAME = "stream:"


def length(connection: Connection, key: str) -> int | None:
    """The lines of the stream with this key; None where none has come to its end."""
    found = connection.scalar(kept(_NAME + key))
    return None if found is None else int(found["lines"])


def ended(connection: Connection, key: str, lines: int) -> None:
    """The stream with this key has so many lines, unless one has ended before."""
    connection.execute(insert_ignore(connection, mark).values(name=_NAME + key, value={"lines": lines}))
