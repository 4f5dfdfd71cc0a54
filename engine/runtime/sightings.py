"""What comes through the door, counted: names of events and properties, the kinds of their values, how many are wrong.

These are diagnostics. They are gathered in memory and written in a transaction of their own about once a second, and
when the process ends: in the transaction of the events every ingest would wait for every other at these few rows. A
crash loses what was gathered since the last write, a second's worth, and no event. An event that is sent again, or is
turned away later, was seen all the same.

A sender may invent names without end: what project.yaml doesn't declare is kept by name up to a bound, and the rest is
counted under OTHER.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import case, select

from engine.language.vocabulary import Vocabulary
from engine.store.database import Database
from engine.store.scratch import insert_into
from engine.store.tables import sighting

log = logging.getLogger("karibu.sightings")

EVERY = timedelta(seconds=1)
CUSTOMERS = ""
"""Stands for the event's name where a customer's own attributes were seen."""

ITSELF = ""
"""Stands for a property's name where the event itself was seen."""

OTHER = "*"
"""All the names beyond the bounds."""

MOST_EVENTS = 200
MOST_PROPERTIES = 100
LONGEST = 100
"""Bounds of what is kept by name: undeclared events, undeclared properties of one event, characters of a name."""

MOST_SHAPES = 500
LONGEST_SHAPE = 2_000
"""Bounds of what waits to be taken apart: different shapes, and characters of the names in one."""

PORTION = 500
"""Rows a transaction: on SQLite nobody else writes meanwhile."""


class Sight(NamedTuple):
    """What is counted together. `kind`: of the JSON value as it was sent; '' of an event itself."""

    event: str
    property: str
    kind: str
    wrong: bool


Shape = tuple[str, tuple[str, ...], tuple[type, ...], tuple[str, ...]]
"""What two events that are counted alike have in common: their name, their properties with the classes of the values,
and which of these are wrong."""


class Sightings:
    """Gathers, from any number of threads. One for each process that has a door.

    Nearly all events have one of a few shapes: of each that comes, its shape is counted, and only the shapes are taken
    apart, when it is time to write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: dict[Sight, int] = {}
        self._shapes: dict[Shape, int] = {}
        self._known: Vocabulary | None = None
        self._events: set[str] = set()
        self._properties: dict[str, set[str]] = {}
        self._written: datetime | None = None

    def event(self, name: str, values: Mapping[str, Any], wrong: Iterable[str], known: Vocabulary) -> None:
        """An event came with these properties, of which some are of another type than declared."""
        shape = (name, tuple(values), tuple(map(type, values.values())), tuple(wrong))
        with self._lock:
            if known is not self._known:
                self._take_apart()
                self._known = known
            if shape in self._shapes:
                self._shapes[shape] += 1
            elif len(self._shapes) < MOST_SHAPES and len(name) + sum(map(len, values)) <= LONGEST_SHAPE:
                self._shapes[shape] = 1
            else:
                self._add_event(shape, 1)

    def customer(self, values: Mapping[str, Any], wrong: Iterable[str], known: Mapping[str, Any]) -> None:
        """A customer was described. `known`: what a customer can have."""
        with self._lock:
            self._add((CUSTOMERS, tuple(values), tuple(map(type, values.values())), tuple(wrong)), known, 1)

    def _take_apart(self) -> None:
        shapes, self._shapes = self._shapes, {}
        for shape, times in shapes.items():
            self._add_event(shape, times)

    def _add_event(self, shape: Shape, times: int) -> None:
        name, properties, classes, wrong = shape
        declared = None if self._known is None else self._known.events.get(name)
        event = name if declared is not None else self._kept_event(name)
        one = Sight(event, ITSELF, "", False)
        self._counts[one] = self._counts.get(one, 0) + times
        self._add((event, properties, classes, wrong), {} if declared is None else declared.properties, times)

    def _add(self, shape: Shape, declared: Mapping[str, Any], times: int) -> None:
        event, properties, classes, wrong = shape
        for name, class_ in zip(properties, classes, strict=True):
            if class_ is type(None):
                continue
            kept = name if name in declared else self._kept_property(event, name)
            one = Sight(event, kept, kind_of(class_), name in wrong)
            self._counts[one] = self._counts.get(one, 0) + times

    def _kept_event(self, event: str) -> str:
        if event not in self._events:
            if not _keepable(event) or len(self._events) >= MOST_EVENTS:
                return OTHER
            self._events.add(event)
        return event

    def _kept_property(self, event: str, name: str) -> str:
        names = self._properties.setdefault(event, set())
        if name not in names:
            if not _keepable(name) or len(names) >= MOST_PROPERTIES:
                return OTHER
            names.add(name)
        return name

    def due(self, now: datetime) -> bool:
        """Whether it is time to write. (A clock that was set back is no reason to wait.)"""
        return self._written is None or abs(now - self._written) >= EVERY

    def write(self, database: Database, now: datetime) -> None:
        """Add what was gathered to the table. A failure is logged and costs nothing: it is kept for the next time."""
        with self._writing:
            self._written = now
            with self._lock:
                self._take_apart()
                counts, self._counts = self._counts, {}
            # In one order everywhere: two processes must not wait for each other's rows.
            ordered = sorted(counts.items())
            done = 0
            try:
                while done < len(ordered):
                    part = ordered[done : done + PORTION]
                    _upsert(database, part, now)
                    done += len(part)
            except Exception as error:
                log.warning("what was seen could not be counted: %s", type(error).__name__)
                with self._lock:
                    for one, n in ordered[done:]:
                        self._counts[one] = self._counts.get(one, 0) + n

    def remember(self, database: Database, declared: Mapping[str, Any]) -> None:
        """Read which names are kept already, so that the bounds hold over restarts. `declared`: the project's
        events."""
        with database.read() as connection:
            rows = connection.execute(select(sighting.c.event, sighting.c.property).distinct()).all()
        with self._lock:
            self._events |= {event for event, _ in rows} - {*declared, CUSTOMERS, OTHER}
            for event, name in rows:
                if name not in (ITSELF, OTHER):
                    self._properties.setdefault(event, set()).add(name)


@cache
def kind_of(class_: type) -> str:
    """What values of this class are in JSON."""
    if issubclass(class_, bool):
        return "boolean"
    if issubclass(class_, int | float):
        return "number"
    if issubclass(class_, Mapping):
        return "object"
    return "list" if issubclass(class_, list | tuple) else "text"


def _keepable(name: str) -> bool:
    return 0 < len(name) <= LONGEST and name.isprintable()


def _upsert(database: Database, part: list[tuple[Sight, int]], now: datetime) -> None:
    rows = [{**one._asdict(), "count": n, "first_at": now, "last_at": now} for one, n in part]
    with database.write() as connection:
        add = insert_into(connection, sighting)
        new = add.excluded
        last = case((new.last_at > sighting.c.last_at, new.last_at), else_=sighting.c.last_at)
        values = {"count": sighting.c.count + new.count, "last_at": last}
        keys = ["event", "property", "kind", "wrong"]
        connection.execute(add.on_conflict_do_update(index_elements=keys, set_=values), rows)
