"""How tests hear what a database is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


@contextmanager
def plans(
    database: Database, chosen: Callable[[str], object], dear: Sequence[str] = ()
) -> Iterator[list[tuple[str, str]]]:
    """(statement, plan) of each chosen statement as it runs, with its own values. `dear`: ways that PostgreSQL is told
    to take only where there is no other."""
    found: list[tuple[str, str]] = []
    how = "EXPLAIN QUERY PLAN" if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF)"
    ways = dear if database.dialect == "postgresql" else ()

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if not chosen(statement):
            return
        beside = connection.connection.driver_connection.cursor()
        for way in ways:
            beside.execute(f"SET LOCAL {way} = off")
        beside.execute(f"{how} {statement}", parameters[0] if many else parameters)
        found.append((statement, "\n".join(row[-1] for row in beside.fetchall())))
        for way in ways:
            beside.execute(f"SET LOCAL {way} = on")
        beside.close()

    with before_statements(explain, *engines_of(database)):
        yield found


def engines_of(database: Database) -> set[Any]:
    """What its reads and its writes go through: on PostgreSQL the same."""
    return {database._writer, database._reader}
