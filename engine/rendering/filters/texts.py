"""Filters of texts."""

from __future__ import annotations

from typing import Any

from jinja2 import Undefined
from jinja2.runtime import Context
from jinja2.utils import url_quote
from markupsafe import Markup, escape

from engine.rendering.arithmetic import LONGEST
from engine.rendering.budget import TooBig
from engine.rendering.filters.base import filter_, text_of, whole

_SCHEMES = ("https://", "http://", "mailto:", "tel:", "sms:", "#", "cid:")


@filter_(
    "What to show when a value is missing; an empty text counts as missing.",
    '{{ customer.nickname | default("friend") }}',
    "default",
    of_missing=True,
)
def default(context: Context, value: Any, instead: Any = "") -> Any:
    return instead if isinstance(value, Undefined) or value is None or value == "" else value


@filter_("In capitals.", '{{ "karibu" | upper }}', "upper", "upcase")
def upper(context: Context, value: Any) -> str:
    return text_of(value).upper()


@filter_("In small letters.", '{{ "KARIBU" | lower }}', "lower", "downcase")
def lower(context: Context, value: Any) -> str:
    return text_of(value).lower()


@filter_("With a capital first letter; the rest stays.", '{{ "amina wa Pwani" | capitalize }}', "capitalize")
def capitalize(context: Context, value: Any) -> str:
    text = text_of(value)
    return text[:1].upper() + text[1:]


@filter_("With a capital for every word.", '{{ "a bowl of tea" | title }}', "title")
def title(context: Context, value: Any) -> str:
    return text_of(value).title()


@filter_("Without the spaces at both ends.", '[{{ "  tea " | trim }}]', "trim", "strip")
def trim(context: Context, value: Any) -> str:
    return text_of(value).strip()


@filter_(
    "At most so many letters, cut between words, with this end.",
    '{{ "Coffee from Nyeri" | truncate(12) }}',
    "truncate",
)
def truncate(context: Context, value: Any, length: int = 255, end: str = "…") -> str:
    text = text_of(value)
    return text if len(text) <= length else text[: max(length - len(end), 0)].rsplit(" ", 1)[0] + end


@filter_("At most so many words, with this end.", '{{ "Coffee from Nyeri" | truncatewords(2) }}', "truncatewords")
def truncatewords(context: Context, value: Any, words: int = 15, end: str = "…") -> str:
    text = text_of(value)
    found = text.split(None, max(whole(words), 1))
    return text if len(found) <= words else " ".join(found[:words]) + end


@filter_("With every `old` replaced.", '{{ "tea, tea" | replace("tea", "chai") }}', "replace")
def replace(context: Context, value: Any, old: str, new: str) -> str:
    text, old, new = text_of(value), text_of(old), text_of(new)
    if not old or len(text) + text.count(old) * len(new) > LONGEST:
        raise TooBig("a text")
    return text.replace(old, new)


@filter_("Without a part.", '{{ "Nairobi, Kenya" | remove(", Kenya") }}', "remove")
def remove(context: Context, value: Any, part: str) -> str:
    return replace(context, value, part, "")


@filter_("With something behind.", '{{ "tea" | append(" and milk") }}', "append")
def append(context: Context, value: Any, text: str) -> str:
    return text_of(value) + text_of(text)


@filter_("With something before.", '{{ "tea" | prepend("black ") }}', "prepend")
def prepend(context: Context, value: Any, text: str) -> str:
    return text_of(text) + text_of(value)


@filter_("A text cut at a mark: a list.", '{{ "red,green" | split(",") | last }}', "split")
def split(context: Context, value: Any, mark: str = ",") -> list[str]:
    text, mark = text_of(value), text_of(mark)
    if text.count(mark) >= 1_000:  # a list takes sixty times the memory of its text
        raise TooBig("a list")
    return text.split(mark) if mark else list(text)


@filter_(
    "With line breaks shown in HTML; everything else is escaped as always.",
    '{{ "Kijabe St\\nNairobi" | newline_to_br }}',
    "newline_to_br",
)
def newline_to_br(context: Context, value: Any) -> Any:
    text = text_of(value)
    if not context.eval_ctx.autoescape:
        return text
    return Markup("<br />\n").join(text.splitlines()[:1_000])


@filter_("Escaped for HTML. In a mail every value is, so it is hardly ever needed.", '{{ "<b>" | escape }}', "escape")
def escape_(context: Context, value: Any) -> Markup:
    return escape(text_of(value))


@filter_("As a part of a link.", '{{ "tea & milk" | urlencode }}', "urlencode", "url_encode")
def urlencode(context: Context, value: Any) -> str:
    return url_quote(text_of(value), for_qs=True)


@filter_(
    "An address that a link may have; anything else, `javascript:` for one, stops the message. Values that begin an "
    "`href` pass it by themselves.",
    '{{ "https://duka.example" | link }}',
    "link",
)
def link(context: Context, value: Any) -> str:
    text = text_of(value).strip()
    if not text.lower().startswith(_SCHEMES):
        raise TypeError("a link must begin with https://")
    return text
