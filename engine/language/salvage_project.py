"""What can be read of a project.yaml that has faults, so that what other files say is linted all the same.

An attribute or a property whose type can't be read is there, with a type that nobody knows; what else has a fault is
left out, and nothing is said of its name. Where too little is left to judge by, there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.language.errors import Path, Problem, Wrong, dotted
from engine.language.project import Project
from engine.language.registry import Registry
from engine.language.salvage import ROUNDS
from engine.language.types import UNREAD
from engine.language.vocabulary import TIER
from engine.language.yaml import Document

_BRAND = {"name": "?", "timezone": "UTC", "telegram": "some_bot", "address": None, "sender": None, "url": None}
"""What stands for a faulty part of the brand (None: nothing). Without a currency or a locale, too little is known."""
_ENTRIES: dict[str, Any] = {
    "coupons": {"generate": "LOST-{8}"},
    "surveys": {"kind": "nps"},
    "team": "apprise",
    "channels": {"provider": "?"},
    "topics": {"title": "?", "double_opt_in": "yes"},
}
"""What stands for a faulty entry, so that its name is known: of all such the one against which least is said."""
_NIGHT = {"from": "21:00", "to": "08:00"}


@dataclass(frozen=True)
class SalvagedProject:
    """The readable part of project.yaml; the names that stood in the rest, and where that stood."""

    project: Project
    lost: frozenset[str]
    cut: frozenset[Path]

    def speaks_of_lost(self, problem: Problem, file: str) -> bool:
        """Whether a problem may only come of what was left out of `file`, the project's own."""
        if problem.file == file and any(_beside(problem.path, dotted(path)) for path in self.cut):
            return True
        return any(f'"{name}"' in problem.message or f'.{name}"' in problem.message for name in self.lost)


def _beside(one: str, other: str) -> bool:
    return one == other or one.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{one}.", f"{one}["))


def salvage_project(document: Document, registry: Registry) -> SalvagedProject | None:
    """The readable part of a project's document; None if too little is."""
    data: Any = document.data
    if not isinstance(data, dict):
        return None
    cutter = _Cutter(data)
    for _ in range(ROUNDS):
        try:
            project = Project.model_validate(data, context=registry, by_alias=True, by_name=False)
            return SalvagedProject(project, frozenset(cutter.lost), frozenset(cutter.cut))
        except ValidationError as error:
            for each in error.errors():
                wrong = (each.get("ctx") or {}).get("error")
                if not cutter.cuts(tuple(each["loc"]) + (wrong.at if isinstance(wrong, Wrong) else ())):
                    return None
    return None


class _Cutter:
    """Takes faults out of the plain data."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.lost: set[str] = set()
        self.cut: set[Path] = set()

    def cuts(self, path: Path) -> bool:
        """Take out what a fault lies in; False if too much depends on it."""
        top = path[0] if path else ""
        section = self.data.get(str(top))
        if top in ("caps", "quiet_hours"):
            # A message may be held, by whatever was meant.
            self.data["quiet_hours"] = dict(_NIGHT)
            if top == "caps":
                self.data.pop("caps", None)
            self.cut.add((top,))
        elif top in ("points", "tracking", "tiers"):
            self.data.pop(str(top), None)
            self.cut.add((top,))
            if top == "tiers":
                return self._attribute(TIER)
        elif not isinstance(section, dict) or len(path) < 2:
            return False
        else:
            self.cut.add(path[:2])
            return self._entry(str(top), section, path)
        return True

    def _entry(self, top: str, section: dict[str, Any], path: Path) -> bool:
        name = str(path[1])
        if top == "brand":
            if name not in _BRAND:
                return False
            section.pop(name, None)
            if _BRAND[name] is not None:
                section[name] = _BRAND[name]
        elif "[key]" in path or top == "sources":
            self._lose(section, path)
        elif top == "customer":
            _untype(section, path[1:])
        elif top in _ENTRIES:
            section[name] = _ENTRIES[top]
        elif top == "events":
            self._event(section, path)
        else:
            return False
        return True

    def _event(self, events: dict[str, Any], path: Path) -> None:
        event = events.get(str(path[1]))
        if not isinstance(event, dict) or len(path) < 3 or (path[2] == "properties" and len(path) < 4):
            self._lose(events, path)
        elif path[2] == "properties" and isinstance(event["properties"], dict):
            _untype(event["properties"], path[3:])
        else:
            event.pop(str(path[2]), None)

    def _attribute(self, name: str) -> bool:
        attributes = self.data.setdefault("customer", {})
        if isinstance(attributes, dict):
            attributes.setdefault(name, UNREAD)
        return isinstance(attributes, dict)

    def _lose(self, section: dict[str, Any], path: Path) -> None:
        """Leave out an entry, or the part of it whose key is at fault, and keep its name."""
        here: Any = section
        *way, name = [part for part in path[1:] if part != "[key]"] if "[key]" in path else path[1:2]
        for part in way:
            here = here.get(part) if isinstance(here, dict) else None
        if isinstance(here, dict):
            here.pop(str(name), None)
        else:
            section.pop(str(path[1]), None)
            self.lost.add(str(path[1]))
        self.lost.add(str(name))


def _untype(declared: Any, path: Path) -> None:
    """Put an unknown type in the place of one that can't be read, as far in as it lies."""
    for n, part in enumerate(path):
        inner = declared[part] if n + 1 < len(path) else None
        known = isinstance(inner, dict) and path[n + 1] in inner
        if not known and not (isinstance(inner, list) and path[n + 1] == 0 and len(inner) == 1 and n + 2 < len(path)):
            declared[part] = UNREAD
            return
        declared = inner
