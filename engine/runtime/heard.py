"""What was heard of each event: how often, from how many customers, with which properties, and what never came.

The numbers of an event are those of the tally, so they are exact. Those of its properties are sightings at the door,
since the project's tables count them: what was sent twice was seen twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, func, select

from engine.language.project import Project
from engine.language.types import Type
from engine.language.vocabulary import BUILT_IN, Vocabulary
from engine.runtime.merging import EVENT as MERGE
from engine.runtime.sightings import CUSTOMERS, ITSELF
from engine.store.tables import sighting, tally
from engine.store.types import Instant

_COUNT, _LAST = sighting.c["count"], sighting.c.last_at


@dataclass(frozen=True)
class PropertyHeard:
    """A property. `declared`: its type in project.yaml; `kinds`: JSON value → how often; `wrong`: those of them that
    are no value of that type, so that no expression sees them. `last_at`: None when it never came."""

    property: str
    declared: str | None
    kinds: Mapping[str, int] = field(default_factory=dict)
    wrong: Mapping[str, int] = field(default_factory=dict)
    last_at: datetime | None = None


@dataclass(frozen=True)
class EventHeard:
    """An event. `declared`: project.yaml names it, or it is the engine's own. `times` and `customers` count what was
    accepted, `seen` what came to the door; `last_at` is when the last one happened, `seen_at` when one came last."""

    event: str
    declared: bool
    times: int
    customers: int
    last_at: datetime | None
    seen: int
    seen_at: datetime | None
    properties: tuple[PropertyHeard, ...] = ()

    @property
    def never(self) -> bool:
        """Declared, and it has never come."""
        return not self.times and not self.seen


@dataclass(frozen=True)
class Wrong:
    """Values of one property that are of another type than declared. `event` '': an attribute of the customers."""

    event: str
    property: str
    declared: str
    kind: str
    count: int
    last_at: datetime


def heard(
    connection: Connection, project: Project, vocabulary: Vocabulary
) -> tuple[tuple[EventHeard, ...], tuple[PropertyHeard, ...]]:
    """The events, declared ones first, each with its properties; and the customers' attributes."""
    tallied = {
        name: (times, customers, last)
        for name, times, customers, last in connection.execute(
            select(
                tally.c.name, func.sum(tally.c.count), func.count(), func.max(tally.c.last_at, type_=Instant())
            ).group_by(tally.c.name)
        )
    }
    seen: dict[str, dict[str, list[tuple[str, bool, int, datetime]]]] = {}
    rows = select(sighting.c.event, sighting.c.property, sighting.c.kind, sighting.c.wrong, _COUNT, _LAST)
    for event, name, kind, wrong, n, at in connection.execute(rows.order_by(sighting.c.kind, sighting.c.wrong)):
        seen.setdefault(event, {}).setdefault(name, []).append((kind, wrong, n, at))
    strange = sorted({*tallied, *seen} - {*project.events, CUSTOMERS})
    found = []
    for name in [*project.events, *strange]:
        times, customers, last = tallied.get(name, (0, 0, None))
        mine = seen.get(name, {})
        itself = mine.get(ITSELF, [])
        shape = vocabulary.events.get(name)
        found.append(
            EventHeard(
                name,
                shape is not None or (name == MERGE and not mine),  # ours, unless a sender has one of the same name
                int(times),
                customers,
                last,
                sum(n for _, _, n, _ in itself),
                max((at for *_, at in itself), default=None),
                _properties({} if shape is None else shape.properties, mine),
            )
        )
    declared = {**vocabulary.attributes, **{n: t for n, t in BUILT_IN.items() if n in seen.get(CUSTOMERS, {})}}
    return tuple(found), _properties(declared, seen.get(CUSTOMERS, {}))


def _properties(
    declared: Mapping[str, Type], seen: Mapping[str, list[tuple[str, bool, int, datetime]]]
) -> tuple[PropertyHeard, ...]:
    found = []
    for name in [*declared, *sorted(seen.keys() - declared.keys() - {ITSELF})]:
        kinds: dict[str, int] = {}
        wrong: dict[str, int] = {}
        for kind, bad, n, _ in seen.get(name, []):
            kinds[kind] = kinds.get(kind, 0) + n
            if bad:
                wrong[kind] = n
        last = max((at for *_, at in seen.get(name, [])), default=None)
        type_ = declared.get(name)
        found.append(PropertyHeard(name, None if type_ is None else str(type_), kinds, wrong, last))
    return tuple(found)


def wrong_types(connection: Connection, vocabulary: Vocabulary) -> tuple[Wrong, ...]:
    """All that came in another type than project.yaml declares now, the most frequent first."""
    rows = (
        select(sighting.c.event, sighting.c.property, sighting.c.kind, _COUNT, _LAST)
        .where(sighting.c.wrong)
        .order_by(sighting.c.count.desc(), sighting.c.event, sighting.c.property, sighting.c.kind)
    )
    found = []
    for event, name, kind, n, at in connection.execute(rows):
        shape = vocabulary.events.get(event)
        known = vocabulary.customer if event == CUSTOMERS else {} if shape is None else shape.properties
        if name in known:  # else project.yaml doesn't speak of it any more
            found.append(Wrong(event, name, str(known[name]), kind, n, at))
    return tuple(found)
