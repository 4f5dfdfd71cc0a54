"""The expressions in a literal text: `{{ … }}`.

    pieces("Order {{ entry.order_id }} is late")   # "Order ", Hole("entry.order_id", 9), " is late"

Not a template: nothing but expressions may stand between braces, so `{%` and `{#` are refused rather than sent to a
customer.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.language.errors import Wrong


@dataclass(frozen=True)
class Hole:
    """An expression, and the offset of its first character in the whole text."""

    text: str
    offset: int


def pieces(text: str) -> tuple[str | Hole, ...]:
    """The literal parts and the holes of a text, in order; no empty parts. Raises Wrong with the offset of what
    can't be read.
    """
    found: list[str | Hole] = []
    at = 0
    while at < len(text):
        start = text.find("{{", at)
        literal = text[at:] if start < 0 else text[at:start]
        _refuse_statements(literal, at)
        if literal:
            found.append(literal)
        if start < 0:
            break
        end = _end(text, start + 2)
        inner = text[start + 2 : end]
        if not inner.strip():
            raise Wrong(
                "nothing stands between {{ and }}", "write an expression, like customer.first_name", offset=start
            )
        found.append(Hole(inner.strip(), start + 2 + len(inner) - len(inner.lstrip())))
        at = end + 2
    return tuple(found)


def _end(text: str, at: int) -> int:
    """Where the }} of a hole stands: one in quotes is not it."""
    quote = ""
    start = at - 2
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif text.startswith("}}", at):
            return at
        at += 1
    raise Wrong("{{ is not closed", "close it with }}", offset=start)


def _refuse_statements(literal: str, at: int) -> None:
    for sign in ("{%", "{#"):
        if (found := literal.find(sign)) >= 0:
            raise Wrong(f"{sign} can't be used here, only {{{{ expressions }}}}", "use a branch", offset=at + found)
