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

PORTION = 500
"""Rows a transaction: on SQLite nobody else writes meanwhile."""


class Sight(NamedTuple):
    """What is counted together. `kind`: of the JSON value as it was sent; '' of an event itself."""

    event: str
    property: str
    kind: str
    wrong: bool


class Sightings:
    """Gathers, from any number of threads. One for each process that has a door."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: dict[Sight, int] = {}
        self._events: set[str] = set()
        self._properties: dict[str, set[str]] = {}
        self._written: datetime | None = None

    def event(self, name: str, values: Mapping[str, Any], wrong: Iterable[str], known: Vocabulary) -> None:
        """An event came with these properties, of which some are of another type than declared."""
        shape = known.events.get(name)
        self._add(name, values, wrong, None if shape is None else shape.properties, itself=True)

    def customer(self, values: Mapping[str, Any], wrong: Iterable[str], known: Mapping[str, Any]) -> None:
        """A customer was described. `known`: what a customer can have."""
        self._add(CUSTOMERS, values, wrong, known, itself=False)

    def _add(
        self,
        event: str,
        values: Mapping[str, Any],
        wrong: Iterable[str],
        declared: Mapping[str, Any] | None,
        *,
        itself: bool,
    ) -> None:
        bad = {*wrong}
        with self._lock:
            if declared is None:
                event = self._kept_event(event)
            counts = self._counts
            if itself:
                one = Sight(event, ITSELF, "", False)
                counts[one] = counts.get(one, 0) + 1
            for name, value in values.items():
                if value is None:
                    continue
                kept = name if declared is not None and name in declared else self._kept_property(event, name)
                one = Sight(event, kept, kind_of(value), name in bad)
                counts[one] = counts.get(one, 0) + 1

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


def kind_of(value: Any) -> str:
    """What a value is in JSON."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, list | tuple) else "text"


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
