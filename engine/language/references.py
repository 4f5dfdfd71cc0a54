"""What an expression refers to, and its parts as a reader would judge them one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from engine.language import tree
from engine.language.tree import Typed


@dataclass(frozen=True)
class References:
    """Everything an expression names.

    names: dotted, as written (`customer.country`, `bought.total`). events: those it counts or takes the time of.
    sends: ids of send steps. now: whether it reads the clock other than through a window.
    """

    names: frozenset[str]
    events: frozenset[str]
    segments: frozenset[str]
    journeys: frozenset[str]
    tags: frozenset[str]
    topics: frozenset[tuple[str, str]]
    sends: frozenset[str]
    now: bool


def referenced(typed: Typed) -> References:
    """The references of a whole tree."""
    nodes = list(tree.walk(typed))
    counted = (tree.Events, tree.EventTime, tree.Elapsed, tree.UsualGap)
    return References(
        names=frozenset(dotted(node) for node in nodes if isinstance(node, tree.Name)),
        events=frozenset(node.event for node in nodes if isinstance(node, counted)),
        segments=frozenset(node.segment for node in nodes if isinstance(node, tree.InSegment)),
        journeys=frozenset(node.journey for node in nodes if isinstance(node, tree.InJourney)),
        tags=frozenset(node.tag for node in nodes if isinstance(node, tree.Tagged)),
        topics=frozenset((node.channel, node.topic) for node in nodes if isinstance(node, tree.Consented)),
        sends=frozenset(node.step for node in nodes if isinstance(node, tree.Messaged)),
        now=any(isinstance(node, tree.Now | tree.Elapsed | tree.Age | tree.DaysUntil) for node in nodes),
    )


def dotted(name: tree.Name) -> str:
    """A name as it is written."""
    own = {"result": name.step, "saved": name.name}.get(name.scope)
    return ".".join([own or name.scope, *name.path])


def explain(typed: Typed, text: str) -> list[tuple[str, Typed]]:
    """The conditions that stand between the outermost `and` (or between the outermost `or`), each with its text.

    Of an `and`, the first that is false is why the whole is false; of an `or`, all of them are.
    """
    kind = type(typed)
    if not isinstance(typed, tree.And | tree.Or):
        return [(_text(typed, text), typed)]
    found: list[tuple[str, Typed]] = []
    for part in typed.parts:
        found += explain(part, text) if isinstance(part, kind) else [(_text(part, text), part)]
    return found


def _text(typed: Typed, text: str) -> str:
    start, end = typed.span
    return " ".join(text[start:end].split())
