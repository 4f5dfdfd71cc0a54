"""Filters of numbers, amounts, days and times."""

from __future__ import annotations

from decimal import Decimal
from math import ceil as up
from math import floor as down
from typing import Any

from jinja2.runtime import Context

from engine.rendering import shown
from engine.rendering.arithmetic import arithmetic
from engine.rendering.filters.base import filter_, text_of
from engine.rendering.shown import number_of

_SHOWING = 500
"""The work of writing a number or a day in a locale, in characters."""


@filter_("The sum, of numbers or of money.", "{{ 7 | plus(2) }}", "plus")
def plus(context: Context, value: Any, other: Any) -> Any:
    return arithmetic("+", value, other)


@filter_("The difference.", "{{ 7 | minus(2) }}", "minus")
def minus(context: Context, value: Any, other: Any) -> Any:
    return arithmetic("-", value, other)


@filter_("The product.", "{{ 7 | times(2) }}", "times")
def times(context: Context, value: Any, other: Any) -> Any:
    return arithmetic("*", value, other)


@filter_(
    "The quotient, with its fraction; by zero it is missing. (Liquid's rounds down: `| floor`.)",
    "{{ 7 | divided_by(2) }}",
    "divided_by",
)
def divided_by(context: Context, value: Any, other: Any) -> Any:
    return arithmetic("/", value, other)


@filter_("What is left of a division.", "{{ 7 | modulo(4) }}", "modulo")
def modulo(context: Context, value: Any, other: Any) -> Any:
    divisor = Decimal(str(number_of(other)))
    left = Decimal(str(number_of(value))) % divisor if divisor else None
    return int(left) if left is not None and left == int(left) else left


@filter_("Without its sign.", "{{ -7 | abs }}", "abs")
def absolute(context: Context, value: Any) -> Any:
    return abs(number_of(value))


@filter_("Not less than this.", "{{ 3 | at_least(5) }}", "at_least")
def at_least(context: Context, value: Any, bound: Any) -> Any:
    return max(number_of(value), number_of(bound))


@filter_("Not more than this.", "{{ 9 | at_most(5) }}", "at_most")
def at_most(context: Context, value: Any, bound: Any) -> Any:
    return min(number_of(value), number_of(bound))


@filter_("The next whole number.", "{{ 7.2 | ceil }}", "ceil")
def ceil(context: Context, value: Any) -> int:
    return up(number_of(value))


@filter_("The whole number below.", "{{ 7.8 | floor }}", "floor")
def floor(context: Context, value: Any) -> int:
    return down(number_of(value))


@filter_("Rounded to so many digits.", "{{ 7.256 | round(2) }}", "round")
def round_(context: Context, value: Any, digits: int = 0) -> Any:
    return round(number_of(value), max(min(digits, 9), 0)) if digits else round(number_of(value))


@filter_(
    "The word for so many, as the mail's language counts: one word for one, one for others; `few`, `many`, `two` and "
    "`zero` for languages that have them.",
    '{{ 2 | pluralize("bowl", "bowls") }}',
    "pluralize",
    costs=_SHOWING,
)
def pluralize(context: Context, value: Any, one: str, other: str, **forms: str) -> str:
    if not forms.keys() <= {"zero", "two", "few", "many"}:
        raise TypeError("pluralize knows one, other, zero, two, few and many")
    form = shown.locale_of(context).plural_form(number_of(value))
    return text_of({"one": one, **forms}.get(form, other))


@filter_(
    "An amount in the mail's locale; a plain number counts as the brand's currency, or as the one named.",
    '{{ 1500.5 | money("KES") }}',
    "money",
    costs=_SHOWING,
)
def money(context: Context, value: Any, currency: str | None = None) -> str:
    return shown.money(context, value, currency)


@filter_("A number in the mail's locale, with so many digits.", "{{ 12345.678 | number(1) }}", "number", costs=_SHOWING)
def number(context: Context, value: Any, digits: int | None = None) -> str:
    return shown.number(context, value, digits)


@filter_("A share of one as percent.", "{{ 0.25 | percent }}", "percent", costs=_SHOWING)
def percent(context: Context, value: Any) -> str:
    return shown.percent(context, value)


@filter_(
    "A day in the mail's language, on the customer's calendar: `short`, `medium`, `long`, `full`, a pattern of "
    "Unicode's (`d MMMM`), or one of strftime's as in Liquid (`%d %B`, `%H:%M`).",
    '{{ now | date("%A, %e %B") }}',
    "date",
    costs=_SHOWING,
)
def date(context: Context, value: Any, style: str = "long") -> str:
    return shown.day(context, value, style)


@filter_("The time of day at the customer's.", '{{ now | time("HH:mm") }}', "time", costs=_SHOWING)
def time(context: Context, value: Any, style: str = "short") -> str:
    return shown.clock_time(context, value, style)


@filter_("Day and time at the customer's.", '{{ now | datetime("medium") }}', "datetime", costs=_SHOWING)
def datetime(context: Context, value: Any, style: str = "long") -> str:
    return shown.moment(context, value, style)
