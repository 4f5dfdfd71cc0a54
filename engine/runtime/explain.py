"""Why something happened to a customer, or did not: their decisions in words, from the rows that decisions leave (law
5).

For a journey they were never in: who says why. What the door recorded of them (`refusal`) is told with the values it
saw; where the trigger never named them, its condition is judged for this one customer now, part by part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, select

from engine.cohort.cohort import entry_event
from engine.cohort.gate import HOLDS
from engine.cohort.program import Program
from engine.language.content import Content, journey_file, load_journey_source
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.runtime.agreed import Word, history
from engine.runtime.decisions import Told, told
from engine.runtime.doubted import is_later
from engine.runtime.identity import known
from engine.runtime.whynot import never_entered, refused
from engine.runtime.words import Words, held
from engine.store.tables import (
    candidate,
    customer,
    decision,
    enrolment,
    event,
    goal_reached,
    journey_version,
    message,
    message_event,
    refusal,
)
from engine.store.types import moment
from engine.store.zones import names as zone_names

BY_MACHINES = {"machine_opened": "a machine opened", "machine_clicked": "a machine clicked in"}


class UnknownCustomer(Exception):
    """Nobody has this id or e-mail address."""


@dataclass(frozen=True)
class Line:
    """One thing that happened: when (`local`: on their own clock), in words, and as codes. `seen`: the values it
    looked at,
    by the text of each."""

    at: datetime
    local: str
    words: str
    step: str | None
    kind: str
    outcome: str
    reason: str | None
    seen: Mapping[str, Any] = field(default_factory=dict)
    aside: bool = False  # says nothing that the line before it didn't


@dataclass(frozen=True)
class Way:
    """One enrolment: `state` in words says where they are, or how it ended."""

    version: int
    key: str
    state: str
    entered_at: datetime
    ended_at: datetime | None
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Story:
    """A customer and one journey. `not_in`: why they are not in it, where they never were; `refused`: when they
    weren't let in.
    """

    journey: str
    title: str | None
    ways: tuple[Way, ...]
    refused: tuple[Line, ...]
    not_in: str | None


@dataclass(frozen=True)
class Agreed:
    """A word of theirs about a topic on a channel; `local`: when, on their own clock."""

    local: str
    word: Word


@dataclass(frozen=True)
class Explained:
    """A customer's stories, those of journeys they were in first. `zone` is the clock of every time in words;
    `agreed`: what they have said of messages, where all journeys are told."""

    customer: str
    name: str
    zone: str
    stories: tuple[Story, ...]
    agreed: tuple[Agreed, ...] = ()


def explain(
    connection: Connection,
    content: Content,
    registry: Registry,
    who: str,
    now: datetime,
    journeys: Sequence[str] | None = None,
) -> Explained:
    """What happened to one customer (by id, or e-mail address) in these journeys (default: all). Raises
    UnknownCustomer.
    """
    row = find(connection, who)
    own = row.timezone if row.timezone in zone_names() else content.project.brand.timezone
    words = Words(ZoneInfo(own), content.project.brand.currency, content.vocabulary.digits)
    programs = _programs(connection, content, registry, row.id, journeys)
    chosen = (
        list(journeys) if journeys is not None else sorted({*content.journeys, *(p.name for p in programs.values())})
    )
    stories = [_story(connection, content, programs, row, name, words, now) for name in chosen]
    stories.sort(key=lambda story: not story.ways)
    said = history(connection, row.id) if journeys is None else {}
    agreed = tuple(Agreed(words.time(word.at), word) for pair in sorted(said) for word in said[pair])
    name = " ".join(filter(None, (row.first_name, row.last_name)))
    return Explained(row.external_id, name, own, tuple(stories), agreed)


def find(connection: Connection, who: str) -> Row[Any]:
    """The customer of this id (which may have been merged away), else of this e-mail address. Raises
    UnknownCustomer."""
    for mine in (customer.c.id == known(connection, [who]).get(who), customer.c.email == who):
        row = connection.execute(select(customer).where(mine).order_by(customer.c.id).limit(1)).first()
        if row is not None:
            return row
    raise UnknownCustomer(who)


def _programs(
    connection: Connection, content: Content, registry: Registry, customer_id: int, journeys: Sequence[str] | None
) -> dict[int, Program]:
    """The versions this customer was in or named by, and the newest one of each journey, by id."""
    theirs = select(enrolment.c.version_id).where(enrolment.c.customer_id == customer_id)
    rows = connection.execute(select(journey_version).order_by(journey_version.c.number.desc())).all()
    # By journey, too: only so does the key of the table serve it.
    known = sorted({row.journey for row in rows})
    named = select(refusal.c.version_id).where(refusal.c.journey.in_(known), refusal.c.customer_id == customer_id)
    wanted = {*connection.scalars(theirs), *connection.scalars(named)}
    newest: set[str] = set()
    programs = {}
    for row in rows:
        if (journeys is not None and row.journey not in journeys) or (row.journey in newest and row.id not in wanted):
            continue
        newest.add(row.journey)
        try:
            journey = load_journey_source(row.source, registry, f"{journey_file(row.journey)}@{row.number}")
        except ContentError:  # an older program's words; its rows are told as they are
            continue
        programs[row.id] = Program(
            row.id, row.number, row.state, journey, Graph.of(journey), content.project, content.vocabulary
        )
    return programs


def _story(
    connection: Connection,
    content: Content,
    programs: Mapping[int, Program],
    who: Row[Any],
    name: str,
    words: Words,
    now: datetime,
) -> Story:
    newest = max((p for p in programs.values() if p.name == name), key=lambda p: p.number, default=None)
    rows = connection.execute(
        select(enrolment, journey_version.c.number)
        .join(journey_version, journey_version.c.id == enrolment.c.version_id)
        .where(enrolment.c.customer_id == who.id, enrolment.c.journey == name)
        .order_by(enrolment.c.entered_at, enrolment.c.id)
    ).all()
    ways = tuple(_way(connection, programs.get(row.version_id), row, words) for row in rows)
    refusals = connection.execute(
        select(refusal)
        .where(refusal.c.customer_id == who.id, refusal.c.journey == name)
        .order_by(refusal.c.at.desc(), refusal.c.cause)
        .limit(5)
    ).all()
    said = [
        Line(
            row.at,
            words.time(row.at),
            refused(connection, programs.get(row.version_id), row, words),
            None,
            "refused",
            "refused",
            row.reason,
            row.detail or {},
        )
        for row in reversed(refusals)
    ]
    not_in = None
    if not ways:
        waits = connection.execute(
            select(candidate).where(candidate.c.customer_id == who.id, candidate.c.journey == name)
        ).first()
        not_in = never_entered(connection, content, newest, name, who.id, waits, bool(refusals), words, now)
    journey = content.journeys.get(name) or (newest.journey if newest else None)
    return Story(name, journey.title if journey else None, ways, tuple(said), not_in)


def _way(connection: Connection, program: Program | None, row: Row[Any], words: Words) -> Way:
    decisions = connection.execute(
        select(decision, event.c.name.label("event"), event.c.occurred_at)
        .outerjoin(event, event.c.id == decision.c.event_id)
        .where(decision.c.enrolment_id == row.id)
        .order_by(decision.c.visit, decision.c.at, decision.c.kind.desc())
    ).all()
    messages = connection.execute(
        select(message).where(message.c.enrolment_id == row.id).order_by(message.c.visit, message.c.id)
    ).all()
    sent = {(one.visit, one.step): one for one in messages if one.route != "team"}
    goal = connection.execute(
        select(goal_reached.c.at, goal_reached.c.value, event.c.name)
        .join(event, event.c.id == goal_reached.c.event_id)
        .where(goal_reached.c.enrolment_id == row.id)
    ).first()
    later = [one for one in decisions if is_later(one.kind)]
    decisions = [one for one in decisions if not is_later(one.kind)]
    lines = []
    for one in (*decisions, *later):
        until = _until(one, row)
        its = [other for other in later if other.visit == one.visit]
        said: Told = told(connection, program, row, one, sent.get((one.visit, one.step)), until, words, its)
        lines.append(
            Line(
                one.at,
                words.time(one.at),
                said.words,
                one.step,
                one.kind,
                one.outcome,
                one.reason,
                one.detail or {},
                said.aside,
            )
        )
    for back in _back(connection, row.id):
        said_back = f"{BY_MACHINES.get(back.kind, back.kind)} {back.template}"
        lines.append(Line(back.at, words.time(back.at), said_back, back.step, "message", back.kind, None))
    if goal is not None:
        worth = _worth(program, goal.value, words)
        lines.append(
            Line(goal.at, words.time(goal.at), f"reached the goal: {goal.name}{worth}", None, "goal", "reached", None)
        )
    if goal is not None or later:
        lines.sort(key=lambda line: line.at)
    last = decisions[-1] if decisions else None
    return Way(row.number, row.key, _state(row, last, sent, words), row.entered_at, row.ended_at, tuple(lines))


def _worth(program: Program | None, value: float | None, words: Words) -> str:
    if value is None:
        return ""
    if program is None or program.journey.goal is None or program.journey.goal.value is None:
        return f", worth {value:g}"
    kind = goal_kind(program)
    return f", worth {words.value(value, kind)}"


def goal_kind(program: Program) -> Any:
    """The type of what the goal is worth."""
    goal = program.journey.goal
    assert goal is not None and goal.value is not None
    from engine.cohort.scope import Scope

    scope = Scope(program, datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    return scope.typed(goal.value, (goal.event, entry_event)).type.kind


def _until(one: Row[Any], row: Row[Any]) -> datetime | None:
    """When the wait that a decision began ends, or would have."""
    known = (one.detail or {}).get("until") if one.kind == "stays" else None
    if isinstance(known, int):
        return moment(known)
    return row.due_at if one.visit == row.visit and row.state in ("waiting", "listening") else None


def _back(connection: Connection, enrolment_id: int) -> Sequence[Any]:
    """What came back about their messages: opened, clicked, bounced, …"""
    return connection.execute(
        select(message_event.c.kind, message_event.c.at, message.c.template, message.c.step)
        .join(message, message.c.id == message_event.c.message_id)
        .where(message.c.enrolment_id == enrolment_id)
        .order_by(message_event.c.at, message_event.c.kind)
    ).all()


def _state(row: Row[Any], last: Row[Any] | None, sent: Mapping[tuple[int, str], Row[Any]], words: Words) -> str:
    if row.state == "ended":
        reason = (last.reason or "") if last is not None else ""
        if row.outcome == "exited" and reason.startswith("event:"):
            return f"left, as {reason.removeprefix('event:')} came"
        return {"exited": "left by a condition of exit", "held_out": "held out", "with_parent": "over"}.get(
            row.outcome, (row.outcome or "finished").replace("_", " ")
        )
    if row.state == "waiting" and row.due_at is None:
        return f"waits at {row.step} until the ways of all items have ended"
    if row.state == "waiting":
        return f"waits at {row.step} until {words.time(row.due_at)}"
    if row.state == "listening":
        return f"listens at {row.step} until {words.time(row.due_at)}"
    if row.state == "standing":
        open_ = sent.get((row.visit, row.step))
        if open_ is not None and open_.state == "queued" and open_.reason in HOLDS:
            until = words.time(open_.due_at)
            return f"stands at {row.step}: its message is held until {until}, as {held(open_.reason)}"
        return f"stands at {row.step}: its message is {open_.state if open_ else 'on its way'}"
    return f"is about to be moved at {row.step}"
