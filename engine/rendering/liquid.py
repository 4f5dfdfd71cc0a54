"""What Jinja2 can't read, told to somebody who knows Liquid: the words of the error, and what to write instead.

Liquid's tags and filters: https://shopify.github.io/liquid/
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jinja2 import TemplateSyntaxError

_TAGS: Mapping[str, str] = {
    "assign": "write {% set name = value %}",
    "capture": "write {% set name = … ~ … %}",
    "unless": "write {% if not … %} and {% endif %}",
    "endunless": "write {% endif %}",
    "elsif": "write {% elif … %}",
    "elseif": "write {% elif … %}",
    "case": "write {% if x == … %}, {% elif x == … %}, {% else %}",
    "when": "write {% if x == … %}, {% elif x == … %}, {% else %}",
    "comment": "write {# … #}",
    "render": 'write {% include "blocks/NAME" %}, alone on its line',
    "section": 'write {% include "blocks/NAME" %}, alone on its line',
    "echo": "write {{ … }}",
    "cycle": "write {% if loop.index0 == 0 %} or the like",
    "tablerow": "write {% for … %}",
    "increment": "write loop.index inside a loop",
}
_UNKNOWN = re.compile(r"Encountered unknown tag '(\w+)'")


def in_words(error: TemplateSyntaxError) -> tuple[str, str]:
    """The message of a syntax error, and a hint, empty where there is none."""
    message = (error.message or "this can't be read").rstrip(".")
    if found := _UNKNOWN.match(message):
        return message, _TAGS.get(found[1], "")
    if message.endswith("got ':'"):
        return message, "what a filter takes stands in brackets: {{ name | truncate(20) }}"
    if message.endswith("got 'contains'"):
        return message, 'write {% if "tea" in name %}'
    if message.endswith("got '='"):
        return message, "two things are compared with =="
    return message, ""
