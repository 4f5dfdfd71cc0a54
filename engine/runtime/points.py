"""Points after they were given: spent, taken back, expired.

Whoever takes points locks the customers first, in the order of their ids: two who spend at once come one after the
other, and no balance falls below zero. What expires first is spent first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    case,
    func,
    insert,
    literal,
    literal_column,
    not_,
    null,
    select,
    update,
)

from engine.cohort.points import assess, spendable
from engine.language.rewards import Tier
from engine.language.types import TEXT
from engine.runtime.matching import lock_customers
from engine.segments.stored import read
from engine.store.given import given, packed
from engine.store.scratch import insert_ignore, scratch
from engine.store.tables import event, points_entry, points_lot
from engine.store.types import Instant, id_type

lots = Table(
    "points_taking",
    MetaData(),
    Column("lot_id", id_type(), primary_key=True, autoincrement=False),
    Column("customer_id", id_type()),
    Column("event_id", id_type()),
    Column("points", BigInteger),
    Column("owed", BigInteger),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
"""Lots, how many points of each are taken, and how many of it the customer has spent already."""

LINE = ["customer_id", "kind", "points", "asked", "at", "lot_id", "event_id"]


class Spent(NamedTuple):
    """A customer spends so many points, as an event says."""

    customer_id: int
    event_id: int
    points: int


class TakenBack(NamedTuple):
    """What was given for the event with this value is taken back, as another event says."""

    customer_id: int
    event_id: int
    value: str


def balance(connection: Connection, customer_id: int, now: datetime) -> tuple[int, int]:
    """What a customer can spend now, and what is still pending."""
    mine = (points_lot.c.customer_id == customer_id, points_lot.c.remaining > 0)
    later = points_lot.c.active_at > literal(now, Instant())
    total = func.coalesce(func.sum(points_lot.c.remaining), 0)
    active = connection.scalar(select(total).where(*mine, spendable(now)))
    pending = connection.scalar(select(total).where(*mine, later))
    return int(active or 0), int(pending or 0)


def spend(connection: Connection, spent: Sequence[Spent], now: datetime) -> None:
    """Take these points from what the customers have, at most one sum a customer: as many as there are. The ledger
    keeps how many were asked for."""
    if not spent:
        return
    lock_customers(connection, sorted({one.customer_id for one in spent}))
    rows = given(connection.dialect.name, customer_id=id_type(), event_id=id_type(), points=BigInteger())
    asked = select(rows.c.customer_id, rows.c.event_id, rows.c.points.label("asked")).subquery("asked")
    _spend(connection, asked, packed(map(tuple, spent)), "spent", now)


def _spend(
    connection: Connection, asked: Subquery, rows: dict[str, str], kind: Literal["spent", "taken_back"], now: datetime
) -> None:
    """`asked`: customer_id, event_id, asked; each customer once. Their customers are locked."""
    order = (points_lot.c.expires_at.is_(None), points_lot.c.expires_at, points_lot.c.id)
    before = func.sum(points_lot.c.remaining).over(
        partition_by=points_lot.c.customer_id, order_by=order, rows=(None, -1)
    )
    wanted = asked.c.asked - func.coalesce(before, 0)
    found = (
        select(
            points_lot.c.id.label("lot_id"),
            points_lot.c.customer_id,
            asked.c.event_id,
            case((wanted < points_lot.c.remaining, wanted), else_=points_lot.c.remaining).label("points"),
        )
        .join(asked, asked.c.customer_id == points_lot.c.customer_id)
        .where(spendable(now))
        .subquery("found")
    )
    scratch(connection, lots)
    into = [lots.c.lot_id, lots.c.customer_id, lots.c.event_id, lots.c.points]
    connection.execute(insert(lots).from_select(into, select(found).where(found.c.points > 0)), rows)
    _take(connection)
    taken = select(func.coalesce(func.sum(lots.c.points), 0)).where(lots.c.event_id == asked.c.event_id)
    lines = select(
        asked.c.customer_id,
        literal(kind),
        -taken.scalar_subquery(),
        asked.c.asked,
        literal(now, Instant()),
        null(),
        asked.c.event_id,
    )
    connection.execute(insert(points_entry).from_select(LINE, lines), rows)


def _take(connection: Connection) -> None:
    mine = points_lot.c.id == lots.c.lot_id
    connection.execute(update(points_lot).where(mine).values(remaining=points_lot.c.remaining - lots.c.points))


def take_back(
    connection: Connection, taken: Sequence[TakenBack], property_: str, tiers: Sequence[Tier], now: datetime
) -> None:
    """Take back what was given for events with the same value of this property, each lot once: what remains of it, and
    for what was spent of it as many as the customer has otherwise."""
    if not taken:
        return
    ids = sorted({one.customer_id for one in taken})
    lock_customers(connection, ids)
    rows = given(connection.dialect.name, customer_id=id_type(), event_id=id_type(), value=Text())
    expired = select(func.coalesce(func.sum(points_entry.c.points), 0)).where(
        points_entry.c.lot_id == points_lot.c.id, points_entry.c.kind == "expired"
    )
    owed = points_lot.c.points - points_lot.c.remaining + expired.scalar_subquery()  # the line is negative
    found = (
        select(points_lot.c.id, points_lot.c.customer_id, func.min(rows.c.event_id), points_lot.c.remaining, owed)
        .join(rows, rows.c.customer_id == points_lot.c.customer_id)
        .join(event, event.c.id == points_lot.c.event_id)
        .where(points_lot.c.taken_at.is_(None), read(event.c.properties, (property_,), TEXT) == rows.c.value)
        .group_by(points_lot.c.id)
    )
    scratch(connection, lots)
    connection.execute(insert(lots).from_select(list(lots.c), found), packed(map(tuple, taken)))
    lines = select(
        lots.c.customer_id,
        literal("taken_back"),
        -lots.c.points,
        lots.c.points + lots.c.owed,
        literal(now, Instant()),
        lots.c.lot_id,
        lots.c.event_id,
    )
    connection.execute(insert_ignore(connection, points_entry).from_select(LINE, lines.where(lots.c.lot_id > 0)))
    _take(connection)
    taken_lots = points_lot.c.id.in_(select(lots.c.lot_id))
    connection.execute(update(points_lot).where(taken_lots).values(taken_at=now))
    short = connection.execute(
        select(lots.c.customer_id, func.min(lots.c.event_id), func.sum(lots.c.owed))
        .group_by(lots.c.customer_id)
        .having(func.sum(lots.c.owed) > 0)
    ).all()
    who = select(points_lot.c.customer_id).where(points_lot.c.customer_id.in_(ids))
    if short:
        again = given(connection.dialect.name, customer_id=id_type(), event_id=id_type(), asked=BigInteger())
        debts = packed((row[0], row[1], int(row[2])) for row in short)
        _spend(connection, select(again).subquery("asked"), debts, "taken_back", now)
    assess(connection, tiers, who, now)


def due(connection: Connection, now: datetime) -> bool:
    """Whether there is something to look at."""
    return any(_whose(connection, which, 1) for which in _turned(now))


def _turned(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Lots that have expired, and lots that have become active, of which nobody has taken note. Constants in the words
    of their partial indexes."""
    at = literal(now, Instant())
    over = and_(points_lot.c.expires_at <= at, points_lot.c.remaining > literal_column("0"))
    return over, and_(points_lot.c.active_at <= at, not_(points_lot.c.counted))


def look(connection: Connection, tiers: Sequence[Tier], now: datetime) -> None:
    """What the tick does: write down what has expired, and count what has become active."""
    at = literal(now, Instant())
    over, begun = _turned(now)
    ids = sorted({*_whose(connection, over, AT_ONCE), *_whose(connection, begun, AT_ONCE)})
    if not ids:
        return
    lock_customers(connection, ids)
    lines = select(
        points_lot.c.customer_id,
        literal("expired"),
        -points_lot.c.remaining,
        null(),
        at,
        points_lot.c.id,
        null(),
    ).where(over, points_lot.c.customer_id.in_(ids))
    connection.execute(insert_ignore(connection, points_entry).from_select(LINE, lines))
    connection.execute(update(points_lot).where(over, points_lot.c.customer_id.in_(ids)).values(remaining=0))
    connection.execute(update(points_lot).where(begun, points_lot.c.customer_id.in_(ids)).values(counted=True))
    assess(connection, tiers, select(points_lot.c.customer_id).where(points_lot.c.customer_id.in_(ids)), now)


AT_ONCE = 5_000
"""Customers of whom one look writes down what time did to their points, at most: the next look goes on."""


def _whose(connection: Connection, which: ColumnElement[bool], limit: int) -> Sequence[int]:
    rows: Select[int] = select(points_lot.c.customer_id).where(which).limit(limit)
    return connection.scalars(rows).all()
