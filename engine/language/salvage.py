"""What can be read of a journey that has faults, so that all its problems are told at once and not one a run.

A faulty option is left out, a step that can't do without it stands as Unread, and the rest is linted as if nothing
were wrong. A salvaged journey is never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.language.errors import Path, Wrong
from engine.language.journey import Journey, StepModel, TriggerModel
from engine.language.registry import Registry
from engine.language.vocabulary import TRANSACTIONAL
from engine.language.yaml import Document, Mapping, Node, Scalar, child, walk

# Each round takes at least one fault away; a file with more than this many layers of them is told in parts.
ROUNDS = 20

_BLOCKS = ("steps", "then", "else", "do")


@dataclass(frozen=True)
class Salvaged:
    """The readable part of a journey, and the ids that stood in the unread part."""

    journey: Journey
    lost: frozenset[str]

    def speaks_of_lost(self, message: str) -> bool:
        """Whether a problem is only that something lost isn't there."""
        return any(f'"{name}"' in message or f'"{name}.' in message for name in self.lost)


class Unread(StepModel):
    """Stands for a step with faults: it may be anything, so nothing is said against it."""

    of: str

    @property
    def type(self) -> str:  # type: ignore[override]
        return self.of

    def may_pass_at_once(self) -> bool:
        return False


class UnreadTrigger(TriggerModel):
    """Stands for an `enter:` with faults."""

    def entry_event(self) -> str:
        return "?"


def salvage(document: Document, registry: Registry, name: str) -> Salvaged | None:
    """The readable part of a journey's document; None if that is nothing."""
    data: Any = document.data
    if not isinstance(data, dict):
        return None
    cutter = _Cutter(document, registry, data, name)
    for _ in range(ROUNDS):
        try:
            journey = Journey.model_validate(data, context=registry, by_alias=True, by_name=False)
            return Salvaged(journey, frozenset(cutter.lost))
        except ValidationError as error:
            for each in error.errors():
                cutter.cut(each)
    return None


class _Cutter:
    """Takes faults out of the plain data. Indexes of lists never move: positions are told by them."""

    def __init__(self, document: Document, registry: Registry, data: dict[str, Any], name: str) -> None:
        self.document = document
        self.registry = registry
        self.data = data
        self.name = name
        self.lost: set[str] = set()

    def cut(self, error: Any) -> None:
        """Take out the option an error lies in, or what can't be without it."""
        wrong = (error.get("ctx") or {}).get("error")
        at = tuple(error["loc"]) + (wrong.at if isinstance(wrong, Wrong) else ())
        missing = error["type"] == "missing"
        path = self.document.place(at[:-1] if missing else at)[1]
        parent = self._value(path[:-1]) if path else None
        # Of a journey's own keys and of a step's name, what stands there decides what can be put instead.
        option = len(path) > 1 and path[-1] not in self.registry.steps
        if option and not missing and isinstance(parent, dict) and path[-1] in parent:
            del parent[path[-1]]
        else:
            self._give_up(path)

    def _give_up(self, path: Path) -> None:
        """Replace the innermost step around a fault, or the part of the journey it lies in."""
        for n in range(len(path), 1, -1):
            around = self._value(path[: n - 1])
            index = path[n - 1]
            if isinstance(index, int) and isinstance(around, list) and _is_block(path[n - 2]):
                self._lose(path[:n])
                around[index] = self._unread(self.document.node(path[:n]))
                return
        if not path:
            # A rule about the journey as a whole: nothing of it can be trusted.
            self.data.clear()
            return
        key = path[0]
        self._lose(path[:1])
        if key == "enter":
            self.data[key] = UnreadTrigger()
        elif key in ("topic", "journey"):
            self.data[key] = TRANSACTIONAL if key == "topic" else self.name
        else:
            self.data.pop(str(key), None)

    def _value(self, path: Path) -> Any:
        here: Any = self.data
        for part in path:
            try:
                here = here[part]
            except (LookupError, TypeError):
                return None
        return here

    def _lose(self, path: Path) -> None:
        node = self.document.node(path)
        for way, inner in walk(node) if node is not None else ():
            if way and way[-1] == "id" and isinstance(inner, Scalar):
                self.lost.add(inner.text)

    def _unread(self, node: Node | None) -> Unread:
        named = [key for key in node.items if key in self.registry.steps] if isinstance(node, Mapping) else []
        given = child(node, "id")
        try:
            return Unread(of=named[0] if named else "step", id=given.text if isinstance(given, Scalar) else None)
        except ValidationError:
            return Unread(of=named[0] if named else "step")


def _is_block(key: str | int) -> bool:
    return isinstance(key, str) and (key in _BLOCKS or key.endswith("%"))
