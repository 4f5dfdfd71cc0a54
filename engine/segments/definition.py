"""Named segments as typed conditions, those first that others use, each with a digest of what it means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from engine.language import tree
from engine.language.expression import Names, Typed, Vocabulary, parse_condition, referenced


class CircularSegmentsError(ValueError):
    """Segments that use each other in a circle have no meaning. `circle` names them in order."""

    def __init__(self, circle: list[str]) -> None:
        super().__init__("these segments use each other: " + " → ".join([*circle, circle[0]]))
        self.circle = circle


@dataclass(frozen=True)
class Segment:
    """A segment ready to be judged. `digest` changes with its meaning, also when a segment it uses changes."""

    name: str
    typed: Typed
    digest: str

    @cached_property
    def uses(self) -> frozenset[str]:
        return referenced(self.typed).segments


def defined(conditions: Mapping[str, str], vocabulary: Vocabulary) -> tuple[Segment, ...]:
    """The segments of these conditions by name. Raises ExpressionError, or CircularSegmentsError."""
    typed = {name: parse_condition(text, Names(), vocabulary) for name, text in conditions.items()}
    found: dict[str, Segment] = {}
    for name in in_order({name: referenced(t).segments for name, t in typed.items()}):
        used = [found[other].digest for other in sorted(referenced(typed[name]).segments) if other in found]
        digest = hashlib.sha256(repr((canonical(typed[name]), vocabulary.timezone, used)).encode()).hexdigest()
        found[name] = Segment(name, typed[name], digest)
    return tuple(found.values())


def in_order(uses: Mapping[str, Iterable[str]]) -> list[str]:
    """The names, each after those it uses."""
    done: list[str] = []

    def visit(name: str, above: list[str]) -> None:
        if name in above:
            raise CircularSegmentsError(above[above.index(name) :])
        if name in done or name not in uses:
            return
        for used in sorted(uses[name]):
            visit(used, [*above, name])
        done.append(name)

    for name in sorted(uses):
        visit(name, [])
    return done


def canonical(value: Any) -> Any:
    """A tree without the places of its text, as plain tuples."""
    if isinstance(value, tree.Typed):
        inner = ((f.name, canonical(getattr(value, f.name))) for f in fields(value) if f.name != "span")
        return type(value).__name__, tuple(inner)
    if isinstance(value, tuple):
        return tuple(map(canonical, value))
    return str(value)
