"""What can be read of a journey that has faults, so that all its problems are told at once and not one a run.

A faulty option is left out, a step that can't do without it stands as Unread, and the rest (also what stands in such a
step) is linted as if nothing were wrong. A salvaged journey is never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.language.errors import Path, Wrong
from engine.language.journey import Journey
from engine.language.registry import Registry
from engine.language.unread import Faulty, Unread, UnreadExit, UnreadGoal, UnreadTrigger, holds_steps
from engine.language.vocabulary import TRANSACTIONAL
from engine.language.yaml import Document, Scalar, child, walk

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
            cutter.given_up.clear()
            for each in error.errors():
                cutter.cut(each)
    return None


class _Cutter:
    """Takes faults out of the plain data. Keys and indexes never move: positions are told by them."""

    def __init__(self, document: Document, registry: Registry, data: dict[str, Any], name: str) -> None:
        self.document = document
        self.registry = registry
        self.data = data
        self.name = name
        self.lost: set[str] = set()
        self.given_up: set[Path] = set()
        """The steps that were given up in this round: their other faults are taken out with them."""

    def cut(self, error: Any) -> None:
        """Take out the option an error lies in, or what can't be without it."""
        wrong = (error.get("ctx") or {}).get("error")
        at = tuple(error["loc"]) + (wrong.at if isinstance(wrong, Wrong) else ())
        missing = error["type"] == "missing"
        path = self.document.place(at[:-1] if missing else at)[1]
        parent = self._value(path[:-1]) if path else None
        if missing and not path:
            self._put_instead(str(at[-1]))
        elif not missing and isinstance(parent, dict) and path[-1] in parent and self._is_option(path, parent):
            self._lose(path)
            del parent[str(path[-1])]
        else:
            self._give_up(path)

    def _is_option(self, path: Path, parent: dict[str, Any]) -> bool:
        """Whether what holds this key still is what it is without it: not a journey without a part, not a step without
        its name, not an arm without its condition or its percentage. And nothing that holds steps is left out.
        """
        if len(path) == 1 or holds_steps(parent[str(path[-1])], self.registry):
            return False
        others = parent.keys() - {path[-1]}
        if len(path) > 2 and isinstance(path[-2], int) and _is_block(path[-3]):
            return bool(others & self.registry.steps.keys())
        if len(path) > 2 and isinstance(path[-2], int) and path[-3] in self.registry.steps:
            return bool(others & {"if", "else"})
        return path[-1] not in self.registry.steps

    def _give_up(self, path: Path) -> None:
        """Replace the innermost step around a fault, or the part of the journey it lies in."""
        for n in range(len(path), 1, -1):
            around = self._value(path[: n - 1])
            index = path[n - 1]
            if isinstance(index, int) and isinstance(around, list) and _is_block(path[n - 2]):
                step = around[index]
                if path[:n] not in self.given_up:
                    # One that was given up before and still has a fault is nothing that could be read.
                    hopeless = isinstance(step, Faulty) or not isinstance(step, dict)
                    around[index] = Unread() if hopeless else Faulty(step)
                    self.given_up.add(path[:n])
                given = child(self.document.node(path[:n]), "id")
                if isinstance(given, Scalar):
                    self.lost.add(given.text)
                return
        if not path:
            # A rule about the journey as a whole: nothing of it can be trusted.
            self.data.clear()
            return
        self._lose(path[:1])
        rules = self._value(path[:1])
        if path[0] == "exit" and len(path) > 1 and isinstance(rules, list):
            index = int(path[1])
            rules[index] = UnreadExit.of_plain(rules[index])
        else:
            self._put_instead(str(path[0]))

    def _put_instead(self, key: str) -> None:
        """Something harmless for a part of the journey."""
        if key == "enter":
            self.data[key] = UnreadTrigger.of_plain(self.data.get(key), self.registry)
        elif key == "goal" and isinstance(self.data.get(key), dict):
            self.data[key] = UnreadGoal.of_plain(self.data[key])
        elif key in ("topic", "journey"):
            self.data[key] = TRANSACTIONAL if key == "topic" else self.name
        elif key == "steps":
            self.data[key] = []
        else:
            self.data.pop(key, None)

    def _value(self, path: Path) -> Any:
        here: Any = self.data
        for part in path:
            try:
                here = here[part]
            except (LookupError, TypeError):
                return None
        return here

    def _lose(self, path: Path) -> None:
        """Note the ids in a part that is left out."""
        node = self.document.node(path)
        for way, inner in walk(node) if node is not None else ():
            if way and way[-1] == "id" and isinstance(inner, Scalar):
                self.lost.add(inner.text)


def _is_block(key: str | int) -> bool:
    return isinstance(key, str) and (key in _BLOCKS or key.endswith("%"))
