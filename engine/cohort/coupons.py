"""Coupon codes: giving each of a cohort one, all in a fixed number of statements.

No code is ever two people's, and nobody has two of a pool in one scope, whatever runs beside it:

- Codes are taken with their rows locked, and rows that another has locked are passed over. A unique key says a customer
  has one code of a pool in a scope; in that of the customer, who is in several journeys, their row is locked first.
- Whoever relies on a code that was given before (asks for it again, or has a message carry it) first raises `asked`,
  which locks it. A release (engine/runtime/coupons.py) takes only what still has the `asked` that it has seen.
- A code that somebody may have read never goes back to the pool.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    cast,
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

from engine.cohort.chance import Chance, codes
from engine.cohort.cohort import Cohort, moving
from engine.language.rewards import Mask, Pool
from engine.segments.seen import json_object
from engine.store.given import given, packed
from engine.store.marks import put
from engine.store.scratch import COUNTED, insert_ignore, scratch
from engine.store.tables import coupon, customer, enrolment, message
from engine.store.types import Instant, id_type

GIVEN, NONE_LEFT, USED_UP, BUSY = "given", "none_left", "used_up", "busy"
"""What became of somebody at a coupon step: they have a code; the pool has none; the code of this scope was redeemed or
has expired, and there is no second one; or others are just taking the last ones, which may yet come back."""

FREE = ("available", "released")
HELD = ("reserved", "issued")
ROUNDS = 4
"""So often new codes are drawn, for those that were drawn before."""

wanting = Table(
    "coupon_wanting",
    MetaData(),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("customer_id", id_type()),
    Column("scope", Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
taking = Table(
    "coupon_taking",
    MetaData(),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("coupon_id", id_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


def folded(code: str) -> str:
    """A code as it is told from others: people type small letters, and spaces around it."""
    return code.strip().casefold()


def held(customer_id: ColumnElement[int], now: datetime) -> ColumnElement[bool]:
    """Whether a row of `coupon` is a code this customer has and can use."""
    good = or_(coupon.c.expires_at.is_(None), coupon.c.expires_at > literal(now, Instant()))
    # Not in the words of the index of when codes expire: PostgreSQL, which may believe from the time when the pool was
    # full that hardly any code is held, would read all of them for each customer.
    state = func.coalesce(coupon.c.state, "")
    return and_(coupon.c.customer_id == customer_id, state.in_(HELD), good)


def reserve(
    cohort: Cohort, verdict: str, name: str, pool: Pool, scope: str, zone: str, told: bool, chance: Chance
) -> None:
    """Give everybody with this verdict their code of a pool, and the verdict that says what became of it.

    scope: step, entry or customer; they get the code they have there already. told: it is told otherwise than by
    messages, so it counts as issued at once."""
    connection, now = cohort.connection, cohort.now
    key = _scope(scope, cohort.step)
    mine = and_(coupon.c.pool == name, coupon.c.customer_id == moving.c.customer_id, coupon.c.scope == key)
    chosen = moving.c.verdict == verdict
    if scope == "customer" and connection.dialect.name == "postgresql":
        # Another journey may be giving them their one code just now. (SQLite has one writer.)
        them = select(customer.c.id).where(customer.c.id.in_(select(moving.c.customer_id).where(chosen)))
        connection.execute(them.order_by(customer.c.id).with_for_update(key_share=True)).all()
    connection.execute(update(coupon).where(mine, chosen).values(asked=coupon.c.asked + 1))
    lacking = _lacking(connection, chosen, mine, key)
    ends = None if pool.expires is None else pool.expires.at(now, zone)
    short = False
    if lacking and (ends is None or ends > now):
        taken = _take(connection, name, lacking)
        if taken < lacking and pool.generate is not None:
            _make(connection, name, pool, lacking - taken, chance)
            taken = _take(connection, name, lacking)
        short = taken < lacking
        _pair(connection, now, ends, told)
    _judge(connection, chosen, mine, name, now, busy=short)
    got = and_(enrolment.c.id == moving.c.id, moving.c.verdict == GIVEN)
    connection.execute(update(enrolment).where(got, mine).values(coupon_id=coupon.c.id))
    none = and_(enrolment.c.id == moving.c.id, moving.c.verdict.in_((NONE_LEFT, USED_UP)))
    # They have no code now, and certainly not one of the pool they asked before.
    connection.execute(update(enrolment).where(none, enrolment.c.coupon_id.is_not(None)).values(coupon_id=null()))
    if told:
        issued = {"state": "issued", "issued_at": now}
        connection.execute(
            update(coupon).where(mine, moving.c.verdict == GIVEN, coupon.c.state == "reserved").values(issued)
        )


def _scope(scope: str, step: str | None) -> ColumnElement[str]:
    """Where the code is somebody's one of its pool."""
    if scope == "customer":
        return literal("customer", Text)
    way = literal(f"{scope}:", Text) + cast(moving.c.id, Text)
    return way if scope == "entry" else way + literal(f":{step}", Text)


def _lacking(
    connection: Connection, chosen: ColumnElement[bool], mine: ColumnElement[bool], key: ColumnElement[str]
) -> int:
    """Number those who have no code of this scope yet. Somebody who stands here twice may want it once."""
    who = (
        select(moving.c.customer_id, key.label("scope"))
        .where(chosen, not_(exists().where(mine).correlate(moving)))
        .distinct()
        .subquery("who")
    )
    place = func.row_number().over(order_by=(who.c.customer_id, who.c.scope))
    scratch(connection, wanting)
    add = insert(wanting).from_select(list(wanting.c), select(place, who.c.customer_id, who.c.scope))
    return connection.execute(add, execution_options=COUNTED).rowcount


def _take(connection: Connection, name: str, number: int) -> int:
    """Lock so many free codes, those first that nobody ever had, and number them. How many there were."""
    free = (
        select(coupon.c.id)
        .where(coupon.c.pool == name, coupon.c.state.in_(FREE))
        .order_by(coupon.c.state, coupon.c.id)
        .limit(number)
        .with_for_update(skip_locked=True)
        .subquery("free")
    )
    scratch(connection, taking)
    rows = select(func.row_number().over(order_by=free.c.id), free.c.id)
    add = insert(taking).from_select([taking.c.place, taking.c.coupon_id], rows)
    return connection.execute(add, execution_options=COUNTED).rowcount


def _pair(connection: Connection, now: datetime, ends: datetime | None, told: bool) -> None:
    """The n-th code to the n-th who wants one."""
    pairs = taking.join(wanting, wanting.c.place == taking.c.place)
    found = select(taking.c.coupon_id, wanting.c.customer_id, wanting.c.scope).select_from(pairs).subquery("pairs")
    values = {
        "state": "reserved",
        "customer_id": found.c.customer_id,
        "scope": found.c.scope,
        "asked": coupon.c.asked + 1,
        "reserved_at": now,
        "expires_at": ends,
    }
    connection.execute(update(coupon).where(coupon.c.id == found.c.coupon_id).values(values))


def _make(connection: Connection, name: str, pool: Pool, number: int, chance: Chance) -> None:
    """Draw new codes for a pool that makes its own: so many, unless it may have no more."""
    if pool.count is not None:
        # The mark's row is locked until the end: two who draw at once would both think there is room.
        put(connection, f"coupons:{name}", None)
        there = connection.scalar(select(func.count()).where(coupon.c.pool == name)) or 0
        number = min(number, pool.count - there)
    assert pool.generate is not None
    for _ in range(ROUNDS):
        if number <= 0:
            return
        number -= add_codes(connection, name, codes(Mask(pool.generate), number, chance))


def add_codes(connection: Connection, name: str, new: list[str]) -> int:
    """Put codes into a pool, but those that are in one already. How many were new."""
    return len(fresh_codes(connection, name, new))


def fresh_codes(connection: Connection, name: str, new: list[str]) -> set[str]:
    """The same; the folded codes that were new."""
    rows = given(connection.dialect.name, code=Text(), folded=Text())
    columns = ["pool", "code", "folded", "state", "asked"]
    free = select(literal(name), rows.c.code, rows.c.folded, literal("available"), literal(0)).where(true())
    add = insert_ignore(connection, coupon).from_select(columns, free).returning(coupon.c.folded)
    # In one order everywhere: two who add the same codes would else wait for each other.
    by_key = sorted({folded(code): code.strip() for code in reversed(new)}.items())
    return set(connection.scalars(add, packed((code, key) for key, code in by_key)))


def _judge(
    connection: Connection, chosen: ColumnElement[bool], mine: ColumnElement[bool], name: str, now: datetime, busy: bool
) -> None:
    have = exists().where(mine, held(moving.c.customer_id, now)).correlate(moving)
    had = exists().where(mine).correlate(moving)
    none: ColumnElement[str] = literal(NONE_LEFT)
    if busy:
        # Codes that are free as far as can be seen, and locked by somebody who has yet to commit.
        others = exists().where(coupon.c.pool == name, coupon.c.state.in_(FREE))
        none = case((others, BUSY), else_=NONE_LEFT)
    code = select(coupon.c.code).where(mine, held(moving.c.customer_id, now)).correlate(moving).scalar_subquery()
    connection.execute(
        update(moving)
        .where(chosen)
        .values(
            verdict=case((have, GIVEN), (had, USED_UP), else_=none),
            detail=case((have, json_object({"code": code})), else_=null()),
        )
    )


def carry(connection: Connection, messages: ColumnElement[bool], now: datetime) -> None:
    """Have these claimed messages carry the codes that their enrolments were given. Those that have none carry none.

    The codes are locked first: one that is just being released is none of theirs any more."""
    mine = and_(
        enrolment.c.id == message.c.enrolment_id,
        coupon.c.id == enrolment.c.coupon_id,
        held(message.c.customer_id, now),
        messages,
    )
    connection.execute(update(coupon).where(mine).values(asked=coupon.c.asked + 1))
    connection.execute(update(message).where(mine, message.c.coupon_id.is_(None)).values(coupon_id=coupon.c.id))


def carries_none(now: datetime) -> ColumnElement[bool]:
    """True of a message that carries no code, or one its customer can't use any more."""
    here = exists().where(coupon.c.id == message.c.coupon_id, held(message.c.customer_id, now))
    return not_(here.correlate(message))


def issue(connection: Connection, messages: ColumnElement[bool], now: datetime) -> None:
    """The codes that these messages carry were told, if the messages were accepted."""
    told = and_(coupon.c.id == message.c.coupon_id, message.c.state == "accepted", messages)
    issued = {"state": "issued", "issued_at": now}
    connection.execute(update(coupon).where(told, coupon.c.state == "reserved").values(issued))
