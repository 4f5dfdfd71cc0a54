"""What a step does to its customers in other journeys."""

from __future__ import annotations

from sqlalchemy import String, and_, cast, exists, func, literal, not_, null, select, update

from engine.cohort.cohort import Cohort, moving
from engine.store.scratch import insert_ignore
from engine.store.tables import IN_JOURNEY, candidate, decision, enrolment
from engine.store.types import Instant


def start(cohort: Cohort, verdict: str, journey: str) -> None:
    """Put these customers at the door of another journey, in this transaction: it lets them in, or says why not, at its
    next look.

    One visit of one step starts it once; the other journey sees the same `entry.*`."""
    cause = literal("start:") + cast(moving.c.id, String) + literal(":") + cast(moving.c.visit, String)
    rows = (
        select(
            literal(journey),
            moving.c.customer_id,
            literal(""),
            cause,
            enrolment.c.event_id,
            literal("start"),
            literal(cohort.now, Instant()),
            null(),
        )
        .select_from(moving.join(enrolment, enrolment.c.id == moving.c.id))
        .where(moving.c.verdict == verdict)
    )
    columns = ["journey", "customer_id", "key", "cause", "event_id", "reason", "since", "until"]
    cohort.connection.execute(insert_ignore(cohort.connection, candidate).from_select(columns, rows))


def stop(cohort: Cohort, verdict: str, journey: str, reason: str) -> None:
    """End this journey for these customers. Messages of it that haven't gone are stopped by the gate.

    Who is at this step is moved on by it, so of their own journey it ends what else they are in. An item of an `each`
    belongs with the enrolment it is of, and with that one's other items.

    The update marks what it ended with its pass, and the decisions are written for those: asking again who is live
    could name others."""
    who = select(moving.c.customer_id).where(moving.c.verdict == verdict)
    mine = enrolment.alias("mine")
    family = func.coalesce(mine.c.parent_id, mine.c.id) == func.coalesce(enrolment.c.parent_id, enrolment.c.id)
    same = and_(mine.c.customer_id == enrolment.c.customer_id, mine.c.id == moving.c.id, family)
    here = exists().where(same).correlate(enrolment)
    mark = f"{cohort.pass_id}/stop:{cohort.step}"
    ended = (
        update(enrolment)
        .where(enrolment.c.customer_id.in_(who), enrolment.c.journey == journey, IN_JOURNEY, not_(here))
        .values(state="ended", ended_at=cohort.now, due_at=None, outcome="stopped", pass_id=mark)
    )
    if not cohort.connection.execute(ended).rowcount:
        return
    rows = select(
        enrolment.c.id,
        enrolment.c.visit,
        literal("ends"),
        enrolment.c.step,
        literal("stopped"),
        literal(reason),
        literal(cohort.now, Instant()),
        null(),
        null(),
    ).where(
        enrolment.c.customer_id.in_(who),
        enrolment.c.journey == journey,
        enrolment.c.pass_id == mark,
        enrolment.c.ended_at == cohort.now,
    )
    columns = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at", "event_id", "detail"]
    cohort.connection.execute(insert_ignore(cohort.connection, decision).from_select(columns, rows))
