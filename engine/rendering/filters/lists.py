"""Filters of lists: `entry.items` and what else an event lists."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from typing import Any

from jinja2 import Undefined
from jinja2.runtime import Context

from engine.rendering.arithmetic import arithmetic
from engine.rendering.filters.base import budget_of, filter_, list_of, text_of, whole
from engine.rendering.shown import plain


@filter_("How many: of a list, or letters of a text.", "{{ entry.items | size }}", "size", "length", "count")
def size(context: Context, value: Any) -> int:
    if not isinstance(value, (str, list, tuple)):
        raise TypeError(f"a {type(value).__name__} has no length")
    return len(value)


@filter_("The first of a list.", "{{ (entry.items | first).name }}", "first")
def first(context: Context, value: Any) -> Any:
    return list_of(value)[0] if list_of(value) else None


@filter_("The last of a list.", "{{ (entry.items | last).name }}", "last")
def last(context: Context, value: Any) -> Any:
    return list_of(value)[-1] if list_of(value) else None


@filter_(
    "A part of a list or a text, from a place (0 is the first; -2 the last but one).",
    '{{ "KARIBU" | slice(0, 3) }}',
    "slice",
)
def slice_(context: Context, value: Any, start: int, length: int = 1) -> Any:
    if not isinstance(value, (str, list, tuple)):
        raise TypeError(f"a {type(value).__name__} has no parts")
    at = whole(start) if start >= 0 else max(len(value) + whole(start), 0)
    return value[at : at + max(whole(length), 0)]


@filter_("A list as text, with this between.", '{{ entry.items | map("name") | join(", ") }}', "join")
def join(context: Context, value: Any, between: str = "") -> str:
    items = list_of(value)
    budget_of(context).loop(len(items), len(text_of(between)), 2)
    return text_of(between).join(plain(context, item) for item in items)


@filter_("One field of every item.", '{{ entry.items | map("name") | first }}', "map")
def map_(context: Context, value: Any, attribute: str) -> list[Any]:
    items = list_of(value)
    budget_of(context).loop(len(items), 8, 4)
    return [_field(context, item, attribute) for item in items]


@filter_(
    "The items with this field: set, or equal to a value.",
    '{{ entry.items | where("sku", "B2") | map("name") | join }}',
    "where",
)
def where(context: Context, value: Any, attribute: str, equals: Any = None) -> list[Any]:
    items = list_of(value)
    budget_of(context).loop(len(items), 8, 6)
    if equals is None:
        return [item for item in items if _field(context, item, attribute)]
    wanted = _comparable(equals)
    return [item for item in items if _comparable(_field(context, item, attribute)) == wanted]


@filter_("The sum of a list, or of one field of every item.", '{{ entry.items | sum("price") }}', "sum")
def sum_(context: Context, value: Any, attribute: str | None = None) -> Any:
    items = list_of(value)
    budget_of(context).loop(len(items), 8, 6)
    found = [item if attribute is None else _field(context, item, attribute) for item in items]
    there = [one for one in found if not isinstance(one, Undefined)]
    return reduce(lambda a, b: arithmetic("+", a, b), there) if there else 0


@filter_(
    "By one field of the items, or by themselves; those without come last.",
    '{{ entry.items | sort("price") | map("name") | join(", ") }}',
    "sort",
)
def sort(context: Context, value: Any, attribute: str | None = None) -> list[Any]:
    items = list_of(value)
    budget_of(context).loop(len(items), 8, 40)
    keyed = [(item if attribute is None else _field(context, item, attribute), item) for item in items]
    there = [pair for pair in keyed if not isinstance(pair[0], Undefined)]
    missing = [item for key, item in keyed if isinstance(key, Undefined)]
    return [item for _, item in sorted(there, key=lambda pair: pair[0])] + missing


@filter_("Backwards.", '{{ entry.items | reverse | map("name") | join(", ") }}', "reverse")
def reverse(context: Context, value: Any) -> list[Any]:
    return list(list_of(value))[::-1]


@filter_("Each once.", '{{ "a,b,a" | split(",") | uniq | join(",") }}', "uniq")
def uniq(context: Context, value: Any) -> list[Any]:
    items = list_of(value)
    budget_of(context).loop(len(items), 8, 6)
    found: dict[Any, Any] = {}
    for item in items:
        found.setdefault(_comparable(item), item)
    return list(found.values())


def _field(context: Context, item: Any, attribute: str) -> Any:
    return context.environment.getitem(item, text_of(attribute))


def _comparable(value: Any) -> Any:
    """A value that can be looked for. TypeError for lists and objects: to compare them takes as long as they are."""
    if isinstance(value, (str, bool, int, float, Decimal)):
        return value
    if isinstance(value, Undefined):
        return None
    return plain({"locale": "en", "brand": {"currency": ""}}, value)
