"""Work of one journey beside that of others in a transaction: what it does wrong costs the others nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from engine.store.failures import deadlocked


@dataclass
class Tried:
    """What became of it: the error that undid it, if there was one."""

    error: Exception | None = None


@contextmanager
def apart(connection: Connection) -> Iterator[Tried]:
    """A savepoint around the block. An error undoes the block and is kept in what this gives, to be looked at after it;
    one that ends the whole transaction passes, for `Database.written` to do it all again or to tell: PostgreSQL's for a
    deadlock, and a connection that is lost."""
    tried = Tried()
    try:
        with connection.begin_nested():
            yield tried
    except Exception as error:
        if deadlocked(error) or connection.invalidated:
            raise
        tried.error = error
