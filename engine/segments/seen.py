"""Values as JSON inside a statement: what a condition looked at (for the decision's row), and what an attribute is set
to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, cast, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import Kind
from engine.segments.frame import Frame
from engine.segments.sql import condition, value
from engine.store.local_time import day_text
from engine.store.types import json_type

_FACTS = (
    tree.Name,
    tree.Events,
    tree.EventTime,
    tree.Elapsed,
    tree.UsualGap,
    tree.InSegment,
    tree.Consented,
    tree.Tagged,
    tree.InJourney,
    tree.Messaged,
    tree.Coupon,
    tree.Points,
    tree.Age,
    tree.DaysUntil,
    tree.Items,
)


def looked_at(typed: Typed) -> Iterator[Typed]:
    """The facts an expression reads: names and functions, outermost first, not what stands inside a function."""
    if isinstance(typed, _FACTS):
        if typed.type.kind not in (Kind.LIST, Kind.OBJECT, Kind.BIRTHDAY):
            yield typed
        return
    for part in tree.parts(typed):
        yield from looked_at(part)


def as_json(typed: Typed, frame: Frame) -> ColumnElement[Any]:
    """The value in its kept form, to stand inside a JSON document: dates as text, booleans as true and false."""
    if typed.type.kind is Kind.BOOLEAN:
        return JsonBoolean(condition(typed, frame) if not isinstance(typed, tree.Name) else value(typed, frame))
    column = value(typed, frame)
    if typed.type.kind is Kind.DATE:
        return day_text(column)
    if typed.type.kind in (Kind.MONEY, Kind.INSTANT, Kind.DURATION):
        return cast(func.round(column), BigInteger)
    return column


class JsonBoolean(FunctionElement[Any]):
    """A boolean as JSON's true or false; SQLite's own would be the number 1 or 0."""

    type = json_type()
    inherit_cache = True


class JsonObject(FunctionElement[Any]):
    """JsonObject(name, value, name, value, …)"""

    type = json_type()
    inherit_cache = True


def json_object(values: Mapping[str, ColumnElement[Any]]) -> JsonObject:
    """A JSON object of these names and values."""
    return JsonObject(*(part for name, column in values.items() for part in (literal(name, Text), column)))


@compiles(JsonBoolean, "sqlite")
def _boolean_sqlite(element: JsonBoolean, compiler: Any, **kw: Any) -> str:
    inner = compiler.process(next(iter(element.clauses)), **kw)
    return f"json(CASE WHEN {inner} THEN 'true' WHEN NOT ({inner}) THEN 'false' ELSE 'null' END)"


@compiles(JsonBoolean, "postgresql")
def _boolean_postgresql(element: JsonBoolean, compiler: Any, **kw: Any) -> str:
    return f"to_jsonb({compiler.process(next(iter(element.clauses)), **kw)})"


@compiles(JsonObject, "sqlite")
def _object_sqlite(element: JsonObject, compiler: Any, **kw: Any) -> str:
    return f"json_object({compiler.process(element.clauses, **kw)})"


@compiles(JsonObject, "postgresql")
def _object_postgresql(element: JsonObject, compiler: Any, **kw: Any) -> str:
    return f"jsonb_build_object({compiler.process(element.clauses, **kw)})"
