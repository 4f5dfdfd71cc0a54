"""Rows, or values to look for, that a statement is given as one parameter, which the database takes apart.

Row by row, SQLAlchemy looks at each value for longer than the database takes to keep it; and Python's sqlite3 lets go
of the interpreter for each row, and gets it back milliseconds later while others are at work. As one JSON text a
thousand rows are one value and one call.

    connection.execute(made("sqlite").., packed(rows))     `given` in the statement
    connection.execute(.., {"ids": listed("sqlite", ids)}) `among` in the statement

Statements differ by dialect, and are worth keeping: to make one costs more than to run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Subquery, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import TypeEngine

ROWS = "given"
"""The parameter that is the rows."""


def given(dialect: str, **columns: TypeEngine[Any]) -> Subquery:
    """The rows of `packed`, to select from: each a sequence of values in the order of these columns, an instant as its
    microseconds, JSON as its text."""
    rows = bindparam(ROWS, type_=Text)
    if dialect == "sqlite":
        value = func.json_each(rows).table_valued("value").c.value
        parts: list[ColumnElement[Any]] = [value.op("->>")(place) for place in range(len(columns))]
    else:
        value = func.jsonb_array_elements(cast(rows, JSONB)).table_valued("value").c.value
        parts = [cast(value.op("->>")(place), kind) for place, kind in enumerate(columns.values())]
    return select(*(part.label(name) for part, name in zip(parts, columns, strict=True))).subquery("given")


def packed(rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Rows as the parameter of a statement with `given` in it."""
    return {ROWS: orjson.dumps([*rows]).decode()}


def among(dialect: str, column: Column[Any], name: str) -> ColumnElement[bool]:
    """Whether a column holds one of the values of the parameter `name`, made with `listed`."""
    if dialect == "sqlite":
        return column.in_(select(func.json_each(bindparam(name, type_=Text)).table_valued("value").c.value))
    return column == func.any(bindparam(name, type_=ARRAY(column.type)))


def listed(dialect: str, values: Iterable[int | str]) -> Any:
    """Values as the parameter of `among`."""
    return orjson.dumps([*values]).decode() if dialect == "sqlite" else [*values]
