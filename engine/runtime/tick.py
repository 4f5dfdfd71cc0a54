"""The tick: what time alone brings about. Segments are looked at, dates and schedules fire, those at the door are
judged again.

Waits need no tick of their own: a due_at that has come is a cohort, and whoever advances finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, exists, func, literal, select, true

from engine.cohort.fires import Look, Timed
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import beside, matching
from engine.runtime.matching import let_in
from engine.runtime.parking import try_again
from engine.segments import membership
from engine.segments.membership import Suspects
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.survey import prepare
from engine.store import published
from engine.store.database import Database
from engine.store.failures import deadlocked
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

    def fail(self, program: Program, error: Exception) -> None:
        """The class of the error only: its text may hold a customer's data."""
        log.error("journey %s could not let anybody in: %s", program.name, type(error).__name__)
        self.failed[program.name] = type(error).__name__


def tick(
    database: Database, content: Content, programs: Sequence[Program], now: datetime, as_of: int | None = None
) -> Ticked:
    """Do what is due at `now`. Each journey in a transaction of its own: one that fails harms no other.

    `as_of`: `published.times` of when the content was read."""
    ticked = Ticked()
    for program in programs:
        if not (program.takes_entries and isinstance(program.journey.enter, Timed)):
            continue
        try:
            ticked.add(program.name, database.written(partial(_go_off, program=program, now=now)))
        except Exception as error:
            ticked.fail(program, error)
    suspects = prepare(database, content, now, as_of)
    _rhythms(database, programs, now)
    looked = database.written(
        partial(refresh, content=content, programs=programs, now=now, suspects=suspects, as_of=as_of)
    )
    for journey, entered in looked.entered.items():
        ticked.add(journey, entered)
    ticked.failed |= looked.failed
    _door(database, programs, now, ticked)
    try_again(database, programs, now)
    beside.hear(database, programs, now)
    return ticked


def _go_off(connection: Connection, program: Program, now: datetime) -> int:
    """Let in whom a date or schedule names; how many."""
    rule = program.journey.enter
    assert isinstance(rule, Timed)
    looks_stay(connection)
    if rule.takes_latecomers:
        # Whoever changes while this looks is a latecomer to the look that takes them, and must be to a fire it can see.
        membership.touched_stay(connection)
    rows = rule.due(Look.of(connection, program, now))
    return sum(let_in(connection, program, named, now).entered for named in rows)


def refresh(
    connection: Connection,
    content: Content,
    programs: Sequence[Program],
    now: datetime,
    suspects: Mapping[str, Suspects] | None = None,
    as_of: int | None = None,
) -> Ticked:
    """Look at exits, dates that came late and segments for those whose facts changed or whose time has come, and let
    in who joined.

    `suspects`: what `prepare` found at the same moment. `as_of`: as in `tick`; when something was published since, the
    segments wait until the files have been read again."""
    looks_stay(connection)
    membership.begin(connection)
    ticked = Ticked()
    for program in programs:
        try:
            with connection.begin_nested():
                matching.exit_when(connection, program, membership.changed, now)
                entered = _latecomers(connection, program, now)
            ticked.add(program.name, entered)
        except Exception as error:  # whatever a journey does wrong, it costs no other journey its segments
            if deadlocked(error):
                raise
            ticked.fail(program, error)
    if as_of not in (None, published.times(connection)):
        return ticked
    changes = membership.refresh(connection, content, now, suspects=suspects, begun=True)
    if ticked.failed:
        membership.again(connection)
    for program in programs:
        rule = program.journey.enter
        if not (program.takes_entries and isinstance(rule, SegmentTrigger) and changes.joined.get(rule.segment)):
            continue
        named = rule.named(joined_at=now, among=membership.just_moved(rule.segment))
        try:
            with connection.begin_nested():
                entered = let_in(connection, program, named, now).entered
            ticked.add(program.name, entered)
        except Exception as error:
            if deadlocked(error):
                raise
            ticked.fail(program, error)
            _to_the_door(connection, program, named, now)
    return ticked


def _latecomers(connection: Connection, program: Program, now: datetime) -> int:
    """Let in those of `changed` whose date had come before it was known; how many. Here, in the transaction that takes
    them out of `touched`: in another they could come between its look and the taking."""
    rule = program.journey.enter
    if not (program.takes_entries and isinstance(rule, Timed) and rule.takes_latecomers):
        return 0
    rows = rule.latecomers(Look.of(connection, program, now), membership.changed)
    return sum(let_in(connection, program, named, now).entered for named in rows)


def _rhythms(database: Database, programs: Sequence[Program], now: datetime) -> None:
    """Measure the shop's usual gap of the events that journeys ask for, where that hasn't been done for a while; those
    of segments are measured with them."""
    wanted = {event for program in programs for event in program.rhythms}
    if not wanted:
        return
    with database.read() as connection:
        gaps = {event: shop_gap(connection, event) for event in stale(connection, wanted, now)}
    if gaps:
        database.written(partial(keep_gaps, gaps=gaps, now=now))


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
            ticked.add(program.name, database.written(partial(_judge_again, program=program, now=now)))
        except Exception as error:
            ticked.fail(program, error)


def _judge_again(connection: Connection, program: Program, now: datetime) -> int:
    """Let in those at the door who may enter now; how many."""
    looks_stay(connection)
    return let_in(connection, program, _waiting(program), now).entered


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
