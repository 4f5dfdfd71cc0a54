"""A value from outside (a JSON body, a CSV field, a scenario) in the form it is kept in: the types are told apart
here, once.

Money comes in units of the brand's currency (`49.90`) and is kept in whole minor units (4990). See types.py for the
kept forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from engine.language.errors import Path, Wrong, did_you_mean
from engine.language.types import Kind, Type

LARGEST_MONEY = 2**53
_PLAIN = 12
"""Characters of an amount that can't be too large, whatever currency."""
_LARGEST_PLAIN = 10 ** (_PLAIN - 1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored(value: Any, type_: Type, digits: int, zone: str = "UTC") -> Any:
    """The kept form of a value of this type. `digits`: of the currency, after the point; `zone`: of a time that names
    none.

    Raises Wrong (`at`: where inside a list or object) for a value that is not of the type.
    """
    reader = _READERS.get(type_.kind)
    if reader is not None:
        return reader(value, digits, zone)
    if type_.kind is Kind.LIST:
        if not isinstance(value, list | tuple):
            raise Wrong(f"a list is expected, and this is {_shown(value)}")
        inside = Type(Kind.OBJECT, type_.fields)
        return [_inner(item, inside, digits, zone, (n,)) for n, item in enumerate(value)]
    if type_.kind is Kind.OBJECT:
        if not isinstance(value, Mapping):
            raise Wrong(f"a mapping is expected, and this is {_shown(value)}")
        return fields(value, dict(type_.fields), digits, zone)
    if type_.kind is Kind.UNREAD:
        return value
    raise Wrong(f"a {type_} can't be given here")


def fields(given: Mapping[str, Any], types: Mapping[str, Type], digits: int, zone: str = "UTC") -> dict[str, Any]:
    """The kept forms of named values (an event's properties, a customer's attributes). None is left out: it is
    missing.
    """
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if name not in types:
            raise Wrong(f'unknown name "{name}"', did_you_mean(name, types), at=(name,), on_key=True)
        if value is not None:
            kept[name] = _inner(value, types[name], digits, zone, (name,))
    return kept


def _inner(value: Any, type_: Type, digits: int, zone: str, at: Path) -> Any:
    try:
        return stored(value, type_, digits, zone)
    except Wrong as wrong:
        raise Wrong(wrong.message, wrong.hint, at=(*at, *wrong.at), on_key=wrong.on_key) from None


def _text(value: Any, digits: int, zone: str) -> str:
    if isinstance(value, str):
        if "\0" in value:
            raise Wrong("U+0000 is not allowed in a text")
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # an order number that JSON wrote as a number
    raise Wrong(f"a text is expected, and this is {_shown(value)}")


def _number(value: Any, digits: int, zone: str) -> int | float:
    number = _decimal(value, "a number")
    if number and not Decimal("1e-100") <= abs(number) <= Decimal("1e100"):
        raise Wrong("this number is too large or too small")
    return int(number) if number == number.to_integral_value() and abs(number) < 2**53 else float(number)


def _money(value: Any, digits: int, zone: str) -> int:
    if type(value) is str and len(value) < _PLAIN and value.isascii():  # as nearly all of them are written
        whole, point, part = value.partition(".")
        if whole.isdigit() and (part.isdigit() and len(part) == digits if point else True):
            return int(whole + part) if point else int(whole) * 10**digits
    if type(value) is int and abs(value) < _LARGEST_PLAIN:
        return int(value * 10**digits)
    minor = _decimal(value, "an amount").scaleb(digits)
    if minor != minor.to_integral_value():
        raise Wrong(f"an amount has {digits} digits after the point at most, and this is {_shown(value)}")
    if abs(minor) > LARGEST_MONEY:
        raise Wrong("this amount is too large")
    return int(minor)


def _boolean(value: Any, digits: int, zone: str) -> bool:
    words = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    raise Wrong(f"true or false is expected, and this is {_shown(value)}")


def _date(value: Any, digits: int, zone: str) -> str:
    try:
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    raise Wrong(f"a date like 2026-12-24 is expected, and this is {_shown(value)}")


def _instant(value: Any, digits: int, zone: str) -> int:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
            aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
            micros = (aware - _EPOCH) // (datetime.resolution)
            return int(micros)
    except (ValueError, OverflowError):
        pass
    raise Wrong(f"a time like 2026-12-24T18:00:00+03:00 is expected, and this is {_shown(value)}")


def _decimal(value: Any, what: str) -> Decimal:
    try:
        if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
            number = Decimal(str(value).strip())
            if number.is_finite() and number.adjusted() < 120:
                return number
    except InvalidOperation:
        pass
    raise Wrong(f"{what} is expected, and this is {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:40]}"'
    return {dict: "a mapping", list: "a list", tuple: "a list", type(None): "nothing"}.get(type(value), str(value)[:40])


_READERS = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.MONEY: _money,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.INSTANT: _instant,
}
