"""How the journeys stand: versions, who is inside, what was sent and what was stopped, goals, and what comes next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, not_, select

from engine.cohort.fires import Timed
from engine.cohort.gate import HOLDS, TEAM
from engine.cohort.program import Program
from engine.language.content import Content, load_journey_source
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.runtime import kept
from engine.runtime.broadcasts import Watched, watched
from engine.runtime.explain import goal_kind
from engine.runtime.outlived import outlived
from engine.runtime.parking import GIVEN_UP
from engine.runtime.pausing import Pause, pauses
from engine.runtime.versions import LIVE, STOPPED, digest
from engine.segments.membership import segments_of, whole_because
from engine.steps.call import ROUTE
from engine.store.local_time import loaded_zones
from engine.store.tables import (
    IN_JOURNEY,
    NO_CHILD,
    candidate,
    customer,
    enrolment,
    event,
    goal_reached,
    journey_version,
    message,
    message_event,
    parked,
    refusal,
    segment_member,
    segment_state,
)

UNPUBLISHED, GONE = "unpublished", "gone"


@dataclass(frozen=True)
class JourneyStatus:
    """One journey, all its versions together.

    `state`: live, stopped, unpublished (only a file), gone (only in the database). `changed`: the file says something
    else than the newest version. `stopped`: messages not sent, by reason; `refused`: not let in, by reason. `value` is
    minor units where `money`. `came_back`: how many messages were delivered, opened, … by what was told of them.
    `next_fire`: when a date or schedule goes off; `next_due`: when the first wait ends.
    `held`: messages that wait for quiet hours to end or for room under a cap, by reason; `held_until`: when the first
    of them is due. `watched`: by step, the messages that wait for the first slice of a broadcast.
    `parked`: events that could not be matched with it and are tried again; `given_up`: those that no longer are.
    `stuck`: the first word that the files no longer know, by version.
    """

    journey: str
    title: str | None
    version: int | None
    state: str
    changed: bool = False
    inside: int = 0
    inside_by_version: Mapping[int, int] = field(default_factory=dict)
    entered: int = 0
    held_out: int = 0
    at_the_door: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    sent: int = 0
    queued: int = 0
    stopped: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    held_until: datetime | None = None
    watched: Mapping[str, Watched] = field(default_factory=dict)
    in_doubt: int = 0
    came_back: Mapping[str, int] = field(default_factory=dict)
    goals: int = 0
    value: float | None = None
    money: bool = False
    parked: int = 0
    given_up: int = 0
    next_fire: datetime | None = None
    next_due: datetime | None = None
    stuck: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """The whole project. `kept`: webhooks that are no events, by source. `paused`: of which journeys (ALL: of all)
    nothing is sent."""

    customers: int
    events: int
    journeys: tuple[JourneyStatus, ...]
    kept: Mapping[str, int] = field(default_factory=dict)
    paused: Mapping[str, Pause] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentStatus:
    """One segment. `members`: None before its first filling; `whole_because`: why it is judged whole, on a slower
    beat.
    """

    segment: str
    title: str | None
    when: str
    members: int | None
    ever: int
    seen_at: datetime | None
    whole_because: str | None


def status(
    connection: Connection, content: Content, registry: Registry, now: datetime, journeys: Iterable[str] | None = None
) -> Status:
    """How these journeys stand (default: all that are in the files or in the database)."""
    versions = connection.execute(select(journey_version).order_by(journey_version.c.number)).all()
    newest = {row.journey: row for row in versions}
    journey_of = {row.id: row.journey for row in versions}
    number_of = {row.id: row.number for row in versions}
    chosen = sorted({*content.journeys, *newest} if journeys is None else journeys)

    entered, held, inside = Counter[str](), Counter[str](), Counter[tuple[str, int]]()
    due: dict[str, datetime] = {}
    live = case((and_(IN_JOURNEY, NO_CHILD), 1))
    waits = case((enrolment.c.state.in_(("waiting", "listening")), enrolment.c.due_at))
    for row in connection.execute(
        select(
            enrolment.c.version_id,
            func.count(case((NO_CHILD, 1))).label("entered"),
            func.count(case((enrolment.c.outcome == "held_out", 1))).label("held_out"),
            func.count(live).label("inside"),
            func.min(waits, type_=enrolment.c.due_at.type).label("due"),
        ).group_by(enrolment.c.version_id)
    ):
        name = journey_of[row.version_id]
        entered[name] += row.entered - row.held_out
        held[name] += row.held_out
        if row.inside:
            inside[name, number_of[row.version_id]] += row.inside
        if row.due is not None:
            due[name] = min(row.due, due.get(name, row.due))

    sent: dict[str, Counter[str]] = {name: Counter() for name in chosen}
    stopped: dict[str, Counter[str]] = {name: Counter() for name in chosen}
    holds: dict[str, Counter[str]] = {name: Counter() for name in chosen}
    until: dict[str, datetime] = {}
    first = func.min(message.c.due_at, type_=message.c.due_at.type)
    for version_id, state, reason, n, due_at in connection.execute(
        select(message.c.version_id, message.c.state, message.c.reason, func.count(), first)
        .where(message.c.route.not_in((TEAM, ROUTE)))
        .group_by(message.c.version_id, message.c.state, message.c.reason)
    ):
        name = journey_of[version_id]
        if name in sent:
            sent[name][state] += n
            if state in ("stopped", "refused"):
                stopped[name][reason or state] += n
            if state == "queued" and reason in HOLDS:
                holds[name][reason] += n
                until[name] = min(due_at, until.get(name, due_at))
    for name, reason, n in _not_queued(connection):
        if name in stopped:
            stopped[name][reason] += n

    back: dict[str, dict[str, int]] = {}
    for version_id, kind, n in connection.execute(_came_back()):
        of = back.setdefault(journey_of[version_id], {})
        of[kind] = of.get(kind, 0) + n
    doors = _count(connection, candidate.c.journey)
    parks = _count(connection, parked.c.journey, not_(GIVEN_UP))
    lost = _count(connection, parked.c.journey, GIVEN_UP)
    turned: dict[str, Counter[str]] = {name: Counter() for name in chosen}
    for name, reason, n in connection.execute(
        select(refusal.c.journey, refusal.c.reason, func.count()).group_by(refusal.c.journey, refusal.c.reason)
    ):
        if name in turned:
            turned[name][reason] += n
    goals = {
        name: (n, value)
        for name, n, value in connection.execute(
            select(enrolment.c.journey, func.count(), func.sum(goal_reached.c.value))
            .join(enrolment, enrolment.c.id == goal_reached.c.enrolment_id)
            .group_by(enrolment.c.journey)
        )
    }
    stuck = outlived(connection, content, registry)
    zones, slices = [*loaded_zones(connection)], watched(connection)
    found = []
    for name in chosen:
        latest = newest.get(name)
        program = _program(latest, content, registry) if latest is not None else None
        journey = content.journeys.get(name) or (program.journey if program else None)
        reached, value = goals.get(name, (0, None))
        found.append(
            JourneyStatus(
                journey=name,
                title=journey.title if journey else None,
                version=latest.number if latest is not None else None,
                state=_state(latest, name in content.journeys),
                changed=latest is not None and name in content.journeys and digest(content, name) != latest.digest,
                inside=sum(n for (of, _), n in inside.items() if of == name),
                inside_by_version={number: n for (of, number), n in sorted(inside.items()) if of == name},
                entered=entered[name],
                held_out=held[name],
                at_the_door=doors.get(name, 0),
                refused=dict(sorted(turned[name].items())),
                sent=sent[name]["accepted"],
                queued=sum(sent[name][state] for state in ("queued", "claimed", "dispatching")) - holds[name].total(),
                stopped=dict(sorted(stopped[name].items())),
                held=dict(sorted(holds[name].items())),
                held_until=until.get(name),
                watched={step: one for (version, step), one in sorted(slices.items()) if journey_of[version] == name},
                in_doubt=sent[name]["in_doubt"],
                came_back=dict(sorted(back.get(name, {}).items())),
                goals=reached,
                value=value,
                money=_in_money(program),
                parked=parks.get(name, 0),
                given_up=lost.get(name, 0),
                next_fire=_next_fire(program, now, zones),
                next_due=due.get(name),
                stuck={number: problems[0].message for (of, number), problems in stuck.items() if of == name},
            )
        )
    return Status(
        connection.scalar(select(func.count()).select_from(customer)) or 0,
        connection.scalar(select(func.count()).select_from(event)) or 0,
        tuple(found),
        kept.counts(connection),
        pauses(connection),
    )


def _came_back() -> Select[int, str, int]:
    """(version, kind, how many messages) of what came back."""
    return (
        select(message.c.version_id, message_event.c.kind, func.count(message_event.c.message_id.distinct()))
        .join(message, message.c.id == message_event.c.message_id)
        .group_by(message.c.version_id, message_event.c.kind)
    )


def _not_queued(connection: Connection) -> Iterable[tuple[str, str, int]]:
    """(journey, reason, how many) of those whom the gate stopped before a message was queued."""
    from engine.store.tables import decision

    here = (decision.c.enrolment_id == enrolment.c.id, decision.c.outcome == "not_sent")
    queued = (
        select(message.c.id)
        .where(message.c.enrolment_id == decision.c.enrolment_id, message.c.visit == decision.c.visit)
        .exists()
    )
    rows = (
        select(enrolment.c.journey, decision.c.reason, func.count())
        .select_from(enrolment.join(decision, here[0]))
        .where(here[1], ~queued)
        .group_by(enrolment.c.journey, decision.c.reason)
    )
    for journey, reason, n in connection.execute(rows):
        yield journey, reason or "unknown", n


def _count(connection: Connection, column: ColumnElement[Any], *where: ColumnElement[bool]) -> dict[str, int]:
    rows = connection.execute(select(column, func.count()).where(*where).group_by(column))
    return {row[0]: row[1] for row in rows}


def _state(row: Any, written: bool) -> str:
    if row is None:
        return UNPUBLISHED
    if row.state == STOPPED:
        return STOPPED
    return LIVE if written else GONE


def _program(row: Any, content: Content, registry: Registry) -> Program | None:
    try:
        journey = load_journey_source(row.source, registry, f"{row.journey}@{row.number}")
    except ContentError:
        return None
    return Program(row.id, row.number, row.state, journey, Graph.of(journey), content.project, content.vocabulary)


def _in_money(program: Program | None) -> bool:
    if program is None or program.journey.goal is None or program.journey.goal.value is None:
        return False
    return bool(goal_kind(program) == "money")


def _next_fire(program: Program | None, now: datetime, zones: list[str]) -> datetime | None:
    if program is None or not program.takes_entries or not isinstance(program.journey.enter, Timed):
        return None
    return program.journey.enter.next_fire(now, zones, program.project.brand.timezone)


def segment_status(connection: Connection, content: Content) -> tuple[SegmentStatus, ...]:
    """The project's segments, as they were at the last look."""
    counts = {
        name: (n, ever)
        for name, n, ever in connection.execute(
            select(
                segment_member.c.segment,
                func.count(case((segment_member.c.left_at.is_(None), 1))),
                func.count(),
            ).group_by(segment_member.c.segment)
        )
    }
    states = {row.segment: row for row in connection.execute(select(segment_state))}
    because = {segment.name: whole_because(segment) for segment in segments_of(content)}
    found = []
    for name, segment in sorted(content.segments.items()):
        n, ever = counts.get(name, (0, 0))
        state = states.get(name)
        seen = state.seen_at if state is not None else None
        found.append(
            SegmentStatus(
                name, segment.title, segment.when, n if seen is not None else None, ever, seen, because.get(name)
            )
        )
    return tuple(found)
