"""Arithmetic in doubles that neither overflows nor underflows: PostgreSQL raises where SQLite gives infinity.

A stored or written number is 0 or from 1e-100 to 1e100 in size. Sums of such stay doubles; the factors and divisors
of `*` and `/` are held to 1e-150 … 1e150, with a check in the statement only where their size is not known.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, case, cast, func, literal, or_, select

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import NUMBER, Kind

SAFE = 150
"""Factors and divisors reach from 1e-150 to 1e150, so that no product or quotient leaves the doubles."""


def double(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column if isinstance(column.type, Double) else cast(column, Double)


def bounded(typed: Typed, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """NULL when beyond what may be multiplied; checked only where it can be."""
    low, high = size(typed)
    if low >= -SAFE and high <= SAFE:
        return column
    # In a subquery of its own, so that the expression stands once, however deep the products are nested.
    inner = select(column.label("n")).correlate_except().subquery()
    reach = func.abs(inner.c.n).between(literal(10.0**-SAFE, Double), literal(10.0**SAFE, Double))
    kept = case((or_(reach, inner.c.n == literal(0.0, Double)), inner.c.n))
    return select(kept).correlate_except(inner).scalar_subquery()


def size(typed: Typed) -> tuple[float, float]:
    """Powers of ten between which the size of a number lies when it isn't 0."""
    match typed:
        case tree.Literal():
            return -100, 100
        case tree.Negative():
            return size(typed.part)
        case tree.Arithmetic(type=type_) if type_.kind is Kind.DATE:
            return 0, 20
        case tree.Arithmetic():
            if typed.left.type.kind is Kind.DATE:
                return 0, 20
            (low, high), (low2, high2) = size(typed.left), size(typed.right)
            if typed.op in "+-":
                # What two nearly equal numbers leave is as small as the last digit of the smaller one.
                return min(low, low2) - 17, max(high, high2) + 1
            low, high, low2, high2 = max(low, -SAFE), min(high, SAFE), max(low2, -SAFE), min(high2, SAFE)
            return (low + low2, high + high2) if typed.op == "*" else (low - high2, high - low2)
        case tree.Name() if typed.type == NUMBER:
            return -100, 100
    return -7, 20
