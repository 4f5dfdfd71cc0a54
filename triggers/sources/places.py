"""Where in a request something stands: a path of keys, `member.levels.0.name` (the first of the levels), or a header,
`header:X-Topic`. What isn't there is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, WithJsonSchema

from engine.language.errors import Wrong
from engine.language.moments import text_or
from triggers.sources.base import Headers

_STEP = re.compile(r"[A-Za-z0-9_$@-]{1,100}")
_HINT = "keys with points between them, like member.levels.0.name, or header:X-Topic"


@dataclass(frozen=True)
class Place:
    """Where in a request something stands: steps into the payload (a number counts in a list, from 0), or a header."""

    written: str
    steps: tuple[str, ...] = ()
    header: str = ""

    def of(self, headers: Headers, value: Any) -> Any:
        """What stands there, or None."""
        if self.header:
            return headers.get(self.header)
        for step in self.steps:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and len(step) < 6 and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


def parse_place(written: str) -> Place:
    """`member.levels.0.name` or `header:X-Topic`."""
    written = written.strip()
    if written.startswith("header:"):
        name = written.removeprefix("header:").strip().lower()
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise Wrong(f'"{name}" is no name of a header', _HINT, offset=len("header:"))
        return Place(written, header=name)
    steps, at = written.split("."), 0
    for step in steps:
        found = _STEP.match(written, at)
        if found is None or found[0] != step:
            raise Wrong("this path can't be read from here on", _HINT, offset=at + (len(found[0]) if found else 0))
        at += len(step) + 1
    return Place(written, tuple(steps))


Where = Annotated[
    Place,
    text_or(Place, parse_place),
    PlainSerializer(lambda place: place.written, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["member.levels.0.name", "header:X-Topic"]}),
]
