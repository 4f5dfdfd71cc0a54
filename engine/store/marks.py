"""Marks: small notes by name that outlive the engine, written in the transaction of the work they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, select

from engine.store.scratch import insert_into
from engine.store.tables import mark


def kept(name: str) -> Select[Any]:
    """SELECT the value of the mark of this name."""
    return select(mark.c.value).where(mark.c.name == name)


def put(connection: Connection, name: str, value: Mapping[str, Any] | None) -> None:
    """Write a mark, over the one of this name that is there. Whoever deletes that one at once waits for this
    transaction."""
    add = insert_into(connection, mark).values(name=name, value=value)
    connection.execute(add.on_conflict_do_update(index_elements=["name"], set_={"value": add.excluded.value}))
