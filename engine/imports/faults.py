"""All that is wrong with a row that was not taken, and with the columns that were named.

A row is refused at its first fault, which is fast; only then it is looked at once more, so that whoever mends it mends
it once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from engine.imports.rows import OURS, Faulty, Kind, Layout, Rows, _json, _list, _text, named, strange
from engine.language.types import Kind as TypeKind
from engine.runtime.door import Door, Problems
from engine.runtime.sightings import Sightings

BESIDES = ("push_token", "consent", "consent_at", "tags")
"""What a customer's row may have besides attributes."""


class NoColumn(Exception):
    """A column was named that the file doesn't have."""


def has_columns(named: Mapping[str, str], columns: Collection[str]) -> None:
    """Raises NoColumn for every named column that is none of these."""
    missing = [f"{what}={name}" for what, name in named.items() if name not in columns]
    if missing:
        there = ", ".join(name for name in columns if name not in OURS)
        raise NoColumn(f"--column {' --column '.join(missing)}: there is no such column; there are {there}")


def every_fault(rows: Rows, cells: Mapping[str, Any], layout: Layout) -> list[str]:
    """What is wrong with a row, in the order in which it is read."""
    # What this second look sees has been counted by the first.
    look = _Look(rows, replace(rows.door, sightings=Sightings()))
    look.who(cells, layout)
    if layout.kind is Kind.CUSTOMERS:
        look.person(cells, layout)
    else:
        look.event(cells, layout)
    return look.found


class _Look:
    def __init__(self, rows: Rows, door: Door) -> None:
        self.rows, self.door = rows, door
        self.found: list[str] = []

    def who(self, cells: Mapping[str, Any], layout: Layout) -> None:
        if layout.who is None or _text(cells.get(layout.who)) is None:
            default = "id" if layout.kind is Kind.CUSTOMERS else "customer"
            self.found.append(f"no customer ({layout.who or default})")
        self.named(cells, layout.who)

    def event(self, cells: Mapping[str, Any], layout: Layout) -> None:
        name = self.rows.event or (_text(cells.get(layout.event)) if layout.event else None)
        known = self.door.project.events
        if name is None:
            self.found.append(f"no event ({layout.event or 'event'})")
        elif name not in known:
            self.found.append(strange(name, known))
        self.named(cells, layout.key)
        self.named(cells, layout.source)
        given = {column: value for column in layout.rest if (value := cells.get(column)) is not None}
        inner = _json(cells.get(layout.nested)) if layout.nested else None
        if isinstance(inner, Mapping):
            given |= inner
        elif inner is not None:
            self.found.append(f"{layout.nested} holds no object")
        self.moment(cells.get(layout.at) if layout.at else None, layout.at or "at")
        if name is not None and name in known:
            types = self.door.vocabulary.events[name].properties
            problems = Problems()
            self.door.properties(name, {key: _shaped(value, types.get(key)) for key, value in given.items()}, problems)
            self.add(problems)

    def person(self, cells: Mapping[str, Any], layout: Layout) -> None:
        known = {*self.door.vocabulary.customer, *BESIDES}
        given = {name: value for name in layout.rest if name in known and (value := cells.get(name)) is not None}
        for name in ("consent_at", "created"):
            if name in given:
                self.moment(given.pop(name), name)
        for name in ("consent", "tags"):
            if isinstance(given.get(name), str):
                given[name] = _list(given[name])
        problems = Problems()
        types = self.door.vocabulary.attributes
        self.door.profile({key: _shaped(value, types.get(key)) for key, value in given.items()}, problems)
        self.add(problems)

    def named(self, cells: Mapping[str, Any], column: str | None) -> None:
        try:
            named(cells.get(column) if column else None, column)
        except Faulty as faulty:
            self.found.append(str(faulty))

    def moment(self, value: Any, name: str) -> None:
        try:
            self.rows.moment(value, name)
        except Faulty as faulty:
            self.found.append(str(faulty))

    def add(self, problems: Problems) -> None:
        self.found += [f"{name}: {message}" for name, message in problems.found.items()]


def _shaped(value: Any, type_: Any) -> Any:
    if type_ is not None and type_.kind in (TypeKind.LIST, TypeKind.OBJECT):
        return _json(value)
    return value.isoformat() if isinstance(value, datetime | date) else value
