"""Published versions: writing one, and loading those that may still have something to do."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, func, insert, or_, select, update

from engine.cohort.program import Program
from engine.language.content import Content, journey_file, load_journey_source
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.runtime.matching import let_in
from engine.store import published
from engine.store.tables import IN_JOURNEY, enrolment, journey_version
from triggers.segment import SegmentTrigger

log = logging.getLogger("karibu.runtime")

LIVE, RETIRED, STOPPED = "live", "retired", "stopped"
GOALS_STAY_OPEN = timedelta(days=366)
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
        inside = select(func.count()).where(enrolment.c.journey == name, IN_JOURNEY)
        in_flight = connection.execute(inside).scalar_one()
        mine = digest(content, name)
        same = latest if latest is not None and latest.digest == mine else None
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
            journey=name, number=number, digest=mine, source=content.sources[name], state=LIVE, published_at=now
        )
        connection.execute(row)
        results.append(Published(name, number, True, in_flight))
    return results


def let_members_in(
    connection: Connection, programs: Mapping[int, Program], done: list[Published], now: datetime
) -> None:
    """`members: now`: those who are in the segment when the journey is published enter with it, also those who joined
    while it was stopped. A join lets nobody in twice."""
    fresh = {(one.journey, one.number) for one in done if one.changed or one.resumed}
    for program in programs.values():
        rule = program.journey.enter
        if (program.name, program.number) in fresh and isinstance(rule, SegmentTrigger) and rule.members == "now":
            let_in(connection, program, rule.named(), now)


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


def load(connection: Connection, content: Content, registry: Registry, now: datetime) -> dict[int, Program]:
    """Programs by version id, live ones first, each journey's newest first: what takes entries, and what has customers
    inside or goals still open."""
    mine = enrolment.c.version_id == journey_version.c.id
    inside = exists().where(mine, IN_JOURNEY)
    measured = exists().where(mine, enrolment.c.entered_at > now - GOALS_STAY_OPEN)
    later = journey_version.alias("later")
    number, newest = journey_version.c.number, select(func.max(later.c.number))
    just_retired = number == newest.where(later.c.journey == journey_version.c.journey).scalar_subquery() - 1
    wanted = or_(journey_version.c.state == LIVE, just_retired, inside, measured)
    rows = connection.execute(
        select(journey_version).where(wanted).order_by(journey_version.c.journey, journey_version.c.number.desc())
    )
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
