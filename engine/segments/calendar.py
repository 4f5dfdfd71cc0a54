"""Ages and anniversaries on day numbers. 29 February counts as the 28th in common years."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, Subquery, and_, case, literal, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from engine.segments.stored import EXACT, DayOf, PartOf

DAY = 86_400_000_000


class Floor(FunctionElement[Any]):
    """Floor(double): the whole number at or below it; NULL beyond 2**53."""

    type = BigInteger()
    inherit_cache = True


@compiles(Floor, "sqlite")
def _floor_sqlite(element: Floor, compiler: Any, **kw: Any) -> str:
    n = compiler.process(next(iter(element.clauses)), **kw)
    return f"CASE WHEN {n} BETWEEN -{EXACT} AND {EXACT} THEN CAST({n} AS INTEGER) - ({n} < CAST({n} AS INTEGER)) END"


@compiles(Floor, "postgresql")
def _floor_postgresql(element: Floor, compiler: Any, **kw: Any) -> str:
    n = compiler.process(next(iter(element.clauses)), **kw)
    return f"CASE WHEN {n} BETWEEN -{EXACT} AND {EXACT} THEN floor({n})::bigint END"


def _int(value: int) -> ColumnElement[int]:
    return literal(value, Integer)


def _once(parts: Select[Any]) -> Subquery:
    """These columns, worked out once. PostgreSQL takes a plain subquery apart, and writes its columns out wherever they
    are named: a local day a hundred and fifty times in one birthday, which took longer to plan than all else."""
    return parts.suffix_with("OFFSET 0", dialect="postgresql").subquery()


def _common(year: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(year % _int(4) != 0, and_(year % _int(100) == 0, year % _int(400) != 0))


def age(born: ColumnElement[Any], today: ColumnElement[Any]) -> ColumnElement[Any]:
    """Whole years between two day numbers; negative for someone not born yet."""
    # Each date is worked out once, in subqueries of their own: a statement nests no deeper than SQLite can read.
    days = _once(select(born.label("b"), today.label("t")).correlate_except())
    d = _once(select(PartOf(days.c.b).label("b"), PartOf(days.c.t).label("t")))
    of_leap_day = and_(d.c.b % _int(10000) == 229, d.c.t % _int(10000) == 228, _common(d.c.t // _int(10000)))
    difference = d.c.t - d.c.b + case((of_leap_day, _int(1)), else_=_int(0))
    # Whole division rounds towards zero; years are counted downwards.
    years = (difference + _int(100_000_000)) // _int(10000) - _int(10000)
    return select(years).correlate_except(d).scalar_subquery()


def until_anniversary(
    month: ColumnElement[Any], day: ColumnElement[Any], today: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Days until the next such day of the year, 0 on the day itself."""
    days = select(month.label("m"), day.label("d"), today.label("t"), PartOf(today).label("p"))
    d = _once(days.correlate_except())
    year = d.c.p // _int(10000)

    def in_year(y: ColumnElement[Any]) -> ColumnElement[Any]:
        of_leap_day = and_(d.c.m == 2, d.c.d == 29, _common(y))
        return DayOf(y, d.c.m, case((of_leap_day, _int(28)), else_=d.c.d))

    this, next_ = in_year(year), in_year(year + _int(1))
    return select(case((this >= d.c.t, this - d.c.t), else_=next_ - d.c.t)).correlate_except(d).scalar_subquery()
