"""The filters a template may use, each total, bounded and in the locale of the mail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.numbers import format_currency, format_decimal, format_percent
from jinja2 import Undefined, pass_context
from jinja2.runtime import Context
from jinja2.utils import url_quote
from markupsafe import Markup, escape

from engine.language.types import Birthday, Money
from engine.rendering.budget import TooBig
from engine.rendering.values import Amount


class Reads(Protocol):
    """What holds the values of one rendering by name."""

    def __getitem__(self, key: str) -> Any: ...


_LONGEST = 65_536
_STYLES = frozenset({"short", "medium", "long", "full"})
_PATTERN = frozenset("GyYQqMLwWDdEecahHkKmsSzZvVxX .,:/-'")
_SCHEMES = ("https://", "http://", "mailto:", "tel:", "sms:", "#", "cid:")


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
        return _money(context, value)
    if isinstance(value, (datetime, date, Birthday)):
        return _date(context, value)
    if isinstance(value, timedelta):
        return str(value.days)
    raise TypeError(f"a {type(value).__name__} can't be shown as text")


def _total(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Something missing stays missing, so that a later `default` still finds it."""

    @pass_context
    def guarded(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            return value
        result = filter_(context, value, *args, **kwargs)
        if isinstance(result, str) and len(result) > _LONGEST:
            raise TooBig("a text")
        return result

    return guarded


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return plain({}, value)
    raise TypeError(f"a {type(value).__name__} is not text")


def _number_of(value: Any) -> int | float | Decimal:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    raise TypeError(f"a {type(value).__name__} is not a number")


def _locale(context: Reads) -> Locale:
    return babel_locale(context["locale"])


@lru_cache(maxsize=8192)
def _shown_money(minor: int, currency: str, locale: str) -> str:
    return str(format_currency(Amount(minor, currency).amount, currency, locale=babel_locale(locale)))


def _money(context: Reads, value: Any, currency: str | None = None) -> str:
    if isinstance(value, Money):
        return _shown_money(value.minor, value.currency, context["locale"])
    return str(format_currency(_number_of(value), currency or context["brand"]["currency"], locale=_locale(context)))


def _number(context: Reads, value: Any, digits: int | None = None) -> str:
    return _shown_number(_number_of(value), digits, context["locale"])


@lru_cache(maxsize=8192)
def _shown_number(value: int | float | Decimal, digits: int | None, locale: str) -> str:
    if digits is None:
        return str(format_decimal(value, locale=babel_locale(locale)))
    pattern = "#,##0" + ("." + "0" * min(digits, 9) if digits > 0 else "")
    return str(format_decimal(value, format=pattern, locale=babel_locale(locale)))


def _percent(context: Reads, value: Any) -> str:
    return str(format_percent(_number_of(value), locale=_locale(context)))


def _zone(context: Reads) -> ZoneInfo:
    zone = context["_zone"]
    assert isinstance(zone, ZoneInfo)
    return zone


def _style(style: str) -> str:
    if style not in _STYLES and (len(style) > 40 or not _PATTERN.issuperset(style)):
        raise TypeError("no such date or time style")
    return style


def _date(context: Reads, value: Any, style: str = "long") -> str:
    if isinstance(value, Birthday):
        # The year may be unknown, and nobody wants theirs in a mail: the day and the month, as the locale writes them.
        return str(format_skeleton("MMMMd", datetime(2000, value.month, value.day), locale=_locale(context)))  # noqa: DTZ001
    if isinstance(value, datetime):
        value = value.astimezone(_zone(context)).date()
    if not isinstance(value, date):
        raise TypeError(f"a {type(value).__name__} is not a date")
    return str(format_date(value, format=_style(style), locale=_locale(context)))


def _time(context: Reads, value: Any, style: str = "short") -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__} has no time of day")
    return str(format_time(value, format=_style(style), tzinfo=_zone(context), locale=_locale(context)))


def _datetime(context: Reads, value: Any, style: str = "long") -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__} has no time of day")
    local = value.astimezone(_zone(context))
    return str(format_datetime(local, format=_style(style), tzinfo=_zone(context), locale=_locale(context)))


def _default(value: Any, instead: Any = "") -> Any:
    """What to show when a value is missing; an empty text counts as missing."""
    return instead if isinstance(value, Undefined) or value is None or value == "" else value


def _length(context: Context, value: Any) -> int:
    if not isinstance(value, (str, list, tuple)):
        raise TypeError(f"a {type(value).__name__} has no length")
    return len(value)


def _at(position: int) -> Callable[[Context, Any], Any]:
    def pick(context: Context, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"a {type(value).__name__} is not a list")
        return value[position] if value else context.environment.undefined(name="the item of an empty list")

    return pick


def _join(context: Context, value: Any, between: str = "") -> str:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a {type(value).__name__} is not a list")
    context["_budget"].loop(len(value), len(between))
    return _text(between).join(plain(context, item) for item in value)


def _map(context: Context, value: Any, attribute: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a {type(value).__name__} is not a list")
    context["_budget"].loop(len(value), 8)
    return [context.environment.getitem(item, attribute) for item in value]


def _truncate(context: Context, value: Any, length: int = 255, end: str = "…") -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(length - len(end), 0)].rsplit(" ", 1)[0] + end


def _round(context: Context, value: Any, digits: int = 0) -> Any:
    return round(_number_of(value), max(min(digits, 9), 0)) if digits else round(_number_of(value))


def _replace(context: Context, value: Any, old: str, new: str) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    if not old or len(text) + text.count(old) * len(new) > _LONGEST:
        raise TooBig("a text")
    return text.replace(old, new)


def _link(context: Context, value: Any) -> str:
    """An address that a link may have: what came from outside must not become `javascript:`."""
    text = _text(value).strip()
    if not text.lower().startswith(_SCHEMES):
        raise TypeError("a link must begin with https://")
    return text


def _escape(context: Context, value: Any) -> Markup:
    return escape(_text(value))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "capitalize": _total(lambda c, v: _text(v)[:1].upper() + _text(v)[1:]),
    "count": _total(_length),
    "date": _total(_date),
    "datetime": _total(_datetime),
    "default": _default,
    "escape": _total(_escape),
    "first": _total(_at(0)),
    "join": _total(_join),
    "last": _total(_at(-1)),
    "length": _total(_length),
    "link": _total(_link),
    "lower": _total(lambda c, v: _text(v).lower()),
    "map": _total(_map),
    "money": _total(_money),
    "number": _total(_number),
    "percent": _total(_percent),
    "replace": _total(_replace),
    "round": _total(_round),
    "time": _total(_time),
    "title": _total(lambda c, v: _text(v).title()),
    "trim": _total(lambda c, v: _text(v).strip()),
    "truncate": _total(_truncate),
    "upper": _total(lambda c, v: _text(v).upper()),
    "urlencode": _total(lambda c, v: url_quote(_text(v), for_qs=True)),
}
