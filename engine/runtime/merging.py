"""Two customers turn out to be one: the loser becomes the winner, and all they ever did is kept.

Laws 3 and 4: nobody else takes facts in or lets people in meanwhile (`store.merges`), and the enrolments of both are
locked, so no row can come to name somebody who is gone. Each first hears what happened to the other: who left a basket
under one name and bought under the other has bought.

Of two ways through a journey that one customer would have gone once, the older goes on. The younger ends as `merged`,
and a decision says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, String, cast, delete, func, literal, select, update

from engine.cohort.cohort import Cohort, Judgement, entry_event
from engine.cohort.points import assess
from engine.cohort.program import Program
from engine.runtime import admission, matching
from engine.runtime.belongings import hand_over
from engine.runtime.identity import identified
from engine.runtime.ingest import Incoming, arrived, park
from engine.store.apart import apart
from engine.store.scratch import fill, insert_into, scratch
from engine.store.tables import IN_JOURNEY, customer, enrolment, event, identity, message

log = logging.getLogger("karibu.merging")

MERGED = "merged"
EVENT = "customer_merged"
SOURCE = "karibu"


def merge(
    connection: Connection,
    programs: Sequence[Program],
    winner: int,
    loser: int,
    now: datetime,
    *,
    page: bool = False,
) -> tuple[Incoming, set[int]]:
    """Make the loser the winner, in a transaction that is `alone`. Both must be there. `page`: a page says so.

    Returns the event that tells of it, to be taken in by the same transaction, and the versions that have work now."""
    names = _lock(connection, winner, loser)
    wakes = {
        version
        for one, other in ((winner, loser), (loser, winner))
        for version in _hear(connection, programs, one, other, now)
    }
    _enrolments(connection, winner, loser, now)
    hand_over(connection, winner, loser, now, page=page)
    admission.passed(connection, programs, winner, now)
    connection.execute(delete(customer).where(customer.c.id == loser))
    lead(connection, names[loser], winner, now)
    _tier(connection, programs, winner, now)

    told = Incoming(names[winner], EVENT, f"merge:{names[loser]}", now, {"merged": names[loser]}, source=SOURCE)
    return told, wakes


def _tier(connection: Connection, programs: Sequence[Program], winner: int, now: datetime) -> None:
    """The tier that the points of both make."""
    tiers = next((program.project.tiers for program in programs), ())
    assess(connection, tiers, select(customer.c.id).where(customer.c.id == winner), now)


def lead(connection: Connection, name: str, customer_id: int, now: datetime) -> None:
    """Have this name, which is no customer's own, lead to a customer."""
    kind, value = identified(name)
    add = insert_into(connection, identity).values(kind=kind, value=value, customer_id=customer_id, at=now)
    new = {"customer_id": customer_id, "at": now}
    connection.execute(add.on_conflict_do_update(index_elements=["kind", "value"], set_=new))


def _lock(connection: Connection, winner: int, loser: int) -> dict[int, str]:
    """Lock what moves and deliveries of both write, in the order in which they do: messages, enrolments, customers.
    Their external ids."""
    both = (winner, loser)
    theirs = message.c.enrolment_id.in_(select(enrolment.c.id).where(enrolment.c.customer_id == loser))
    messages = select(message.c.id).where(theirs).order_by(message.c.id)
    connection.execute(messages.with_for_update()).all()
    live = select(enrolment.c.id).where(enrolment.c.customer_id.in_(both), IN_JOURNEY).order_by(enrolment.c.id)
    connection.execute(live.with_for_update()).all()
    people = select(customer.c.id, customer.c.external_id).where(customer.c.id.in_(both)).order_by(customer.c.id)
    return dict(connection.execute(people.with_for_update()).all())


def _hear(connection: Connection, programs: Sequence[Program], who: int, other: int, now: datetime) -> list[int]:
    """Let the journeys of `who` hear the events of `other`, one at a time in the order in which they happened, each
    judged by its own time. The versions that have work now."""
    since = _listening(connection, programs, who, now)
    inside = [program for program in programs if program.version_id in since]
    names = {name for program in inside for name in _heard_by(program)}
    if not names:
        return []
    events = (
        select(event.c.id, event.c.name)
        .where(
            event.c.customer_id == other,
            event.c.name.in_(sorted(names)),
            event.c.occurred_at >= min(since[program.version_id] for program in inside),
        )
        .order_by(event.c.occurred_at, event.c.id)
    )
    wakes = []
    for event_id, name in connection.execute(events).all():
        scratch(connection, arrived)
        fill(connection, arrived, [(event_id, who, name)])
        for program in inside:
            if name not in _heard_by(program):
                continue
            with apart(connection) as tried:  # whatever a journey does wrong, two customers can still become one
                if matching.hear(connection, program, arrived, {name}, now):
                    wakes.append(program.version_id)
            if tried.error is not None:
                park(connection, program, {name}, tried.error, now)
    return wakes


def _heard_by(program: Program) -> set[str]:
    return {*program.exit_events, *program.goal_events, *program.awaited}


def _listening(connection: Connection, programs: Sequence[Program], who: int, now: datetime) -> dict[int, datetime]:
    """The versions to which an event of theirs may still mean something, and since when: those they are in, and those
    whose goal they may yet reach."""
    at = func.coalesce(entry_event.c.occurred_at, enrolment.c.entered_at, type_=enrolment.c.entered_at.type)
    rows = connection.execute(
        select(enrolment.c.version_id, enrolment.c.state, at)
        .outerjoin(entry_event, entry_event.c.id == enrolment.c.event_id)
        .where(enrolment.c.customer_id == who)
    ).all()
    goals = {p.version_id: p.journey.goal.within for p in programs if p.journey.goal is not None}
    since: dict[int, datetime] = {}
    for version, state, entered in rows:
        if state != "ended" or (version in goals and entered + goals[version] >= now):
            since[version] = min(entered, since.get(version, entered))
    return since


def _enrolments(connection: Connection, winner: int, loser: int, now: datetime) -> None:
    rows = connection.execute(
        select(enrolment)
        .where(enrolment.c.customer_id.in_((winner, loser)))
        .order_by(enrolment.c.entered_at, enrolment.c.id)
    ).all()
    again, over = _younger(rows)
    if over:
        cohort = Cohort.freeze(
            connection,
            step=None,
            who=enrolment.c.id.in_(sorted(over)),
            judgement=Judgement(literal(MERGED), literal(MERGED)),
            now=now,
            pass_id="merge",
            wait=True,
        )
        cohort.finish(MERGED, MERGED)
    if again:
        # The cause stays readable; what follows tells it from the same cause of the other customer.
        other = enrolment.c.cause + literal("#") + cast(enrolment.c.id, String)
        connection.execute(update(enrolment).where(enrolment.c.id.in_(sorted(again))).values(cause=other))
    theirs = select(enrolment.c.id).where(enrolment.c.customer_id == loser)
    sent = update(message).where(message.c.enrolment_id.in_(theirs))
    connection.execute(sent.values(customer_id=winner))
    connection.execute(update(enrolment).where(enrolment.c.customer_id == loser).values(customer_id=winner))


def _younger(rows: Sequence[Row[Any]]) -> tuple[set[int], set[int]]:
    """Of enrolments in the order of their entry: those with a cause that an older one has, and those that end, because
    an older one with their cause was there or one with their key goes on."""
    causes: set[tuple[str, str, str]] = set()
    live: set[tuple[str, str]] = set()
    again: set[int] = set()
    over: set[int] = set()
    for row in rows:
        way = (row.journey, row.key)
        inside = row.state != "ended"
        if (*way, row.cause) in causes:
            again.add(row.id)
            if inside:
                over.add(row.id)
            continue
        causes.add((*way, row.cause))
        if inside and not row.side_by_side:
            if way in live:
                over.add(row.id)
            live.add(way)
    return again, over
