"""The filters a template may use: this list and no other. `upper` and `upcase`, `length` and `size` are the same: the
names of Jinja2 and those of Liquid, which marketers know, as far as Jinja2's syntax can say them honestly."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from engine.rendering.filters import lists, numbers, texts  # noqa: F401  they put themselves into the table
from engine.rendering.filters.base import TABLE
from engine.rendering.filters.base import Filter as Filter

FILTERS: Mapping[str, Filter] = dict(sorted(TABLE.items()))

_INSTEAD = {
    "safe": "a value is escaped on its way into a mail, always",
    "raw": "a value is escaped on its way into a mail, always",
    "t": "write the template in another language: NAME.LOCALE.mjml beside it",
    "translate": "write the template in another language: NAME.LOCALE.mjml beside it",
    "money_with_currency": "write money",
    "money_without_currency": "write number(2)",
    "currency": "write money",
    "format_date": "write date",
    "strftime": "write date",
    "asset_url": "write the picture's whole address",
    "img_url": "write the picture's whole address",
    "image_url": "write the picture's whole address",
    "strip_html": "a value is shown as it is, tags and all, and never read as HTML",
    "selectattr": "write where",
    "concat": "write append for texts",
    "find": "write where and first",
    "compact": "write where",
}


def hint_for(name: str) -> str:
    """What to write instead of a filter that isn't there."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    near = get_close_matches(name.lower(), FILTERS, 1)
    return f'did you mean "{near[0]}"?' if near else f"known: {', '.join(FILTERS)}"
