"""How deeply an expression is nested, as a database sees it.

SQLite reads a statement with a stack of 100 places and refuses what needs more; every form of an expression takes some
of them, beside those of the statement around it. What is deeper than DEEPEST is told when a journey is checked,
whatever database it will run on.
"""

from __future__ import annotations

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import Kind

DEEPEST = 85
"""Places an expression may take; the statement around it needs some seven."""

_STORED = {Kind.TEXT: 10, Kind.NUMBER: 16, Kind.BOOLEAN: 11, Kind.DATE: 20, Kind.INSTANT: 23, Kind.MONEY: 23}
"""Places that reading a stored value takes."""

_LEAF, _BIRTHDAY = 14, 47
"""Places of what reads no stored value, at most, and of what is asked of a birthday."""

_FURTHER: dict[tree.Scope, int] = {"item": 4, "result": 12, "saved": 12}
"""The more when it stands in a list's entry or with an earlier step, and not with the customer or an event."""

_TAKES: dict[type[Typed], int] = {
    tree.Not: 5,
    tree.And: 3,
    tree.Or: 3,
    tree.Compare: 7,
    tree.OneOf: 8,
    tree.IsSet: 4,
    tree.Arithmetic: 5,
    tree.Negative: 3,
    tree.LocalDay: 16,
    tree.FullDate: 12,
    tree.Events: 20,
    tree.UsualGap: 35,
    tree.Age: 20,
    tree.DaysUntil: 6,
    tree.Items: 14,
}
_FACTOR = 12
"""The more when two sizes that aren't known are multiplied."""


def depth(typed: Typed) -> int:
    """The places of the stack that an expression takes, at most."""
    match typed:
        case tree.Name():
            return _STORED.get(typed.type.kind, 8) + _FURTHER.get(typed.scope, 0)
        case tree.DaysUntil() | tree.IsSet() if typed.part.type.kind is Kind.BIRTHDAY:
            return _BIRTHDAY
    below = max((depth(part) for part in tree.parts(typed)), default=_LEAF)
    more = _FACTOR if isinstance(typed, tree.Arithmetic) and typed.op in "*/" else 0
    return _TAKES.get(type(typed), 0) + more + below
