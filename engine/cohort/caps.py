"""Caps: how many messages a customer gets at most, for a whole cohort in a handful of statements.

A message that a cap covers takes one of its slots (`cap_slot`). Which one is the next follows from the slots that are
taken, so two journeys that want a customer's last one want the same row: the unique key lets one of them have it, and
the other looks again. On PostgreSQL that one waits for the first to commit; SQLite has one writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
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
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
    update,
)

from engine.cohort.gate import TEAM
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.language.gate import Cap
from engine.language.vocabulary import TRANSACTIONAL
from engine.store.local_time import DAY, day_number, day_text, local_day, utc_micros, weekday_of
from engine.store.scratch import COUNTED, insert_into, scratch
from engine.store.tables import cap_slot, customer
from engine.store.types import EPOCH, Instant, id_type

MINE = -1
"""Instead of a slot's number: this visit has one already."""

_ASKED = ("enrolment_id", "visit", "customer_id", "takes")


def covering(program: Program, channel: str) -> tuple[Cap, ...]:
    """The caps that count the messages of a journey by this channel, in the project's order."""
    if channel == TEAM or program.topic == TRANSACTIONAL:
        return ()
    return tuple(cap for cap in program.project.caps if cap.covers(program.topic, channel, program.name))


def reserve(
    connection: Connection, caps: Sequence[Cap], asks: Select[Any], now: datetime, brand_zone: str
) -> FromClause:
    """Take a slot of each of these caps for each visit that `asks` names (enrolment_id, visit, customer_id, takes: 1,
    or 0 to only look whether there is room), or none of any. A visit that has its slots keeps them.

    Gives a table of enrolment_id and `full`: the place of the first cap without room, NULL where all have room."""
    chosen = _chosen(len(caps))
    scratch(connection, chosen)
    turn = 0
    source: FromClause = asks.subquery("asks")
    while True:
        choices = _choices(source, caps, now, turn)
        connection.execute(insert(chosen).from_select([column.name for column in chosen.c], choices))
        if not _take(connection, chosen, caps, now, brand_zone, turn):
            return _told(chosen)
        source, turn = _again, turn + 1


def give_back(connection: Connection, visits: Select[Any]) -> None:
    """The slots of these visits (customer_id, enrolment_id, visit) are free again: their messages were not sent."""
    given = visits.subquery("given")
    mine = and_(
        cap_slot.c.customer_id.in_(select(given.c.customer_id)),
        tuple_(cap_slot.c.enrolment_id, cap_slot.c.visit).in_(select(given.c.enrolment_id, given.c.visit)),
    )
    connection.execute(update(cap_slot).where(mine).values(until=EPOCH))


def _take(
    connection: Connection, chosen: Table, caps: Sequence[Cap], now: datetime, brand_zone: str, turn: int
) -> bool:
    """Take what was chosen in this turn. True when some have to choose again: another was faster, or they are the
    second of one customer's."""
    numbers = _numbers(chosen)
    takers = and_(chosen.c.turn == turn, chosen.c.takes == 1, *(n.is_not(None) for n in numbers))
    wanted = sum((case((n == MINE, 0), else_=1) for n in numbers), literal(0))
    rows, people, slots = connection.execute(
        select(func.count(), func.count(chosen.c.customer_id.distinct()), func.sum(wanted)).where(takers)
    ).one()
    if rows != people:
        first = select(func.min(chosen.c.enrolment_id)).where(takers).group_by(chosen.c.customer_id)
        takers = and_(takers, chosen.c.enrolment_id.in_(first))
    taken = 0
    for n, cap in zip(numbers, caps, strict=True) if rows else ():
        taking = _taking(connection, chosen, n, cap, takers, now, brand_zone)
        taken += connection.execute(taking, execution_options=COUNTED).rowcount
    if rows == people and taken == (slots or 0):
        return False
    scratch(connection, _again)
    keys = [cap.key for cap in caps]
    own = (
        select(func.count())
        .where(
            cap_slot.c.customer_id == chosen.c.customer_id,
            cap_slot.c.cap.in_(keys),
            cap_slot.c.enrolment_id == chosen.c.enrolment_id,
            cap_slot.c.visit == chosen.c.visit,
            cap_slot.c.until > literal(now, Instant()),
        )
        .scalar_subquery()
    )
    wants = and_(chosen.c.turn == turn, chosen.c.takes == 1, *(n.is_not(None) for n in numbers))
    late = select(*(chosen.c[name] for name in _ASKED)).where(wants, own < len(caps))
    connection.execute(insert(_again).from_select(list(_ASKED), late))
    give_back(connection, select(_again.c.customer_id, _again.c.enrolment_id, _again.c.visit))
    connection.execute(delete(chosen).where(chosen.c.enrolment_id.in_(select(_again.c.enrolment_id))))
    return True


def _taking(
    connection: Connection,
    chosen: Table,
    n: ColumnElement[int],
    cap: Cap,
    takers: ColumnElement[bool],
    now: datetime,
    brand_zone: str,
) -> Any:
    """The insert that takes one cap's slots. It takes none that somebody else has taken since they were chosen."""
    at = literal(now, Instant())
    source: FromClause = chosen
    if cap.per.length is not None:
        until: ColumnElement[Any] = literal(now + cap.per.length, Instant())
    else:
        source = Onward(chosen, customer, customer.c.id == chosen.c.customer_id)
        until = _end_of(str(cap.per.calendar), now, brand_zone)
    rows = (
        select(chosen.c.customer_id, literal(cap.key), n, chosen.c.enrolment_id, chosen.c.visit, at, until)
        .select_from(source)
        .where(takers, n != MINE)
        .order_by(chosen.c.customer_id)  # two engines that take slots wait for each other in one order
    )
    add = insert_into(connection, cap_slot).from_select([column.name for column in cap_slot.c], rows)
    new = {name: add.excluded[name] for name in ("enrolment_id", "visit", "taken_at", "until")}
    return add.on_conflict_do_update(index_elements=["customer_id", "cap", "n"], set_=new, where=cap_slot.c.until <= at)


def _choices(asks: FromClause, caps: Sequence[Cap], now: datetime, turn: int) -> Select[Any]:
    """For each visit and cap the number of the slot to take, MINE, or NULL where there is no room."""
    slot = cap_slot.alias("slot")
    mine = and_(slot.c.customer_id == asks.c.customer_id, slot.c.cap.in_([cap.key for cap in caps]))
    taken = slot.c.until > literal(now, Instant())
    own = and_(taken, slot.c.enrolment_id == asks.c.enrolment_id, slot.c.visit == asks.c.visit)
    numbers = []
    for cap in caps:
        this = slot.c.cap == cap.key
        full = func.count(case((and_(this, taken), 1))) >= cap.at_most
        free = func.coalesce(func.min(case((and_(this, ~taken), slot.c.n))), func.count(case((this, 1))))
        has = func.count(case((and_(this, own), 1))) > 0
        numbers.append(case((has, MINE), (full, null()), else_=free))
    asked = [asks.c[name] for name in _ASKED]
    return select(*asked, literal(turn), *numbers).select_from(asks.outerjoin(slot, mine)).group_by(*asked)


def _end_of(calendar: str, now: datetime, brand_zone: str) -> ColumnElement[Any]:
    """When the customer's day, week or month is over, in microseconds."""
    today = local_day(now, customer.c.timezone, brand_zone)
    if calendar == "day":
        following = today + literal(1, BigInteger)
    elif calendar == "week":
        following = today - weekday_of(today) + literal(7, BigInteger)
    else:
        first = today - cast(func.substr(day_text(today), 9, 2), BigInteger) + literal(1, BigInteger)
        following = day_number(func.substr(day_text(first + literal(31, BigInteger)), 1, 8) + literal("01", Text))
    return utc_micros(following * literal(DAY, BigInteger), customer.c.timezone, brand_zone)


def _told(chosen: Table) -> FromClause:
    places = [(n.is_(None), place) for place, n in enumerate(_numbers(chosen))]
    return select(chosen.c.enrolment_id, case(*places, else_=null()).label("full")).subquery("told")


def _numbers(chosen: Table) -> list[ColumnElement[int]]:
    return [column for column in chosen.c if column.name.startswith("n_")]


@cache
def _chosen(caps: int) -> Table:
    return Table(
        f"chosen_{caps}",
        MetaData(),
        Column("enrolment_id", id_type(), primary_key=True, autoincrement=False),
        Column("visit", Integer),
        Column("customer_id", id_type()),
        Column("takes", Integer),
        Column("turn", Integer),
        *(Column(f"n_{place}", Integer) for place in range(caps)),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DELETE ROWS",
    )


_again = Table(
    "asks_again",
    MetaData(),
    Column("enrolment_id", id_type(), primary_key=True, autoincrement=False),
    Column("visit", Integer),
    Column("customer_id", id_type()),
    Column("takes", Integer),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
