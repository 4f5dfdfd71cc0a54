"""What the language says of how deeply an expression is nested, held against SQLite, whose parser has 100 places."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select
from sqlalchemy.dialects import sqlite

from engine.language.expression import ExpressionError, parse, parse_condition
from engine.language.nesting import DEEPEST, depth
from engine.language.tree import Typed
from engine.segments.sql import value
from engine.store.database import Database
from tests.expressions.strategies import NAMES, VALUES, VOCABULARY, conditions, readable
from tests.expressions.test_same_everywhere import TRIES, frame, source

PLACES = 100
AROUND = 7
"""Of the statement that is asked here: SELECT and a list of one column."""

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with Database.memory().read() as c:
        yield c


def taken(connection: Connection, typed: Typed) -> int:
    """Places the SQL takes: so many parentheses fewer may stand around it than SQLite has places."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    asked = select(value(typed, frame(NOW, None)).label("marked")).select_from(source(None))
    written = asked.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    head, _, rest = str(written).partition("SELECT ")
    column, _, tail = rest.rpartition(" AS marked")
    assert not head and column

    def fits(parentheses: int) -> bool:
        statement = f"EXPLAIN SELECT {'(' * parentheses}{column}{')' * parentheses} AS marked{tail}"
        try:
            raw.execute(statement, [0] * statement.count("?"))
        except sqlite3.OperationalError as error:
            assert "stack overflow" in str(error), error
            return False
        return True

    low, high = 0, PLACES
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return PLACES - low - AROUND


@settings(max_examples=TRIES)
@given(text=st.one_of(conditions(3), VALUES).filter(readable))
def test_no_expression_takes_more_places_than_is_said_of_it(connection: Connection, text: str) -> None:
    typed = parse(text, NAMES, VOCABULARY)
    assert taken(connection, typed) <= depth(typed) <= DEEPEST


@pytest.mark.parametrize("layers", [5, 20])
def test_what_is_nested_too_deeply_is_told(layers: int) -> None:
    text = "age(customer.seen) > 3"
    parse_condition(f"not ({text})", NAMES, VOCABULARY)
    for _ in range(layers):
        text = f"any(entry.items, {text})"
    with pytest.raises(ExpressionError, match="nested too deeply") as told:
        parse_condition(text, NAMES, VOCABULARY)
    assert told.value.hint == "make a segment of a part of it, and ask in_segment(…)"
