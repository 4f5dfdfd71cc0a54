"""What an event means to one journey: exits, goals, ended waits, entries, in this order.

An exit wins over a wait for the same event, and an event never exits the enrolment it causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)

from engine.cohort.cohort import EXITED, Cohort, Judgement, entry_event, with_people
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.cohort.scope import Scope
from engine.runtime.entry import ENTERS, RESTARTED, Entered, arriving, enter
from engine.store import marks
from engine.store.scratch import COUNTED, insert_ignore, scratch
from engine.store.tables import IN_JOURNEY, NO_CHILD, customer, decision, enrolment, event, goal_reached
from engine.store.types import Instant, id_type, micros, span
from triggers.event import EventTrigger

REACHED = "goal"
UNHEARD = "unheard:"
"""Begins the mark of a version and a moment at which the clock let people in, while others took events in."""

earlier = Table(
    "earlier",
    MetaData(),
    Column("event_id", id_type(), primary_key=True, autoincrement=False),
    Column("customer_id", id_type()),
    Column("name", Text),
    Column("turn", Integer),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
"""What happened to those who have just entered and was taken in before; `turn` counts the events of each."""

restart = event.alias("restart")


def lock_customers(connection: Connection, who: Select[Any] | Sequence[int]) -> None:
    """Lock the rows of these customers, in the order of their ids, until the transaction ends."""
    rows = select(customer.c.id).where(customer.c.id.in_(who)).order_by(customer.c.id)
    connection.execute(rows.with_for_update(key_share=True)).all()


def names_of(program: Program) -> set[str]:
    """The events this journey does something with."""
    return {*program.exit_events, *program.goal_events, *program.awaited, *program.enter_events}


def concerns(program: Program, names: set[str], inside: bool, undecided: bool = True) -> bool:
    """Whether events of these names can mean anything to the journey. `inside`: some of the customers are in it;
    `undecided`: some have been, and have not reached its goal."""
    if inside and (program.exits_when or names & {*program.exit_events, *program.awaited}):
        return True
    return bool(names & program.enter_events) or (undecided and bool(names & program.goal_events))


def match(
    connection: Connection,
    program: Program,
    arrived: Table,
    names: set[str],
    now: datetime,
    *,
    inside: bool,
    undecided: bool = True,
) -> bool:
    """Match the events in `arrived` (at most one a customer), whose customers `lock_live` has locked. `inside` and
    `undecided` as in `concerns`. True when the version has work now."""
    work = False
    if inside:
        exit_by_event(connection, program, arrived, names, now)
        exit_when(connection, program, arrived, now)
    if undecided and names & program.goal_events:
        work |= reach_goals(connection, program, arrived, now)
    if inside:
        for name in sorted(names & program.awaited.keys()):
            work |= end_waits(connection, program, arrived, name, now)
    rule = program.journey.enter
    if program.takes_entries and isinstance(rule, EventTrigger) and names & program.enter_events:
        named = rule.named(Scope(program, now, at_the_door=True), arrived)
        work |= let_in(connection, program, named, now, locked=True).entered > 0
    return work


def let_in(
    connection: Connection, program: Program, named: Select[Any], now: datetime, *, locked: bool = False
) -> Entered:
    """Let in those of `named` who may enter, as `entry.enter`; then let them hear what happened since they entered and
    was taken in before. Their entry may have come late, or be taken in beside the event by another engine. `locked`:
    their rows of `customer` are, already."""
    names = {*program.exit_events, *program.goal_events}
    if names and program.enter_events and not locked and connection.dialect.name == "postgresql":
        # Whoever takes in an event of theirs holds this lock: it is there already, or will find them inside. Before the
        # limit's row, in the order in which they hold both.
        lock_customers(connection, select(named.subquery("named").c.customer_id))
    entered = enter(connection, program, named, now)
    if names and (entered.entered or entered.held_out):
        _hear_what_came_before(connection, program, names, now)
    return entered


def _hear_what_came_before(connection: Connection, program: Program, names: set[str], now: datetime) -> None:
    """Exits and goals of those in `arriving` who have just entered."""
    since: ColumnElement[Any] = literal(now, Instant())
    if program.enter_events:
        since = func.coalesce(entry_event.c.occurred_at, since, type_=Instant())
        them = arriving.outerjoin(entry_event, entry_event.c.id == arriving.c.event_id)
        source = Onward(them, event, event.c.customer_id == arriving.c.customer_id)
    else:  # they may be everybody there is, too many to be locked; but little has happened since now
        if connection.dialect.name == "postgresql":
            _leave_a_mark(connection, program, now)
        source = Onward(event, arriving, event.c.customer_id == arriving.c.customer_id)
    happened = and_(
        arriving.c.verdict == ENTERS, event.c.occurred_at >= since, event.c.id.is_distinct_from(arriving.c.event_id)
    )
    just = exists().where(
        arriving.c.customer_id == enrolment.c.customer_id,
        arriving.c.key == enrolment.c.key,
        arriving.c.cause == enrolment.c.cause,
        arriving.c.verdict == ENTERS,
    )
    _hear_in_turn(connection, program, names, source, happened, just, now)


def _leave_a_mark(connection: Connection, program: Program, now: datetime) -> None:
    """For `beside`. A mark that is there, of the chunk before, is written over: whoever takes it must wait until this
    transaction has committed, and then finds those it lets in."""
    marks.put(connection, f"{UNHEARD}{program.version_id}:{micros(now)}", None)


def hear_what_came_beside(connection: Connection, program: Program, entered_at: datetime, now: datetime) -> None:
    """Exits and goals of those whom the clock let in at this moment, by what others were just taking in."""
    names = {*program.exit_events, *program.goal_events}
    just = and_(_of(program), enrolment.c.entered_at == literal(entered_at, Instant()), enrolment.c.event_id.is_(None))
    them = exists().where(enrolment.c.customer_id == event.c.customer_id, enrolment.c.journey == program.name, just)
    happened = and_(them, event.c.occurred_at >= literal(entered_at, Instant()))
    _hear_in_turn(connection, program, names, event, happened, just, now)


def _hear_in_turn(
    connection: Connection,
    program: Program,
    names: set[str],
    source: FromClause,
    happened: ColumnElement[bool],
    just: ColumnElement[bool],
    now: datetime,
) -> None:
    """Exits and goals of the enrolments `just` names, by these events, in the order in which they happened and judged
    like one that comes in time."""
    scratch(connection, earlier)
    turn = func.row_number().over(partition_by=event.c.customer_id, order_by=[event.c.occurred_at, event.c.id])
    rows = (
        select(event.c.id, event.c.customer_id, event.c.name, turn)
        .select_from(source)
        .where(event.c.name.in_(sorted(names)), happened)
    )
    if not connection.execute(insert(earlier).from_select(list(earlier.c), rows), execution_options=COUNTED).rowcount:
        return
    undecided: ColumnElement[bool] = IN_JOURNEY
    if program.goal_events:
        undecided = or_(IN_JOURNEY, and_(NO_CHILD, not_(exists().where(goal_reached.c.enrolment_id == enrolment.c.id))))
    next_turn = select(func.min(earlier.c.turn)).select_from(Onward(earlier, enrolment, _inside(program, earlier)))
    number = 0
    while (number := connection.scalar(next_turn.where(just, undecided, earlier.c.turn > number))) is not None:
        heard = select(earlier).where(earlier.c.turn == number).subquery("heard")
        exit_by_event(connection, program, heard, names, now, just)
        if program.goal_events:
            reach_goals(connection, program, heard, now, just)


def hear(connection: Connection, program: Program, arrived: Table, names: set[str], now: datetime) -> bool:
    """What events of old mean to those inside who now turn out to have done them: exits, goals and waits, no entries.
    True when the version has work now."""
    exit_by_event(connection, program, arrived, names, now)
    work = bool(names & program.goal_events) and reach_goals(connection, program, arrived, now)
    for name in sorted(names & program.awaited.keys()):
        work |= end_waits(connection, program, arrived, name, now)
    return work


def exit_by_event(
    connection: Connection,
    program: Program,
    arrived: FromClause,
    names: set[str],
    now: datetime,
    only: ColumnElement[bool] | None = None,
) -> None:
    """End the journey for those whom one of these events leads out of it. `only`: which enrolments are asked."""
    for rule in program.journey.exit:
        if rule.event is None or rule.event not in names:
            continue
        who = and_(
            _of(program),
            event.c.name == rule.event,
            event.c.occurred_at >= _since(),
            enrolment.c.event_id.is_distinct_from(event.c.id),
            true() if only is None else only,
        )
        if rule.where is not None:
            who = and_(who, Scope(program, now).condition(rule.where, event=(rule.event, event)))
        cohort = Cohort.freeze(
            connection,
            step=None,
            who=who,
            judgement=Judgement(literal(EXITED), literal(f"event:{rule.event}"), event_id=event.c.id),
            now=now,
            pass_id="event",
            first=(_events(arrived), _inside(program, arrived)),
            wait=True,
            family=program.family,
        )
        cohort.finish(EXITED, EXITED)


def exit_when(connection: Connection, program: Program, people: FromClause, now: datetime) -> None:
    """End the journey for those of `people` (a row of customer_id each) for whom an exit's condition is true now."""
    if not program.exits_when:
        return
    scope = Scope(program, now)
    cohort = Cohort.freeze(
        connection,
        step=None,
        who=and_(_of(program), scope.exits()),
        judgement=Judgement(literal(EXITED), literal("when"), detail=scope.seen(*program.exits_when)),
        now=now,
        pass_id="event",
        first=(people, _inside(program, people)),
        wait=True,
        family=program.family,
    )
    cohort.finish(EXITED, EXITED)


def reach_goals(
    connection: Connection,
    program: Program,
    arrived: FromClause,
    now: datetime,
    only: ColumnElement[bool] | None = None,
) -> bool:
    """Record the goal of those who reach it within their window, once; then exit or jump where the goal says so.
    `only`: which enrolments are asked."""
    goal = program.journey.goal
    assert goal is not None
    scope = Scope(program, now)
    mine = and_(
        _of(program),
        NO_CHILD,
        event.c.name == goal.event,
        event.c.occurred_at >= _since(),
        event.c.occurred_at <= _since() + literal(span(goal.within)),
        not_(_handed_over()),
        true() if only is None else only,
    )
    if goal.where is not None:
        mine = and_(mine, scope.condition(goal.where, event=(goal.event, event)))
    source = with_people(Onward(_events(arrived), enrolment, _inside(program, arrived)))
    value = literal(None) if goal.value is None else scope.number(goal.value, event=(goal.event, event))
    not_cause = enrolment.c.event_id.is_distinct_from(event.c.id)
    rows = (
        select(enrolment.c.id, event.c.id.label("event_id"), event.c.occurred_at, value)
        .select_from(source)
        .where(mine, not_cause)
    )
    add = insert_ignore(connection, goal_reached)
    connection.execute(add.from_select(["enrolment_id", "event_id", "at", "value"], rows))
    if goal.on_reach is None and goal.jump is None:
        return False
    jump = goal.jump
    reached = exists().where(goal_reached.c.enrolment_id == enrolment.c.id, goal_reached.c.event_id == event.c.id)
    # An event may be matched again, for the sake of another version that could not be: it moves nobody twice.
    moved = exists().where(
        decision.c.enrolment_id == enrolment.c.id, decision.c.event_id == event.c.id, decision.c.outcome == REACHED
    )
    cohort = Cohort.freeze(
        connection,
        step=None,
        who=and_(mine, not_cause, reached, not_(moved)),
        judgement=Judgement(literal(REACHED), literal(f"event:{goal.event}"), event_id=event.c.id),
        now=now,
        pass_id="event",
        first=(_events(arrived), _inside(program, arrived)),
        wait=True,
        family=program.family,
    )
    if jump is None:
        cohort.finish(REACHED, REACHED)
    else:
        cohort.move({REACHED: jump})
    return bool(cohort.size and jump)


def end_waits(connection: Connection, program: Program, arrived: Table, name: str, now: datetime) -> bool:
    """Those who listen for this event are ready again. Their step judges it: it looks at the event index, here as at
    its limit."""
    scope = Scope(program, now)
    at_steps = []
    for node in program.awaited[name]:
        awaits = node.step.awaits()
        assert awaits is not None
        at = enrolment.c.step == node.id
        if awaits.where is not None:
            at = and_(at, scope.condition(awaits.where, event=(name, event)))
        at_steps.append(at)
    source = with_people(Onward(_events(arrived), enrolment, _inside(program, arrived)))
    heard = (
        select(enrolment.c.id)
        .select_from(source)
        .where(
            _of(program),
            enrolment.c.state == "listening",
            event.c.name == name,
            event.c.occurred_at >= enrolment.c.moved_at,
            or_(*at_steps),
        )
    )
    statement = update(enrolment).where(enrolment.c.id.in_(heard)).values(state="ready", due_at=now)
    return connection.execute(statement).rowcount > 0


def _since() -> ColumnElement[Any]:
    """From when on events belong to an enrolment: since the event that let it in happened. The engine's own clock is
    ahead of that by as long as the event was on its way, and what happened meanwhile counts."""
    return func.coalesce(entry_event.c.occurred_at, enrolment.c.entered_at, type_=Instant())


def _handed_over() -> ColumnElement[bool]:
    """The entry had been ended by a restart when the event happened: the goal is the new entry's."""
    ended = decision.outerjoin(restart, restart.c.id == decision.c.event_id)
    since = func.coalesce(restart.c.occurred_at, decision.c.at, type_=Instant())
    mine = and_(decision.c.enrolment_id == enrolment.c.id, decision.c.outcome == RESTARTED)
    by_then = exists().select_from(ended).where(mine, since <= event.c.occurred_at)
    return and_(enrolment.c.outcome.is_not_distinct_from(RESTARTED), by_then)


def _events(arrived: FromClause) -> FromClause:
    """The events of the batch."""
    return Onward(arrived, event, event.c.id == arrived.c.event_id)


def _of(program: Program) -> ColumnElement[bool]:
    """Of this version. The sum keeps SQLite from the version's index, which holds everybody, for the sake of a few."""
    return enrolment.c.version_id + 0 == program.version_id


def _inside(program: Program, people: FromClause) -> ColumnElement[bool]:
    """How the enrolments of these customers in this journey join them: by the index of customer and journey."""
    return and_(enrolment.c.customer_id == people.c.customer_id, enrolment.c.journey == program.name)
