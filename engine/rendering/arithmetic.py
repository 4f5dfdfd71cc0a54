"""Counting in templates: numbers, money, durations and dates, never failing and never growing without end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from engine.rendering.budget import TooBig
from engine.rendering.values import Amount

LONGEST = 65_536
"""Characters of a text that is made, in a message or on the way there."""
_LARGEST = 10**18
_NUMBERS = (int, float, Decimal)


def arithmetic(operator: str, left: Any, right: Any) -> Any:
    """Numbers, money, durations and dates; None (missing) for an overflow or a division by zero. TypeError for the
    rest."""
    if isinstance(left, str) and isinstance(right, str) and operator == "+":
        if len(left) + len(right) > LONGEST:
            raise TooBig("a text")
        return left + right
    kinds = (*_NUMBERS, Amount, timedelta, date, datetime)
    if not isinstance(left, kinds) or not isinstance(right, kinds) or isinstance(left, bool) or isinstance(right, bool):
        raise TypeError(f"{operator} between a {type(left).__name__} and a {type(right).__name__}")
    if isinstance(left, Decimal) and isinstance(right, float):
        right = Decimal(str(right))
    if isinstance(right, Decimal) and isinstance(left, float):
        left = Decimal(str(left))
    try:
        result = _OPERATIONS[operator](left, right)
        return None if isinstance(result, _NUMBERS) and not -_LARGEST < result < _LARGEST else result
    except (ZeroDivisionError, OverflowError, ArithmeticError):
        return None


_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
