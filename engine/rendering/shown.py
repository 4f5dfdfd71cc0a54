"""How values read: numbers, amounts, dates and times in the locale of the mail and the time zone of the customer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.numbers import format_currency, format_decimal, format_percent

from engine.language.types import Birthday, Money
from engine.rendering.values import Amount


class Reads(Protocol):
    """What holds the values of one rendering by name."""

    def __getitem__(self, key: str) -> Any: ...


_STYLES = frozenset({"short", "medium", "long", "full"})
_PATTERN = frozenset("GyYQqMLwWDdEecahHkKmsSzZvVxX .,:/-'")
_LONGEST_STYLE = 40


@lru_cache(maxsize=512)
def babel_locale(name: str) -> Locale:
    """The Babel locale of a name like sw-KE; the nearest one there is, English at the last."""
    parts = name.replace("_", "-").split("-")
    for length in range(len(parts), 0, -1):
        try:
            return Locale.parse("-".join(parts[:length]), sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return Locale("en")


def mail_locale(written: str, customer: str | None) -> str:
    """The locale of the dates and amounts of a mail: the customer's when they share its language, else the mail's own
    with the customer's country. A month's name in another language than the sentence around it helps nobody."""
    parts = (customer or "").replace("_", "-").split("-")
    own = written.replace("_", "-").split("-")
    if not parts[0] or parts[0] == own[0]:
        return customer or written
    territory = parts[-1] if len(parts) > 1 and len(parts[-1]) == 2 else None
    return f"{own[0]}-{territory}" if territory else written


def plain(context: Reads, value: Any) -> str:
    """How a value reads without a filter. TypeError for what has no text form: a list, an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (float, Decimal)):
        return f"{value:f}".rstrip("0").rstrip(".") if value == value and "." in f"{value:f}" else f"{value:f}"
    if isinstance(value, Money):
        return money(context, value)
    if isinstance(value, (datetime, date, Birthday)):
        return day(context, value)
    if isinstance(value, timedelta):
        return str(value.days)
    raise TypeError(f"a {type(value).__name__} can't be shown as text")


def number_of(value: Any) -> int | float | Decimal:
    """The value, a number. TypeError for anything else."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    raise TypeError(f"a {type(value).__name__} is not a number")


def locale_of(context: Reads) -> Locale:
    return babel_locale(context["locale"])


@lru_cache(maxsize=8192)
def _shown_money(minor: int, currency: str, locale: str) -> str:
    return str(format_currency(Amount(minor, currency).amount, currency, locale=babel_locale(locale)))


def money(context: Reads, value: Any, currency: str | None = None) -> str:
    if isinstance(value, Money):
        return _shown_money(value.minor, value.currency, context["locale"])
    return str(format_currency(number_of(value), currency or context["brand"]["currency"], locale=locale_of(context)))


def number(context: Reads, value: Any, digits: int | None = None) -> str:
    return _shown_number(number_of(value), digits, context["locale"])


@lru_cache(maxsize=8192)
def _shown_number(value: int | float | Decimal, digits: int | None, locale: str) -> str:
    if digits is None:
        return str(format_decimal(value, locale=babel_locale(locale)))
    pattern = "#,##0" + ("." + "0" * min(digits, 9) if digits > 0 else "")
    return str(format_decimal(value, format=pattern, locale=babel_locale(locale)))


def percent(context: Reads, value: Any) -> str:
    return str(format_percent(number_of(value), locale=locale_of(context)))


def _zone(context: Reads) -> ZoneInfo:
    zone = context["_zone"]
    assert isinstance(zone, ZoneInfo)
    return zone


_STRFTIME: Mapping[str, str] = {
    "%Y": "yyyy", "%y": "yy", "%m": "MM", "%-m": "M", "%B": "MMMM", "%b": "MMM", "%h": "MMM", "%d": "dd", "%-d": "d",
    "%e": "d", "%A": "EEEE", "%a": "EEE", "%H": "HH", "%-H": "H", "%k": "H", "%I": "hh", "%-I": "h", "%l": "h",
    "%M": "mm", "%S": "ss", "%p": "a", "%P": "a", "%j": "DDD", "%Z": "z", "%z": "Z", "%F": "yyyy-MM-dd",
    "%T": "HH:mm:ss", "%R": "HH:mm", "%%": "%",
}  # fmt: skip
_DIRECTIVE = re.compile(r"%-?[A-Za-z%]|[A-Za-z']+")


@lru_cache(maxsize=512)
def _style(style: str) -> str:
    """`long`, a pattern of Unicode's (`d MMM`), or one of strftime's (`%d %b`), as the pattern that Babel takes."""
    if style in _STYLES:
        return style
    if len(style) > _LONGEST_STYLE:
        raise TypeError("no such date or time style")
    if "%" in style:
        return _DIRECTIVE.sub(_translated, style)
    if not _PATTERN.issuperset(style):
        raise TypeError("no such date or time style")
    return style


def _translated(found: re.Match[str]) -> str:
    text = found[0]
    if not text.startswith("%"):
        literal = text.replace("'", "''")
        return f"'{literal}'"
    if text not in _STRFTIME:
        raise TypeError(f"no such date or time style: {text}")
    return _STRFTIME[text]


def day(context: Reads, value: Any, style: str = "long") -> str:
    if isinstance(value, Birthday):
        # The year may be unknown, and nobody wants theirs in a mail: the day and the month, as the locale writes them.
        return str(format_skeleton("MMMMd", datetime(2000, value.month, value.day), locale=locale_of(context)))  # noqa: DTZ001
    if isinstance(value, datetime) and "%" in style:
        return moment(context, value, style)  # Liquid has one filter for days and times
    if isinstance(value, datetime):
        value = value.astimezone(_zone(context)).date()
    if not isinstance(value, date):
        raise TypeError(f"a {type(value).__name__} is not a date")
    return str(format_date(value, format=_style(style), locale=locale_of(context)))


def clock_time(context: Reads, value: Any, style: str = "short") -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__} has no time of day")
    return str(format_time(value, format=_style(style), tzinfo=_zone(context), locale=locale_of(context)))


def moment(context: Reads, value: Any, style: str = "long") -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__} has no time of day")
    local = value.astimezone(_zone(context))
    return str(format_datetime(local, format=_style(style), tzinfo=_zone(context), locale=locale_of(context)))
