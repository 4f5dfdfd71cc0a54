"""The tick: what time alone brings about. Segments are looked at, dates and schedules fire, those at the door are
judged again.

Waits need no tick of their own: a due_at that has come is a cohort, and whoever advances finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, select

from engine.cohort.fires import Due, Look, Timed
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import admission, beside, coupons, matching, points, waiting
from engine.runtime.matching import let_in
from engine.runtime.pace import Pace
from engine.runtime.parking import try_again
from engine.runtime.ticked import Ticked
from engine.runtime.waiting import Watch
from engine.segments import membership
from engine.segments.membership import Suspects
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.survey import prepare
from engine.store import published
from engine.store.apart import apart
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
    as_of: int | None = None,
) -> Ticked:
    """Do what is due at `now`. Each journey in transactions of its own: one that fails harms no other.

    `as_of`: `published.times` of when the content was read."""
    ticked, pace = Ticked(), pace or Pace(database.dialect)
    for program in programs:
        if not (program.takes_entries and isinstance(program.journey.enter, Timed)):
            continue
        try:
            _fire(database, program, program.journey.enter, now)
        except Exception as error:
            ticked.fails(program.name, error)
    admission.go_on(database, programs, now, pace, ticked, CHUNKS)
    _rewards(database, content, programs, now)
    suspects = prepare(database, content, now, as_of)
    _rhythms(database, programs, now)
    look = partial(refresh, content=content, programs=programs, now=now, suspects=suspects, as_of=as_of)
    ticked.join(database.written(look))
    waiting.look(database, programs, now, pace, watch or Watch(), ticked, CHUNKS)
    try_again(database, programs, now)
    beside.hear(database, programs, now)
    return ticked


def _rewards(database: Database, content: Content, programs: Sequence[Program], now: datetime) -> None:
    """What time does to points and coupons; before segments are looked at, which may speak of them."""
    with database.read() as connection:
        due = points.due(connection, now) or coupons.due(connection, now)

    def look(connection: Connection) -> None:
        looks_stay(connection)
        points.look(connection, content.project.tiers, now)
        coupons.look(connection, programs, now)

    if due:
        database.written(look)


def _fire(database: Database, program: Program, trigger: Timed, now: datetime) -> None:
    with database.read() as connection:
        due = trigger.due(Look.of(connection, program, now))
    if due:
        database.written(partial(_claim, program=program, trigger=trigger, due=due, now=now))


def _claim(connection: Connection, program: Program, trigger: Timed, due: Due, now: datetime) -> None:
    admission.begin(connection, program, trigger.claim(Look.of(connection, program, now), due))


def refresh(
    connection: Connection,
    content: Content,
    programs: Sequence[Program],
    now: datetime,
    suspects: Mapping[str, Suspects] | None = None,
    as_of: int | None = None,
) -> Ticked:
    """Look at exits and segments for those whose facts changed or whose time has come, and let in who joined, or whom
    what changed lets in.

    `suspects`: what `prepare` found at the same moment. `as_of`: as in `tick`; when something was published since, the
    segments, and whom they or what changed let in, wait until the files have been read again."""
    looks_stay(connection)
    membership.begin(connection)
    ticked = Ticked()
    for program in programs:
        with apart(connection) as tried:  # whatever a journey does wrong, it costs no other journey its segments
            matching.exit_when(connection, program, membership.changed, now)
        if tried.error is not None:
            ticked.fails(program.name, tried.error)
    if as_of not in (None, published.times(connection)):
        return ticked
    changes = membership.refresh(connection, content, now, suspects=suspects, begun=True)
    live = [program for program in programs if program.takes_entries]
    anybody = connection.execute(select(membership.changed.c.customer_id).limit(1)).first() is not None
    for program in live if anybody else ():
        with apart(connection) as tried:
            _changed(connection, program, now)
        if tried.error is not None:
            ticked.fails(program.name, tried.error)
    if ticked.failed:
        membership.again(connection)
    for program in live:
        rule = program.journey.enter
        if not (isinstance(rule, SegmentTrigger) and (joined := changes.joined.get(rule.segment))):
            continue
        who = rule.named(joined_at=now, among=membership.just_moved(rule.segment))
        with apart(connection) as tried:
            if joined > FEW:
                waiting.stand(connection, program, who, "due", now)
            else:
                ticked.add(program, let_in(connection, program, who, now).entered)
        if tried.error is not None:  # nobody joins twice for one cause: they stand at the door until they can be let in
            ticked.fails(program.name, tried.error)
            waiting.stand(connection, program, who, "failed", now)
    return ticked


def _changed(connection: Connection, program: Program, now: datetime) -> None:
    """What it means to those who want to enter that their facts changed. Here, in the transaction that takes them out
    of `touched`: in another they could come between its look and the taking."""
    trigger = program.journey.enter
    if isinstance(trigger, Timed):
        for rows in trigger.overlooked(Look.of(connection, program, now), membership.changed):
            waiting.stand(connection, program, rows, "due", now)
    waiting.changed(connection, program, membership.changed, now)


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
