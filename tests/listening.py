"""How tests hear what a database is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from engine.store.database import Database


@contextmanager
def before_statements(hook: Callable[..., Any], *engines: Any, retval: bool = False) -> Iterator[None]:
    """Call `hook` before each statement of these engines, or of the class of all of them."""
    for engine in engines:
        event.listen(engine, "before_cursor_execute", hook, retval=retval)
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", hook)


def engines_of(database: Database) -> set[Any]:
    """What its reads and its writes go through: on PostgreSQL the same."""
    return {database._writer, database._reader}
