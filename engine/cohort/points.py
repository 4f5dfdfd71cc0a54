"""Points: giving them to a cohort, and what follows of them for a customer's tier.

A gift is a lot: so many points, active from a moment and for a time. What a customer can spend is the sum of what
remains of their active lots, so it is right at any moment, whoever looks. Each change is a line of the ledger besides,
which is only ever added to.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    update,
)

from engine.cohort import facts
from engine.cohort.cohort import Cohort, moving
from engine.cohort.profile import patched
from engine.language.rewards import Tier
from engine.language.vocabulary import TIER
from engine.segments.seen import json_object
from engine.store.scratch import insert_ignore, insert_touched
from engine.store.tables import customer, enrolment, points_entry, points_lot
from engine.store.types import Instant, json_type

GIVEN, NOTHING = "given", "nothing"
MOST = 1_000_000_000
"""Points given at once, at most: an amount beyond it is a mistake of whoever sent it."""

_LOT = [
    "customer_id",
    "points",
    "remaining",
    "at",
    "active_at",
    "expires_at",
    "counted",
    "reason",
    "enrolment_id",
    "visit",
    "event_id",
]


def spendable(now: datetime) -> ColumnElement[bool]:
    """Whether points of a lot can be spent."""
    at = literal(now, Instant())
    lot = points_lot.c
    return and_(lot.remaining > 0, lot.active_at <= at, or_(lot.expires_at.is_(None), lot.expires_at > at))


def give(
    cohort: Cohort, verdict: str, pending: timedelta | None, expires: timedelta | None, reason: str | None
) -> None:
    """Give everybody with this verdict the points in their `detail`, once a visit, whatever runs twice."""
    connection, now = cohort.connection, cohort.now
    active = now + (pending or timedelta(0))
    points = _points(connection)
    lots = (
        select(
            moving.c.customer_id,
            points,
            points,
            literal(now, Instant()),
            literal(active, Instant()),
            null() if expires is None else literal(active + expires, Instant()),
            literal(active <= now),
            null() if reason is None else literal(reason),
            moving.c.id,
            moving.c.visit,
            enrolment.c.event_id,
        )
        .select_from(moving.join(enrolment, enrolment.c.id == moving.c.id))
        .where(moving.c.verdict == verdict)
    )
    connection.execute(insert_ignore(connection, points_lot).from_select(_LOT, lots))
    mine = and_(points_lot.c.enrolment_id == moving.c.id, points_lot.c.visit == moving.c.visit)
    lines = (
        select(points_lot.c.customer_id, literal("given"), points_lot.c.points, points_lot.c.at, points_lot.c.id)
        .select_from(moving.join(points_lot, mine))
        .where(moving.c.verdict == verdict)
    )
    columns = ["customer_id", "kind", "points", "at", "lot_id"]
    connection.execute(insert_ignore(connection, points_entry).from_select(columns, lines))


def _points(connection: Connection) -> ColumnElement[int]:
    """The points in the detail of a frozen row."""
    return cast(moving.c.detail.op("->>")("points"), BigInteger)


def assess(connection: Connection, tiers: Sequence[Tier], who: Select[Any], now: datetime) -> None:
    """Write the tier that the points earned make, of the customers whose ids `who` selects, and have their segments
    looked at. For customers nobody else writes of: each is locked, or the order of their ids is kept."""
    connection.execute(insert_touched(connection, who.distinct().order_by(who.selected_columns[0])))
    if not tiers:
        return
    lot = points_lot.alias()
    earned = (
        select(func.coalesce(func.sum(lot.c.points), 0))
        .where(lot.c.customer_id == customer.c.id, lot.c.active_at <= literal(now, Instant()), lot.c.taken_at.is_(None))
        .correlate(customer)
        .scalar_subquery()
    )
    steps = [(earned >= tier.points, tier.name) for tier in reversed(tiers)]
    reached = select(customer.c.id, case(*steps, else_=null()).label("tier")).where(customer.c.id.in_(who))
    found = reached.subquery("reached")
    known = customer.c.attributes.op("->>")(TIER)
    spoken = literal(facts.said((), (TIER,), now), json_type())
    connection.execute(
        update(customer)
        .where(customer.c.id == found.c.id, func.coalesce(known, "") != func.coalesce(found.c.tier, ""))
        .values(
            attributes=patched(connection, customer.c.attributes, json_object({TIER: found.c.tier})),
            said_at=patched(connection, customer.c.said_at, spoken),
            updated_at=now,
        )
    )
