"""Who goes first where a cap has room for one: the journey of higher priority.

Journeys move beside each other, so the lower one looks whether the customer stands, due just now, at a message of a
higher one that the same cap counts. If so it leaves them for its next look. It doesn't wait long: a journey that can't
move must not hold up others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, literal, or_

from engine.cohort.caps import covering
from engine.cohort.program import Program
from engine.cohort.step import Step
from engine.store.tables import enrolment, is_held, message
from engine.store.types import Instant

WAITS = timedelta(minutes=1)

Place = tuple[int, str]


def rivals_of(program: Program, step_id: str, programs: Iterable[Program]) -> list[Place]:
    """The sending steps (version, step) of journeys of higher priority that share a cap with this one."""
    caps = _caps(program, step_id)
    if not caps:
        return []
    return [
        (other.version_id, place)
        for other in programs
        if other.journey.priority > program.journey.priority and other.state != "stopped"
        for place in other.graph.nodes
        if caps & _caps(other, place)
    ]


def _caps(program: Program, step_id: str) -> set[str]:
    step = program.graph.nodes[step_id].step
    channels = step.channels() if isinstance(step, Step) else ()
    return {cap.key for channel in channels for cap in covering(program, channel)}


def comes_first(rivals: Sequence[Place], now: datetime) -> ColumnElement[bool]:
    """Whether an enrolment's customer stands at one of these, about to be moved."""
    rival = enrolment.alias("rival")
    at = or_(*(and_(rival.c.version_id == version, rival.c.step == step) for version, step in rivals))
    return exists().where(
        rival.c.customer_id == enrolment.c.customer_id, rival.c.state == "ready", at, *_just_due(rival.c.due_at, now)
    )


def goes_first(rivals: Sequence[Place], now: datetime) -> ColumnElement[bool]:
    """Whether a held message of one of these is released to the customer of a held message."""
    rival = message.alias("rival")
    at = or_(*(and_(rival.c.version_id == version, rival.c.step == step) for version, step in rivals))
    there = exists().where(
        rival.c.customer_id == message.c.customer_id, is_held(rival), at, *_just_due(rival.c.due_at, now)
    )
    return and_(is_held(message), there)


def _just_due(due_at: ColumnElement[datetime], now: datetime) -> tuple[ColumnElement[bool], ...]:
    return due_at <= literal(now, Instant()), due_at > literal(now - WAITS, Instant())
