"""Stored values as the plain Python values that templates render. A value of another type than declared is missing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from engine.language.types import Birthday, Kind, Type
from engine.language.vocabulary import Vocabulary
from engine.rendering.values import Money
from engine.store.types import moment

_LARGEST = 2**53


def plain(stored: Any, type_: Type, vocabulary: Vocabulary) -> Any:
    """A stored JSON value as its declared type in Python; None when it is missing or of another type."""
    kind = type_.kind
    if kind is Kind.TEXT:
        return stored if isinstance(stored, str) else None
    if kind is Kind.BOOLEAN:
        return stored if isinstance(stored, bool) else None
    if kind is Kind.DATE:
        return _date(stored)
    if kind is Kind.LIST:
        inner = Type(Kind.OBJECT, type_.fields)
        return [plain(item, inner, vocabulary) for item in stored] if isinstance(stored, list) else None
    if kind is Kind.OBJECT:
        if not isinstance(stored, Mapping):
            return None
        return {name: plain(stored.get(name), field, vocabulary) for name, field in type_.fields}
    if isinstance(stored, bool) or not isinstance(stored, int | float):
        return None
    if kind is Kind.NUMBER:
        return int(stored) if stored == int(stored) else stored
    if stored != int(stored) or abs(stored) > _LARGEST:
        return None
    return Money(int(stored), vocabulary.currency) if kind is Kind.MONEY else moment(int(stored))


def computed(value: Any, type_: Type, vocabulary: Vocabulary) -> Any:
    """A value that SQL computed, as its type in Python: SQLite's booleans are numbers, amounts and instants come as
    numbers."""
    if value is None:
        return None
    if type_.kind is Kind.BOOLEAN:
        return bool(value)
    if type_.kind is Kind.MONEY:
        return Money(round(value), vocabulary.currency)
    if type_.kind is Kind.DURATION and not isinstance(value, timedelta):
        return timedelta(microseconds=int(value))
    if type_.kind is Kind.INSTANT and not hasattr(value, "tzinfo"):
        return moment(int(value))
    return plain(value, type_, vocabulary) if type_.kind is Kind.NUMBER else value


def customer_values(row: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """`customer.*` of a row of the customer table."""
    values = {
        name: plain((row.attributes or {}).get(name), type_, vocabulary)
        for name, type_ in vocabulary.attributes.items()
    }
    birthday = None
    if row.birth_month is not None and row.birth_day is not None:
        birthday = Birthday(row.birth_month, row.birth_day, row.birth_year)
    return values | {
        "id": row.external_id,
        "email": row.email,
        "phone": row.phone,
        "telegram": row.telegram,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "locale": row.locale,
        "timezone": row.timezone,
        "country": row.country,
        "birthday": birthday,
        "created": row.created_at,
    }


def event_values(properties: Mapping[str, Any] | None, name: str | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """`entry.*`, or what a wait_for heard: the declared properties of an event."""
    known = vocabulary.events.get(name or "")
    if known is None or properties is None:
        return {}
    return {prop: plain(properties.get(prop), type_, vocabulary) for prop, type_ in known.properties.items()}


def _date(stored: Any) -> date | None:
    try:
        return date.fromisoformat(stored) if isinstance(stored, str) and len(stored) == 10 else None
    except ValueError:
        return None
