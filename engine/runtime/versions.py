"""Published versions: writing one, and loading those that may still have something to do."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, exists, func, insert, not_, or_, select, update

from engine.cohort.program import Program
from engine.language.content import Content, journey_file, load_journey_source
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.journey import LONGEST_GOAL
from engine.language.registry import Registry
from engine.runtime import admission
from engine.store import published
from engine.store.tables import IN_JOURNEY, enrolment, journey_version
from triggers.segment import SegmentTrigger

log = logging.getLogger("karibu.runtime")

LIVE, RETIRED, STOPPED = "live", "retired", "stopped"
GOALS_STAY_OPEN = LONGEST_GOAL + timedelta(days=1)
"""So long after an entry its version is still loaded for its goal; the goal's own window is asked when an event comes.
"""


@dataclass(frozen=True)
class Published:
    """What publishing a journey did: a new version (`changed`), the stopped one live again (`resumed`), or nothing.
    `in_flight`: customers inside it now, who stay on the version they entered."""

    journey: str
    number: int
    changed: bool
    in_flight: int
    resumed: bool = False


def digest(content: Content, journey: str) -> str:
    """Of what the journey says: comments and layout don't make a version."""
    said = json.dumps(content.documents[journey_file(journey)].data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()


def publish(connection: Connection, content: Content, names: list[str], now: datetime) -> list[Published]:
    """Make these journeys of the content live: those that changed as new versions, a stopped one that didn't as the
    version it was. After `published.count`."""
    results = []
    for name in names:
        latest = connection.execute(
            select(journey_version).where(journey_version.c.journey == name).order_by(journey_version.c.number.desc())
        ).first()
        mine = select(journey_version.c.id).where(journey_version.c.journey == name)
        inside = select(func.count()).where(enrolment.c.version_id.in_(mine), IN_JOURNEY)
        in_flight = connection.execute(inside).scalar_one()
        said = digest(content, name)
        same = latest if latest is not None and latest.digest == said else None
        if same is not None and same.state == LIVE:
            results.append(Published(name, same.number, False, in_flight))
            continue
        retire = update(journey_version).where(
            journey_version.c.journey == name, journey_version.c.state.in_((LIVE, STOPPED))
        )
        connection.execute(retire.values(state=RETIRED))
        if same is not None:
            again = update(journey_version).where(journey_version.c.id == same.id)
            connection.execute(again.values(state=LIVE))
            results.append(Published(name, same.number, False, in_flight, resumed=True))
            continue
        number = 1 if latest is None else latest.number + 1
        row = insert(journey_version).values(
            journey=name, number=number, digest=said, source=content.sources[name], state=LIVE, published_at=now
        )
        connection.execute(row)
        results.append(Published(name, number, True, in_flight))
    return results


def let_members_in(connection: Connection, programs: Mapping[int, Program], done: list[Published]) -> None:
    """`members: now`: those who are in the segment when the journey is published are to enter with it, also those who
    joined while it was stopped. A join lets nobody in twice."""
    fresh = {(one.journey, one.number) for one in done if one.changed or one.resumed}
    for program in programs.values():
        rule = program.journey.enter
        if (program.name, program.number) in fresh and isinstance(rule, SegmentTrigger) and rule.members == "now":
            admission.begin(connection, program, [None])


def stop(connection: Connection, journey: str) -> int:
    """Take no more entries, and move nobody who is inside. Returns how many versions that concerned."""
    rows = update(journey_version).where(
        journey_version.c.journey == journey, journey_version.c.state.in_((LIVE, RETIRED))
    )
    return connection.execute(rows.values(state=STOPPED)).rowcount


# Made once: they are asked for with each batch of events.
_STATES = (
    select(journey_version.c.state, func.count(), func.max(journey_version.c.id))
    .group_by(journey_version.c.state)
    .order_by("state")
)


def fingerprint(connection: Connection) -> tuple[object, ...]:
    """Changes whenever something is published or stopped."""
    states = connection.execute(_STATES)
    return (published.times(connection), *(tuple(row) for row in states))


def somebody_inside() -> ColumnElement[bool]:
    """Whether a version of `journey_version` has customers inside. The first in the order of its index is asked for:
    asked whether there is one, PostgreSQL expects to find one soon in the table itself, and scans it where it
    doesn't."""
    mine = select(enrolment.c.id).where(enrolment.c.version_id == journey_version.c.id, IN_JOURNEY)
    return mine.order_by(enrolment.c.step, enrolment.c.due_at).limit(1).scalar_subquery().is_not(None)


def load(connection: Connection, content: Content, registry: Registry, now: datetime) -> dict[int, Program]:
    """Programs by version id, live ones first, each journey's newest first: what takes entries, and what has customers
    inside or goals still open."""
    version, later = journey_version.c, journey_version.alias("later").c
    admits = {one.version_id for admissions in admission.under_way(connection).values() for one in admissions}
    # Nobody enters a version long after its successor came out, so that tells how old its youngest enrolment is at
    # least. To ask the enrolments would be to scan them all: those that have ended stand in no index by version.
    over = exists().where(
        later.journey == version.journey,
        later.number == version.number + 1,
        later.published_at <= now - GOALS_STAY_OPEN,
    )
    newest = select(func.max(later.number)).where(later.journey == version.journey).scalar_subquery()
    just_retired = version.number == newest - 1
    wanted = or_(version.state == LIVE, just_retired, not_(over), version.id.in_(sorted(admits)), somebody_inside())
    rows = connection.execute(select(journey_version).where(wanted).order_by(version.journey, version.number.desc()))
    programs = {}
    for row in rows:
        try:
            journey = load_journey_source(row.source, registry, f"{journey_file(row.journey)}@{row.number}")
        except ContentError as error:
            log.error("version %s of %s can't be read any more and stands still: %s", row.number, row.journey, error)
            continue
        programs[row.id] = Program(
            row.id, row.number, row.state, journey, Graph.of(journey), content.project, content.vocabulary
        )
    return programs
