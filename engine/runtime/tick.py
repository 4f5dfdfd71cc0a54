"""The tick: what time alone brings about. Segments are looked at, dates and schedules fire, those at the door are
judged again.

Waits need no tick of their own: a due_at that has come is a cohort, and whoever advances finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, func, literal, select, true

from engine.cohort.fires import Look, Timed
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import matching
from engine.runtime.entry import enter
from engine.runtime.parking import try_again
from engine.segments import membership
from engine.segments.membership import Suspects
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.survey import prepare
from engine.store.database import Database
from engine.store.merges import looks_stay
from engine.store.scratch import insert_ignore
from engine.store.tables import candidate
from engine.store.types import Instant
from triggers.segment import SegmentTrigger

log = logging.getLogger("karibu.tick")


@dataclass
class Ticked:
    """What a tick did: entries by journey, and journeys whose trigger failed (tried again at the next tick)."""

    entered: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, journey: str, entered: int) -> None:
        if entered:
            self.entered[journey] = self.entered.get(journey, 0) + entered


def tick(database: Database, content: Content, programs: Sequence[Program], now: datetime) -> Ticked:
    """Do what is due at `now`. Each journey in a transaction of its own: one that fails harms no other."""
    ticked = Ticked()
    timed = [program for program in programs if program.takes_entries and isinstance(program.journey.enter, Timed)]
    for program in timed:
        try:
            with database.write() as connection:
                looks_stay(connection)
                assert isinstance(program.journey.enter, Timed)
                for rows in program.journey.enter.due(Look.of(connection, program, now)):
                    ticked.add(program.name, enter(connection, program, rows, now).entered)
        except Exception as error:
            _failed(ticked, program, error)
    suspects = prepare(database, content, now)
    _rhythms(database, programs, now)
    with database.write() as connection:
        for program, failure in refresh(connection, content, programs, now, ticked, suspects):
            _failed(ticked, program, failure)
    _door(database, programs, now, ticked)
    try_again(database, programs, now)
    return ticked


def refresh(
    connection: Connection,
    content: Content,
    programs: Sequence[Program],
    now: datetime,
    ticked: Ticked | None = None,
    suspects: Mapping[str, Suspects] | None = None,
) -> list[tuple[Program, Exception]]:
    """Look at exits and segments for those whose facts changed or whose time has come, and let in who joined.

    `suspects`: what `prepare` found at the same moment."""
    looks_stay(connection)
    membership.begin(connection)
    failures: list[tuple[Program, Exception]] = []
    for program in programs:
        if not program.exits_when:
            continue
        try:
            with connection.begin_nested():
                matching.exit_when(connection, program, membership.changed, now)
        except Exception as error:  # whatever an exit does wrong, it costs no other journey its segments
            failures.append((program, error))
    changes = membership.refresh(connection, content, now, suspects=suspects, begun=True)
    if failures:
        membership.again(connection)
    for program in programs:
        rule = program.journey.enter
        if not (program.takes_entries and isinstance(rule, SegmentTrigger) and changes.joined.get(rule.segment)):
            continue
        named = rule.named(joined_at=now, among=membership.just_moved(rule.segment))
        try:
            with connection.begin_nested():
                entered = enter(connection, program, named, now).entered
                if ticked is not None:
                    ticked.add(program.name, entered)
        except Exception as error:
            failures.append((program, error))
            _to_the_door(connection, program, named, now)
    return failures


def _rhythms(database: Database, programs: Sequence[Program], now: datetime) -> None:
    """Measure the shop's usual gap of the events that journeys ask for, where that hasn't been done for a while; those
    of segments are measured with them."""
    wanted = {event for program in programs for event in program.rhythms}
    if not wanted:
        return
    with database.read() as connection:
        gaps = {event: shop_gap(connection, event) for event in stale(connection, wanted, now)}
    if gaps:
        with database.write() as connection:
            keep_gaps(connection, gaps, now)


def _to_the_door(connection: Connection, program: Program, named: Select[Any], now: datetime) -> None:
    """Nobody joins twice for one cause: who could not be let in now stands at the door until they can."""
    rows = named.subquery("named")
    who = select(
        literal(program.name), rows.c.customer_id, literal(""), rows.c.cause, literal("failed"), literal(now, Instant())
    ).where(true())
    columns = ["journey", "customer_id", "key", "cause", "reason", "since"]
    connection.execute(insert_ignore(connection, candidate).from_select(columns, who))


def _door(database: Database, programs: Sequence[Program], now: datetime, ticked: Ticked) -> None:
    """Judge again who waits at the door: an audience that may have come true, a limit that may have room, a start."""
    with database.read() as connection:
        waiting = set(connection.scalars(select(candidate.c.journey).distinct()))
    for program in programs:
        if program.name not in waiting or not program.takes_entries:
            continue
        try:
            with database.write() as connection:
                looks_stay(connection)
                ticked.add(program.name, enter(connection, program, _waiting(program), now).entered)
        except Exception as error:
            _failed(ticked, program, error)


def _waiting(program: Program) -> Select[Any]:
    """Who waits at this journey's door, for one cause each."""
    first = (
        select(candidate.c.customer_id, func.min(candidate.c.cause).label("cause"))
        .where(candidate.c.journey == program.name)
        .group_by(candidate.c.customer_id)
        .subquery("first")
    )
    return select(candidate.c.customer_id, candidate.c.cause, candidate.c.event_id).where(
        candidate.c.journey == program.name,
        exists().where(first.c.customer_id == candidate.c.customer_id, first.c.cause == candidate.c.cause),
    )


def _failed(ticked: Ticked, program: Program, error: Exception) -> None:
    """The class of the error only: its text may hold a customer's data."""
    log.error("journey %s could not let anybody in: %s", program.name, type(error).__name__)
    ticked.failed[program.name] = type(error).__name__
