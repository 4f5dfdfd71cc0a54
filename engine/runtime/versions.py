"""Published versions: writing one, and loading those that may still have something to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, func, insert, or_, select, text, update

from engine.cohort.program import Program
from engine.language.content import Content, journey_file, load_journey_source
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.runtime.entry import enter
from engine.store.scratch import insert_into
from engine.store.tables import IN_JOURNEY, enrolment, journey_version, mark
from triggers.segment import SegmentTrigger

LIVE, RETIRED, STOPPED = "live", "retired", "stopped"
PUBLISHED = "published"
GOALS_STAY_OPEN = timedelta(days=366)
"""So long after an entry its version is still loaded for its goal; the goal's own window is asked when an event comes.
"""


@dataclass(frozen=True)
class Published:
    """What publishing a journey did. `in_flight`: customers inside it now, who stay on the version they entered."""

    journey: str
    number: int
    changed: bool
    in_flight: int


def digest(content: Content, journey: str) -> str:
    """Of what the journey says: comments and layout don't make a version."""
    said = json.dumps(content.documents[journey_file(journey)].data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()


def publish(connection: Connection, content: Content, names: list[str], now: datetime) -> list[Published]:
    """Make these journeys of the content live, those that changed as new versions. One publish at a time."""
    _bump(connection)
    results = []
    for name in names:
        latest = connection.execute(
            select(journey_version).where(journey_version.c.journey == name).order_by(journey_version.c.number.desc())
        ).first()
        inside = select(func.count()).where(enrolment.c.journey == name, IN_JOURNEY)
        in_flight = connection.execute(inside).scalar_one()
        mine = digest(content, name)
        if latest is not None and latest.digest == mine and latest.state == LIVE:
            results.append(Published(name, latest.number, False, in_flight))
            continue
        retire = update(journey_version).where(
            journey_version.c.journey == name, journey_version.c.state.in_((LIVE, STOPPED))
        )
        connection.execute(retire.values(state=RETIRED))
        number = 1 if latest is None else latest.number + 1
        row = insert(journey_version).values(
            journey=name, number=number, digest=mine, source=content.sources[name], state=LIVE, published_at=now
        )
        connection.execute(row)
        results.append(Published(name, number, True, in_flight))
    return results


def _bump(connection: Connection) -> None:
    """Count the publish: what a journey speaks of (segments, the project, templates) may be new where no version is,
    and every running engine is to read it anew."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(text("hashtext('karibu.publish')"))))
    count = connection.scalar(select(mark.c.value).where(mark.c.name == PUBLISHED)) or {"times": 0}
    add = insert_into(connection, mark).values(name=PUBLISHED, value={"times": count["times"] + 1})
    connection.execute(add.on_conflict_do_update(index_elements=["name"], set_={"value": add.excluded.value}))


def let_members_in(
    connection: Connection, programs: Mapping[int, Program], published: list[Published], now: datetime
) -> None:
    """`members: now`: those who are in the segment when the journey is published enter with it."""
    fresh = {(one.journey, one.number) for one in published if one.changed}
    for program in programs.values():
        rule = program.journey.enter
        if (program.name, program.number) in fresh and isinstance(rule, SegmentTrigger) and rule.members == "now":
            enter(connection, program, rule.named(), now)


def stop(connection: Connection, journey: str) -> int:
    """Take no more entries, and move nobody who is inside. Returns how many versions that concerned."""
    rows = update(journey_version).where(
        journey_version.c.journey == journey, journey_version.c.state.in_((LIVE, RETIRED))
    )
    return connection.execute(rows.values(state=STOPPED)).rowcount


# Made once: they are asked for with each batch of events.
_TIMES = select(mark.c.value).where(mark.c.name == PUBLISHED)
_STATES = (
    select(journey_version.c.state, func.count(), func.max(journey_version.c.id))
    .group_by(journey_version.c.state)
    .order_by("state")
)


def fingerprint(connection: Connection) -> tuple[object, ...]:
    """Changes whenever something is published or stopped."""
    count = connection.scalar(_TIMES) or {}
    states = connection.execute(_STATES)
    return (count.get("times"), *(tuple(row) for row in states))


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
        journey = load_journey_source(row.source, registry, f"{journey_file(row.journey)}@{row.number}")
        programs[row.id] = Program(
            row.id, row.number, row.state, journey, Graph.of(journey), content.project, content.vocabulary
        )
    return programs
