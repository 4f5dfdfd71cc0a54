"""What a mail has in common with others: its pieces that stand in the template, with places for those that don't.

A template's code yields its own words as the very objects it was compiled with, so they are told from a customer's by
identity. A customer's word that happens to be such an object too is taken for the template's: then this mail is alike
with fewer others, and just as right. Whoever takes another branch or has more items in a loop has another skeleton.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType

from engine.rendering.values import Rendered

MARK = "[%k"
"""Begins a place, and is in no mail that is shared."""
_PLACE = re.compile(r"\[%k[sht]\d+%\]")


@dataclass(frozen=True, slots=True)
class Shared:
    """A mail's skeleton and what stands in its places."""

    subject: str
    html: str
    text: str
    values: Mapping[str, str]


def own(codes: Iterable[CodeType]) -> Iterator[str]:
    """All texts that are written in these, as the very objects."""
    for code in codes:
        yield from (constant for constant in code.co_consts if isinstance(constant, str))
        yield from own(constant for constant in code.co_consts if isinstance(constant, CodeType))


def shared(mail: Rendered) -> Shared | None:
    """A mail as a skeleton and values; None for one that can't be, as when a value looks like a place."""
    values: dict[str, str] = {}
    parts = {}
    for letter, name, whole in (("s", "subject", mail.subject), ("h", "html", mail.html), ("t", "text", mail.text)):
        pieces = mail.pieces.get(name)
        if pieces is None or MARK in whole:
            return None
        skeleton = []
        for piece in pieces.said:
            if id(piece) in pieces.fixed or not piece.strip():
                skeleton.append(piece)
            else:
                place = f"{MARK}{letter}{len(values)}%]"
                values[place] = str(piece)
                skeleton.append(place)
        parts[name] = pieces.tidied("".join(skeleton))
        if _PLACE.sub(lambda found: values[found[0]], parts[name]) != whole:
            return None
    return Shared(parts["subject"], parts["html"], parts["text"], values)
