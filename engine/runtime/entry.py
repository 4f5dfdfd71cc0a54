"""Entry: who of those a trigger names is let into a journey, and why the others are not.

A trigger names (customer, cause, event). In this order: a key (`no_key`), the audience (`audience`), `again` (`again`),
the limit (`limit`). The same cause never enters twice whatever `again` says: the unique key of `enrolment` decides, not
this process. One call takes at most one row a customer; the caller splits what comes in rounds, so that each is judged
after the one before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    MetaData,
    Row,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    update,
)

from engine.cohort.arms import HOLDOUT, arm
from engine.cohort.cohort import Cohort, Judgement, entry_event
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.cohort.scope import Scope
from engine.language.journey import Again
from engine.runtime import quota
from engine.store.scratch import COUNTED, fill, insert_ignore, insert_into, scratch
from engine.store.tables import IN_JOURNEY, NO_CHILD, candidate, customer, decision, enrolment, refusal
from engine.store.types import Instant, id_type, json_type

arriving = Table(
    "arriving",
    MetaData(),
    Column("customer_id", id_type(), primary_key=True, autoincrement=False),
    Column("cause", Text),
    Column("event_id", id_type()),
    Column("key", Text),
    Column("verdict", Text),
    Column("detail", json_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)

these = Table(
    "entering",
    MetaData(),
    Column("customer_id", id_type(), primary_key=True, autoincrement=False),
    Column("cause", Text),
    Column("event_id", id_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)

ENTERS = "enters"
RESTARTED = "restarted"
REFUSED = ("no_key", "audience", "again", "limit")

_ANYBODY_AT_THE_DOOR = select(candidate.c.journey).where(candidate.c.journey == bindparam("door")).limit(1)
_COUNTS = select(arriving.c.verdict, func.count().label("n")).group_by(arriving.c.verdict)

wanted = enrolment.alias("wanted")


@dataclass(frozen=True)
class Entered:
    """What came of one call: how many entered, were held out, wait at the door, and were refused for which reason."""

    entered: int
    held_out: int
    waiting: int
    refused: dict[str, int]


def enter(connection: Connection, program: Program, named: Select[Any], now: datetime) -> Entered:
    """Let in those of `named` (rows of customer_id, cause, event_id; one a customer) who may enter this version.

    Writes enrolments with their decision, candidates at the door, and refusals; all in the caller's transaction. Only
    `matching.let_in` calls it: who enters may have missed something."""
    scratch(connection, arriving)
    rule = program.journey.enter
    room = None if rule.limit is None else quota.hold(connection, program, now)
    _judge(connection, program, named.subquery("named"), now)
    if room is not None:
        quota.apply(connection, arriving, room)
    verdicts = _verdicts(connection)
    made = held_out = waiting = 0
    if ENTERS in verdicts:
        if rule.again.rule == "restart":
            _end_running(connection, program, now)
        made, held_out = _enrol(connection, program, now)
        if made < verdicts[ENTERS]:
            verdicts = _verdicts(connection)  # some were late
        if room is not None:
            quota.count(connection, program, now, made)
    if verdicts.keys() & {"audience", "limit"}:
        waiting = _wait_at_the_door(connection, program, now)
        verdicts = _verdicts(connection) if waiting else verdicts
    refused = {verdict: n for verdict, n in verdicts.items() if verdict in REFUSED}
    if refused:
        _refuse(connection, program, now)
    if verdicts.keys() - {"waits"}:
        _leave_the_door(connection, program)
    return Entered(made - held_out, held_out, waiting, refused)


def _verdicts(connection: Connection) -> dict[str, int]:
    """How many have which verdict: most often all have the same, and what the others ask for needs no asking."""
    return {row.verdict: row.n for row in connection.execute(_COUNTS)}


def named_before(connection: Connection, rows: Iterable[Row[Any]]) -> Select[Any]:
    """Rows (customer_id, cause, event_id) that have been read before, as `enter` takes them."""
    scratch(connection, these)
    fill(connection, these, ((row.customer_id, row.cause, row.event_id) for row in rows))
    return select(these)


def hopeful(program: Program, named: Select[Any], now: datetime) -> Select[Any]:
    """Those of `named` whose audience is true now: only reads, and decides nothing."""
    rows, source = _people(named.subquery("named"))
    rule = program.journey.enter
    holds = true() if rule.audience is None else Scope(program, now, at_the_door=True).condition(rule.audience)
    return select(*rows).select_from(source).where(holds)


def _people(named: Subquery) -> tuple[tuple[ColumnElement[Any], ...], FromClause]:
    """The columns of those named, and them with what an audience sees: the customer, and the event they came with."""
    event_id = cast(named.c.event_id, id_type())  # a bare NULL of a subquery is a text to PostgreSQL
    source = Onward(named, customer, customer.c.id == named.c.customer_id)
    rows = (named.c.customer_id, named.c.cause, event_id.label("event_id"))
    return rows, source.outerjoin(entry_event, entry_event.c.id == event_id)


def _judge(connection: Connection, program: Program, named: Subquery, now: datetime) -> None:
    rule = program.journey.enter
    scope = Scope(program, now, at_the_door=True)
    key = literal("") if rule.key is None else scope.text(rule.key)
    columns, source = _people(named)
    key_text = func.coalesce(key, "")
    mine = and_(
        enrolment.c.customer_id == customer.c.id,
        enrolment.c.journey == program.name,
        enrolment.c.key == key_text,
        NO_CHILD,
    )
    same_cause = exists().where(mine, enrolment.c.cause == named.c.cause)
    stops: list[Any] = [(same_cause, "same"), (key.is_(None), "no_key")]
    if rule.audience is not None:
        stops.append((not_(scope.condition(rule.audience)), "audience"))
    if (before := _entered_before(rule.again, now)) is not None:
        stops.append((exists().where(mine, before), "again"))
    detail = null() if rule.audience is None else scope.seen(rule.audience)
    rows = select(*columns, key_text, case(*stops, else_=ENTERS), detail).select_from(source)
    connection.execute(insert(arriving).from_select(list(arriving.c), rows))


def _entered_before(again: Again, now: datetime) -> Any:
    """Which earlier enrolments with this key keep someone out."""
    if again.rule == "never":
        return true()
    if again.rule == "after exit":
        return IN_JOURNEY
    if again.after is not None:
        return or_(IN_JOURNEY, enrolment.c.entered_at > literal(now - again.after, Instant()))
    return None  # always, restart


def _end_running(connection: Connection, program: Program, now: datetime) -> None:
    """`again: restart`: the running one with the same key ends before the new one starts."""
    on = and_(
        arriving.c.customer_id == enrolment.c.customer_id,
        arriving.c.key == enrolment.c.key,
        arriving.c.verdict == ENTERS,
    )
    cohort = Cohort.freeze(
        connection,
        step=None,
        who=enrolment.c.journey == program.name,
        judgement=Judgement(literal(RESTARTED), event_id=arriving.c.event_id),
        now=now,
        pass_id="entry",
        first=(arriving, on),
        wait=True,
    )
    cohort.finish(RESTARTED, RESTARTED)


def _enrol(connection: Connection, program: Program, now: datetime) -> tuple[int, int]:
    """Write the enrolments and their first decision. Returns how many those are, and how many were held out."""
    journey, first = program.journey, program.graph.first
    at = literal(now, Instant())
    held = arm(customer.c.bucket, program.name, HOLDOUT) < journey.holdout if journey.holdout else literal(False)
    out = or_(held, literal(first is None))
    rows = (
        select(
            literal(program.name),
            literal(program.version_id),
            arriving.c.customer_id,
            arriving.c.key,
            arriving.c.cause,
            arriving.c.event_id,
            literal(journey.enter.again.rule == "always"),
            case((out, "ended"), else_="ready"),
            case((out, null()), else_=literal(first)),
            literal(1),
            case((out, null()), else_=at),
            at,
            at,
            case((out, at), else_=null()),
            case((held, "held_out"), (literal(first is None), "finished"), else_=null()),
        )
        .select_from(Onward(arriving, customer, customer.c.id == arriving.c.customer_id))
        .where(arriving.c.verdict == ENTERS)
        .order_by(arriving.c.customer_id)
    )
    enrol = insert_ignore(connection, enrolment).from_select(_ENROLMENT, rows)
    entered = connection.execute(enrol, execution_options=COUNTED).rowcount
    _tell_who_was_late(connection, program)
    # The enrolment is looked up from `arriving`, row by row: joined, SQLite may choose to scan all enrolments.
    mine = and_(
        wanted.c.customer_id == arriving.c.customer_id,
        wanted.c.journey == program.name,
        wanted.c.key == arriving.c.key,
        wanted.c.cause == arriving.c.cause,
    )
    made = (
        select(
            select(wanted.c.id).where(mine).scalar_subquery().label("id"),
            (select(wanted.c.outcome).where(mine).scalar_subquery() if journey.holdout else null()).label("outcome"),
            arriving.c.cause,
            arriving.c.event_id,
            arriving.c.detail,
        )
        .where(arriving.c.verdict == ENTERS)
        .subquery("made")
    )
    decided = select(
        made.c.id,
        literal(0),
        literal("enters"),
        null(),
        case((made.c.outcome == "held_out", "held_out"), else_="entered"),
        made.c.cause,
        at,
        made.c.event_id,
        made.c.detail,
    ).where(made.c.id.is_not(None))
    connection.execute(insert_ignore(connection, decision).from_select(_DECISION, decided))
    if not journey.holdout:
        return entered, 0
    outs = select(func.count()).select_from(made).where(made.c.outcome == "held_out")
    return entered, connection.execute(outs).scalar_one()


def _tell_who_was_late(connection: Connection, program: Program) -> None:
    """Two engines may let the same customer in at once for two causes; the unique key keeps one of them out, and it is
    said why. (SQLite has one writer.)"""
    if connection.dialect.name == "sqlite":
        return
    there = exists().where(
        enrolment.c.customer_id == arriving.c.customer_id,
        enrolment.c.journey == program.name,
        enrolment.c.key == arriving.c.key,
        enrolment.c.cause == arriving.c.cause,
    )
    connection.execute(update(arriving).where(arriving.c.verdict == ENTERS, not_(there)).values(verdict="again"))


def _wait_at_the_door(connection: Connection, program: Program, now: datetime) -> int:
    """Keep those whose audience may yet come true (grace), or for whom the limit has no room (over: wait)."""
    rule = program.journey.enter
    waits: list[Any] = []
    if rule.grace is not None:
        waits.append((arriving.c.verdict == "audience", "grace", literal(now + rule.grace, Instant())))
    if rule.limit is not None and rule.limit.over == "wait":
        waits.append((arriving.c.verdict == "limit", "limit", null()))
    waiting = 0
    for which, reason, until in waits:
        if reason == "grace":
            which = and_(which, not_(_overdue(program, now)))
        # Who stands here already keeps their row, under the key it was written with: `start` names none.
        key = select(func.min(candidate.c.key)).where(_at_the_door(program)).scalar_subquery()
        rows = select(
            literal(program.name),
            arriving.c.customer_id,
            func.coalesce(key, arriving.c.key),
            arriving.c.cause,
            arriving.c.event_id,
            literal(reason),
            literal(now, Instant()),
            until,
        ).where(which)
        stand = insert_into(connection, candidate).from_select(_CANDIDATE, rows)
        new = stand.excluded
        stand = stand.on_conflict_do_update(
            index_elements=["journey", "customer_id", "key", "cause"],
            set_={"reason": new.reason, "until": func.coalesce(candidate.c.until, new.until)},
            where=candidate.c.reason != new.reason,
        )
        connection.execute(stand)
        kept = update(arriving).where(which).values(verdict="waits")
        waiting += connection.execute(kept).rowcount
    return waiting


def _at_the_door(program: Program) -> Any:
    return and_(
        candidate.c.journey == program.name,
        candidate.c.customer_id == arriving.c.customer_id,
        candidate.c.cause == arriving.c.cause,
    )


def _overdue(program: Program, now: datetime) -> Any:
    return exists().where(_at_the_door(program), candidate.c.until <= literal(now, Instant()))


def _leave_the_door(connection: Connection, program: Program) -> None:
    """Those who got in, or can't any more, no longer wait. They are sought one by one: thousands may stand there."""
    if connection.execute(_ANYBODY_AT_THE_DOOR, {"door": program.name}).first() is None:
        return
    told = arriving.c.verdict != "waits"
    who = candidate.c.customer_id.in_(select(arriving.c.customer_id).where(told))
    same = exists().where(_at_the_door(program), told)
    connection.execute(delete(candidate).where(candidate.c.journey == program.name, who, same))


def _refuse(connection: Connection, program: Program, now: datetime) -> None:
    refused = arriving.c.verdict.in_(REFUSED)
    rows = select(
        literal(program.name),
        arriving.c.customer_id,
        arriving.c.key,
        arriving.c.cause,
        literal(program.version_id),
        arriving.c.verdict,
        literal(now, Instant()),
        arriving.c.event_id,
        arriving.c.detail,
    ).where(refused)
    connection.execute(insert_ignore(connection, refusal).from_select(_REFUSAL, rows))


_ENROLMENT = [
    "journey",
    "version_id",
    "customer_id",
    "key",
    "cause",
    "event_id",
    "side_by_side",
    "state",
    "step",
    "visit",
    "due_at",
    "entered_at",
    "moved_at",
    "ended_at",
    "outcome",
]
_DECISION = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at", "event_id", "detail"]
_CANDIDATE = ["journey", "customer_id", "key", "cause", "event_id", "reason", "since", "until"]
_REFUSAL = ["journey", "customer_id", "key", "cause", "version_id", "reason", "at", "event_id", "detail"]
