"""Writing sets: inserts that know ON CONFLICT on both databases, and temporary tables of one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from engine.store.given import given, packed
from engine.store.tables import touched
from engine.store.types import id_type

COUNTED = {"preserve_rowcount": True}
"""SQLAlchemy forgets how many rows an INSERT wrote unless it is asked."""


def insert_into(where: Connection | str, table: Table) -> Any:
    """The insert of a connection's dialect, or of the one of this name, which knows ON CONFLICT. (On SQLite a SELECT in
    it needs a WHERE.)"""
    dialect = where if isinstance(where, str) else where.dialect.name
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


def insert_ignore(where: Connection | str, table: Table) -> Any:
    """An insert that skips rows a unique key already has."""
    return insert_into(where, table).on_conflict_do_nothing()


def insert_touched(where: Connection | str, who: Any = None) -> Any:
    """An insert into `touched`, in order of the ids (`who`: a SELECT of them). It writes over a row that is there: left
    alone, PostgreSQL would let a look at the segments take that row without seeing what this transaction is about to
    commit, and the touch would be lost."""
    add = insert_into(where, touched)
    if who is not None:
        add = add.from_select(["customer_id"], who)
    return add.on_conflict_do_update(index_elements=["customer_id"], set_={"customer_id": add.excluded.customer_id})


def touch(connection: Connection, customers: Iterable[int]) -> None:
    """These customers have changed: the next look at the segments judges them."""
    connection.execute(_touches(connection.dialect.name), packed((id_,) for id_ in sorted(customers)))


@cache
def _touches(dialect: str) -> Any:
    return insert_touched(dialect, select(given(dialect, customer_id=id_type())).where(true()))


def scratch(connection: Connection, table: Table) -> None:
    """Make the temporary `table` exist on this connection and be empty in this transaction."""
    connection.exec_driver_sql(_create(table, connection.dialect.name))
    connection.exec_driver_sql(f"DELETE FROM {table.name}")


def fill(connection: Connection, table: Table, rows: Iterable[tuple[int | str | None, ...]]) -> None:
    """Write rows, each with a value for every column, into a scratch table that `scratch` has made.

    Past SQLAlchemy, which would look at each value for longer than the database takes to keep it."""
    if connection.dialect.name == "sqlite":
        given = list(rows)
        if given:
            connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({', '.join('?' * len(table.c))})", given)
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


@cache
def _create(table: Table, dialect: str) -> str:
    known: Dialect = sqlite.dialect() if dialect == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(CreateTable(table, if_not_exists=True).compile(dialect=known))
