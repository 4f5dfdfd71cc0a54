"""Child enrolments: a customer's item on a way of its own (law 4).

A child has its parent's customer, key, entry event and coupon; it lives side by side with its siblings, and what let it
in is its parent's visit. Its parent stands where the child was made until all of them have ended, and ends them with
itself.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    String,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    true,
)

from engine.cohort.cohort import Cohort, moving, with_people
from engine.cohort.scope import Scope
from engine.segments import stored
from engine.store.scratch import insert_ignore
from engine.store.tables import decision, enrolment
from engine.store.types import Instant

CAUSE = "each"


def bear(cohort: Cohort, verdict: str, scope: Scope, text: str, first: str | None, at_most: int) -> None:
    """Make a child at `first` for each item of the list that `text` names, `at_most` of them, in one statement."""
    document, path = scope.stored_list(text)
    items = stored.entries(document, path)
    at = literal(cohort.now, Instant())
    source = with_people(moving.join(enrolment, enrolment.c.id == moving.c.id))
    number = func.row_number().over(partition_by=enrolment.c.id)
    rows = (
        select(
            enrolment.c.journey,
            enrolment.c.version_id,
            enrolment.c.customer_id,
            enrolment.c.key,
            enrolment.c.event_id,
            enrolment.c.coupon_id,
            enrolment.c.id.label("parent_id"),
            enrolment.c.visit,
            stored.entry(items).label("item"),
            number.label("number"),
        )
        .select_from(source.join(items, true()))
        .where(moving.c.verdict == verdict)
        .subquery("rows")
    )
    of = [cast(part, String) for part in (rows.c.parent_id, rows.c.visit, rows.c.number)]
    made = select(
        rows.c.journey,
        rows.c.version_id,
        rows.c.customer_id,
        rows.c.key,
        literal(f"{CAUSE}:") + of[0] + ":" + of[1] + ":" + of[2],
        rows.c.event_id,
        true(),
        literal("ready"),
        literal(first),
        literal(1),
        at,
        at,
        at,
        rows.c.parent_id,
        rows.c.item,
        rows.c.coupon_id,
    ).where(rows.c.number <= literal(at_most, BigInteger))
    cohort.connection.execute(insert(enrolment).from_select(_CHILD, made))
    child = enrolment.alias("child")
    entered = (
        select(
            child.c.id,
            literal(0),
            literal("enters"),
            null(),
            literal("entered"),
            child.c.cause,
            at,
            child.c.event_id,
            null(),
        )
        .select_from(moving.join(child, child.c.parent_id == moving.c.id))
        .where(moving.c.verdict == verdict, child.c.visit == 1, child.c.state == "ready")
    )
    cohort.connection.execute(insert_ignore(cohort.connection, decision).from_select(_DECISION, entered))


_CHILD = [
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
    "parent_id",
    "item",
    "coupon_id",
]
_DECISION = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at", "event_id", "detail"]
