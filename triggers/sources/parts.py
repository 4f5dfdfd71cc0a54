"""Parts of a payload that may hold anything: what isn't of the expected form is missing, never an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any


def part(value: Any, *path: str) -> Any:
    """What lies at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    found = part(value, *path)
    return found if isinstance(found, Mapping) else {}


def entries(value: Any, *path: str) -> list[Mapping[str, Any]]:
    """The mappings of a list."""
    found = part(value, *path)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def text(value: Any, *path: str) -> str | None:
    """A text or a whole number as text; None if it is empty."""
    found = part(value, *path)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return (found.strip() or None) if isinstance(found, str) else None


def moment(value: Any, *path: str) -> datetime | None:
    """A time with its zone, or Unix seconds."""
    found = part(value, *path)
    try:
        if isinstance(found, int | float) and not isinstance(found, bool):
            return datetime.fromtimestamp(found, UTC)
        at = datetime.fromisoformat(found) if isinstance(found, str) else None
        return at if at is not None and at.tzinfo is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def amount(value: Any, *path: str) -> Decimal | None:
    """An amount in units of its currency."""
    found = part(value, *path)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        number = Decimal(str(found).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 40 else None


def total(amounts: Iterable[Decimal | None]) -> str | None:
    """The sum of those that are known, as text; None of nothing."""
    found = [one for one in amounts if one is not None]
    return f"{sum(found, Decimal(0)):f}" if found else None


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is missing."""
    return {name: value for name, value in values.items() if value is not None}
