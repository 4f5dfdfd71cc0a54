"""The tick: what time alone brings about. Segments are looked at, dates and schedules fire, those at the door are
judged again.

Waits need no tick of their own: a due_at that has come is a cohort, and whoever advances finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from engine.cohort.fires import Look, Timed
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import admission, matching, waiting
from engine.runtime.entry import enter
from engine.runtime.pace import Pace
from engine.runtime.parking import try_again
from engine.runtime.ticked import Ticked
from engine.runtime.waiting import Watch
from engine.segments import membership
from engine.segments.membership import Suspects
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.survey import prepare
from engine.store.database import Database
from engine.store.merges import looks_stay
from triggers.segment import SegmentTrigger

CHUNKS = 20
"""Chunks of those named by the clock, and of those at the door, that one tick lets in, so that a large audience keeps
segments and other journeys waiting for a second or so; the next tick goes on."""

FEW = 500
"""So many who join a segment in one look are let in in its own transaction; more of them chunk by chunk."""


def tick(
    database: Database,
    content: Content,
    programs: Sequence[Program],
    now: datetime,
    pace: Pace | None = None,
    watch: Watch | None = None,
) -> Ticked:
    """Do what is due at `now`. Each journey in transactions of its own: one that fails harms no other."""
    ticked, pace = Ticked(), pace or Pace(database.dialect)
    for program in programs:
        if not (program.takes_entries and isinstance(program.journey.enter, Timed)):
            continue
        try:
            _fire(database, program, program.journey.enter, now)
        except Exception as error:
            ticked.fails(program.name, error)
    admission.go_on(database, programs, now, pace, ticked, CHUNKS)
    suspects = prepare(database, content, now)
    _rhythms(database, programs, now)
    with database.write() as connection:
        for program, failure in refresh(connection, content, programs, now, ticked, suspects):
            ticked.fails(program.name, failure)
    waiting.look(database, programs, now, pace, watch or Watch(), ticked, CHUNKS)
    try_again(database, programs, now)
    return ticked


def _fire(database: Database, program: Program, trigger: Timed, now: datetime) -> None:
    with database.read() as connection:
        due = trigger.due(Look.of(connection, program, now))
    if due:
        with database.write() as connection:
            admission.begin(connection, program, trigger.claim(Look.of(connection, program, now), due))


def refresh(
    connection: Connection,
    content: Content,
    programs: Sequence[Program],
    now: datetime,
    ticked: Ticked | None = None,
    suspects: Mapping[str, Suspects] | None = None,
) -> list[tuple[Program, Exception]]:
    """Look at exits and segments for those whose facts changed or whose time has come, and let in who joined, or whom
    what changed lets in.

    `suspects`: what `prepare` found at the same moment."""
    looks_stay(connection)
    membership.begin(connection)
    ticked = ticked or Ticked()
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
    live = [program for program in programs if program.takes_entries]
    anybody = connection.execute(select(membership.changed.c.customer_id).limit(1)).first() is not None
    for program in live if anybody else ():
        try:
            with connection.begin_nested():
                ticked.add(program, _changed(connection, program, now))
        except Exception as error:
            failures.append((program, error))
    if failures:
        membership.again(connection)
    for program in live:
        rule = program.journey.enter
        if not (isinstance(rule, SegmentTrigger) and (joined := changes.joined.get(rule.segment))):
            continue
        try:
            with connection.begin_nested():
                if joined > FEW:
                    waiting.stand(connection, program, rule.named(joined_at=now), "due", now)
                else:
                    ticked.add(program, enter(connection, program, rule.named(joined_at=now), now).entered)
        except Exception as error:  # nobody joins twice for one cause: they stand at the door until they can be let in
            failures.append((program, error))
            waiting.stand(connection, program, rule.named(joined_at=now), "failed", now)
    return failures


def _changed(connection: Connection, program: Program, now: datetime) -> int:
    """What it means to those who want to enter that their facts changed. How many entered."""
    trigger = program.journey.enter
    if isinstance(trigger, Timed):
        for rows in trigger.overlooked(Look.of(connection, program, now), membership.changed):
            waiting.stand(connection, program, rows, "due", now)
    return waiting.changed(connection, program, membership.changed, now)


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
