"""Reading what is stored in JSON: a value of another form than its type's is NULL on both databases; nothing raises.

Each reader is one SQL construct of (document, SQLite's path, PostgreSQL's keys…), made by `read(document, path, type)`.

    text → text with code-point collation · number → double · boolean · date → days since 1970 (integer)
    instant, money → whole number (bigint), a fraction rounded half away from zero · list, object → whether it is one

A number counts from 1e-100 to 1e100 in size (and 0), so no single operation on doubles can overflow or underflow:
PostgreSQL raises where SQLite gives infinity. Whole numbers count to 2**53, where doubles stop being exact.
On PostgreSQL a comparison with JSON numbers asks for the type too: any other JSON is less or more than all numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Double, Integer, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from engine.language.types import Kind, Type
from engine.store.local_time import FIRST_DAY, LAST_DAY, day_number
from engine.store.types import json_type, text_type

EXACT = 2**53
ADDEND = 2**43


class _Stored(FunctionElement[Any]):
    inherit_cache = True


class StoredText(_Stored):
    type = text_type()
    inherit_cache = True


class StoredNumber(_Stored):
    type = Double()
    inherit_cache = True


class StoredWhole(_Stored):
    type = BigInteger()
    inherit_cache = True


class StoredAddend(StoredWhole):
    """A whole number of less than 2**43: thousands of them still add up to an exact double, in any order."""

    inherit_cache = True


class StoredBoolean(_Stored):
    type = Boolean()
    inherit_cache = True


class StoredList(_Stored):
    type = Boolean()
    inherit_cache = True


class StoredObject(_Stored):
    type = Boolean()
    inherit_cache = True


_READERS: dict[Kind, type[_Stored]] = {
    Kind.TEXT: StoredText,
    Kind.NUMBER: StoredNumber,
    Kind.MONEY: StoredWhole,
    Kind.INSTANT: StoredWhole,
    Kind.BOOLEAN: StoredBoolean,
    Kind.LIST: StoredList,
    Kind.OBJECT: StoredObject,
}


def read(document: ColumnElement[Any], path: Sequence[str], type_: Type) -> ColumnElement[Any]:
    """The value at `path` of a JSON document, NULL unless it has the form of `type_`."""
    if type_.kind is Kind.DATE:
        return day_number(StoredText(*_place(document, path)))
    return _READERS[type_.kind](*_place(document, path))


def taken(document: ColumnElement[Any], path: Sequence[str]) -> ColumnElement[Any]:
    """What `addend` reads: the part at `path` on PostgreSQL, so that it is looked up once; all of it on SQLite."""
    return _Taken(*_place(document, path))


def addend(taken_: ColumnElement[Any], path: Sequence[str]) -> ColumnElement[Any]:
    """The amount at `path` of what was taken there, NULL when it is too large to be added up."""
    return StoredAddend(*_place(taken_, path)[:2])


def entries(document: ColumnElement[Any], path: Sequence[str]) -> Any:
    """A FROM element with a row for each entry of the list at `path`; none when there is no list."""
    return _Entries(*_place(document, path)).table_valued("value", "type", name=None)


def entry(entries_: Any) -> ColumnElement[Any]:
    """The JSON document of one entry; an empty object when the entry is none."""
    return _Entry(entries_.c.value, entries_.c.type)


def _place(document: ColumnElement[Any], path: Sequence[str]) -> tuple[ColumnElement[Any], ...]:
    # SQLite wants one path, PostgreSQL a key a step; what a database doesn't use isn't rendered for it.
    sqlite_path = "$" + "".join(f'."{key}"' for key in path)
    return document, literal(sqlite_path, Text()), *(literal(key, Text()) for key in path)


class _Taken(FunctionElement[Any]):
    type = json_type()
    inherit_cache = True


class _Entries(FunctionElement[Any]):
    inherit_cache = True


class _Entry(FunctionElement[Any]):
    type = json_type()
    inherit_cache = True


def _sqlite(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
    document, path, *_ = (compiler.process(clause, **kw) for clause in list(element.clauses)[:2])
    return f"{document}, {path}"


def _postgresql(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
    document, _, *keys = list(element.clauses)
    arrows = "".join(f" -> {compiler.process(key, **kw)}" for key in keys)
    return f"({compiler.process(document, **kw)}{arrows})"


@compiles(StoredText, "sqlite")
def _text_sqlite(element: StoredText, compiler: Any, **kw: Any) -> str:
    at = _sqlite(element, compiler, **kw)
    return f"CASE json_type({at}) WHEN 'text' THEN json_extract({at}) END"


@compiles(StoredText, "postgresql")
def _text_postgresql(element: StoredText, compiler: Any, **kw: Any) -> str:
    at = _postgresql(element, compiler, **kw)
    return f"(CASE jsonb_typeof{at} WHEN 'string' THEN {at} #>> '{{}}' END COLLATE \"C\")"


@compiles(StoredNumber, "sqlite")
def _number_sqlite(element: StoredNumber, compiler: Any, **kw: Any) -> str:
    at = _sqlite(element, compiler, **kw)
    number = f"CAST(json_extract({at}) AS REAL)"
    return (
        f"CASE WHEN json_type({at}) IN ('integer', 'real') "
        f"AND (abs({number}) BETWEEN 1e-100 AND 1e100 OR {number} = 0) THEN {number} END"
    )


@compiles(StoredNumber, "postgresql")
def _number_postgresql(element: StoredNumber, compiler: Any, **kw: Any) -> str:
    at = _postgresql(element, compiler, **kw)
    size = f"({at} >= '1e-100'::jsonb OR {at} <= '-1e-100'::jsonb OR {at} = '0'::jsonb)"
    return f"CASE WHEN {at} BETWEEN '-1e100'::jsonb AND '1e100'::jsonb AND {size} THEN {at}::float8 END"


def _most(element: StoredWhole) -> int:
    return ADDEND - 1 if isinstance(element, StoredAddend) else EXACT


@compiles(StoredWhole, "sqlite")
def _whole_sqlite(element: StoredWhole, compiler: Any, **kw: Any) -> str:
    at = _sqlite(element, compiler, **kw)
    number = f"json_extract({at})"
    inside, whole = f"{number} BETWEEN {-_most(element)} AND {_most(element)}", f"CAST({number} AS INTEGER)"
    rounded = f"{whole} + ({number} - {whole} >= 0.5) - ({number} - {whole} <= -0.5)"
    return (
        f"CASE json_type({at}) WHEN 'integer' THEN CASE WHEN {inside} THEN {number} END "
        f"WHEN 'real' THEN CASE WHEN {inside} THEN {rounded} END END"
    )


@compiles(StoredWhole, "postgresql")
def _whole_postgresql(element: StoredWhole, compiler: Any, **kw: Any) -> str:
    at = _postgresql(element, compiler, **kw)
    return f"CASE WHEN {at} BETWEEN '{-_most(element)}'::jsonb AND '{_most(element)}'::jsonb THEN {at}::bigint END"


@compiles(StoredBoolean, "sqlite")
def _boolean_sqlite(element: StoredBoolean, compiler: Any, **kw: Any) -> str:
    return f"CASE json_type({_sqlite(element, compiler, **kw)}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"


@compiles(StoredBoolean, "postgresql")
def _boolean_postgresql(element: StoredBoolean, compiler: Any, **kw: Any) -> str:
    at = _postgresql(element, compiler, **kw)
    return f"CASE jsonb_typeof{at} WHEN 'boolean' THEN {at}::boolean END"


@compiles(StoredList, "sqlite")
def _list_sqlite(element: StoredList, compiler: Any, **kw: Any) -> str:
    return f"coalesce(json_type({_sqlite(element, compiler, **kw)}) = 'array', 0)"


@compiles(StoredList, "postgresql")
def _list_postgresql(element: StoredList, compiler: Any, **kw: Any) -> str:
    return f"coalesce(jsonb_typeof{_postgresql(element, compiler, **kw)} = 'array', false)"


@compiles(StoredObject, "sqlite")
def _object_sqlite(element: StoredObject, compiler: Any, **kw: Any) -> str:
    return f"coalesce(json_type({_sqlite(element, compiler, **kw)}) = 'object', 0)"


@compiles(StoredObject, "postgresql")
def _object_postgresql(element: StoredObject, compiler: Any, **kw: Any) -> str:
    return f"coalesce(jsonb_typeof{_postgresql(element, compiler, **kw)} = 'object', false)"


@compiles(_Taken, "sqlite")
def _taken_sqlite(element: _Taken, compiler: Any, **kw: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **kw)  # type: ignore[no-any-return]


@compiles(_Taken, "postgresql")
def _taken_postgresql(element: _Taken, compiler: Any, **kw: Any) -> str:
    return _postgresql(element, compiler, **kw)


@compiles(_Entries, "sqlite")
def _entries_sqlite(element: _Entries, compiler: Any, **kw: Any) -> str:
    at = _sqlite(element, compiler, **kw)
    # json_each gives a row for a lone value too.
    document, path = at.rsplit(", ", 1)
    return f"json_each(CASE json_type({at}) WHEN 'array' THEN {document} ELSE '{{}}' END, {path})"


@compiles(_Entries, "postgresql")
def _entries_postgresql(element: _Entries, compiler: Any, **kw: Any) -> str:
    at = _postgresql(element, compiler, **kw)
    return f"jsonb_array_elements(CASE jsonb_typeof{at} WHEN 'array' THEN {at} ELSE '[]' END)"


@compiles(_Entry, "sqlite")
def _entry_sqlite(element: _Entry, compiler: Any, **kw: Any) -> str:
    value, kind = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CASE {kind} WHEN 'object' THEN {value} ELSE '{{}}' END"


@compiles(_Entry, "postgresql")
def _entry_postgresql(element: _Entry, compiler: Any, **kw: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **kw)  # type: ignore[no-any-return]


# Dates by their parts


class DayOf(FunctionElement[Any]):
    """DayOf(year, month, day): days since 1970, NULL when there is no such day."""

    type = Integer()
    inherit_cache = True


class PartOf(FunctionElement[Any]):
    """PartOf(days since 1970): the date as the number yyyymmdd, NULL outside the years 1 to 9999."""

    type = Integer()
    inherit_cache = True


@compiles(DayOf, "sqlite")
def _day_sqlite(element: DayOf, compiler: Any, **kw: Any) -> str:
    year, month, day = (compiler.process(clause, **kw) for clause in element.clauses)
    written = f"printf('%04d-%02d-%02d', {year}, {month}, {day})"
    # Without a modifier date() gives 2026-02-30 back as it is.
    days = f"CAST(strftime('%s', {written}) AS INTEGER) / 86400"
    return f"CASE WHEN {year} BETWEEN 1 AND 9999 AND date({written}, '+0 days') = {written} THEN {days} END"


@compiles(DayOf, "postgresql")
def _day_postgresql(element: DayOf, compiler: Any, **kw: Any) -> str:
    year, month, day = (compiler.process(clause, **kw) for clause in element.clauses)
    return (
        f"CASE WHEN {year} BETWEEN 1 AND 9999 AND {month} BETWEEN 1 AND 12 AND {day} BETWEEN 1 AND 31 THEN "
        f"CASE WHEN {day} <= extract(day FROM make_date({year}, {month}, 1) + interval '1 month' - interval '1 day') "
        f"THEN make_date({year}, {month}, {day}) - DATE '1970-01-01' END END"
    )


@compiles(PartOf, "sqlite")
def _part_sqlite(element: PartOf, compiler: Any, **kw: Any) -> str:
    days = compiler.process(next(iter(element.clauses)), **kw)
    return (
        f"CASE WHEN {days} BETWEEN {FIRST_DAY} AND {LAST_DAY} "
        f"THEN CAST(strftime('%Y%m%d', ({days}) * 86400, 'unixepoch') AS INTEGER) END"
    )


@compiles(PartOf, "postgresql")
def _part_postgresql(element: PartOf, compiler: Any, **kw: Any) -> str:
    days = compiler.process(next(iter(element.clauses)), **kw)
    return (
        f"CASE WHEN {days} BETWEEN {FIRST_DAY} AND {LAST_DAY} "
        f"THEN to_char(DATE '1970-01-01' + ({days})::int, 'YYYYMMDD')::int END"
    )


class ExactSum(FunctionElement[Any]):
    """ExactSum(whole numbers): numeric on PostgreSQL, and a double that never raises on SQLite, whose sum() does."""

    type = BigInteger()
    inherit_cache = True


@compiles(ExactSum, "sqlite")
def _sum_sqlite(element: ExactSum, compiler: Any, **kw: Any) -> str:
    return f"total({compiler.process(element.clauses, **kw)})"


@compiles(ExactSum, "postgresql")
def _sum_postgresql(element: ExactSum, compiler: Any, **kw: Any) -> str:
    return f"sum({compiler.process(element.clauses, **kw)})"


class Truncated(FunctionElement[Any]):
    """Truncated(double): the whole part, as a double."""

    type = Double()
    inherit_cache = True


@compiles(Truncated, "sqlite")
def _truncated_sqlite(element: Truncated, compiler: Any, **kw: Any) -> str:
    return f"CAST(CAST({compiler.process(next(iter(element.clauses)), **kw)} AS INTEGER) AS REAL)"


@compiles(Truncated, "postgresql")
def _truncated_postgresql(element: Truncated, compiler: Any, **kw: Any) -> str:
    return f"trunc({compiler.process(next(iter(element.clauses)), **kw)})"
