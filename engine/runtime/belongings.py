"""What a customer has, handed to another who turns out to be the same person: tallies, consents, tags, segments, what
the doors of journeys remember, and the profile.

Where both have a row for the same thing, the two become the row that one customer would have had from the start; of
consents the stricter, of what a door remembers the older, of facts about them the newer word.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from engine.runtime.profile import known_facts, news
from engine.store.scratch import insert_into
from engine.store.tables import (
    candidate,
    cap_slot,
    consent,
    consent_said,
    coupon,
    customer,
    customer_tag,
    event,
    hush,
    identity,
    journey_version,
    points_entry,
    points_lot,
    refusal,
    segment_member,
    tally,
    touched,
)
from engine.store.types import id_type

Values = dict[str, Any]


def hand_over(connection: Connection, winner: int, loser: int, now: datetime, *, page: bool = False) -> None:
    """Give the winner all that names the loser, but for enrolments and their messages, in the caller's transaction.
    `page`: it is a page that says they are one."""
    for table in (event, identity):
        mine = table.c.customer_id == loser
        connection.execute(update(table).where(mine).values(customer_id=winner))
    _tallies(connection, winner, loser)
    _said(connection, winner, loser)
    _memberships(connection, winner, loser)
    _slots(connection, winner, loser)
    _doors(connection, winner, loser)
    _rewards(connection, winner, loser)
    connection.execute(delete(touched).where(touched.c.customer_id == loser))
    _profile(connection, winner, loser, now, page)


def _tallies(connection: Connection, winner: int, loser: int) -> None:
    def values(old: Any, new: Any) -> Values:
        return {
            "count": old.count + new.count,
            "total": old.total + new.total,
            "first_at": _least(old.first_at, new.first_at),
            "last_at": _most(old.last_at, new.last_at),
        }

    add, old, new = _given(connection, tally, winner, loser)
    _write(connection, tally, loser, add.on_conflict_do_update(index_elements=_key(tally), set_=values(old, new)))


def _said(connection: Connection, winner: int, loser: int) -> None:
    """What they said of messages: the strictest word holds, and of two like words the newer."""
    add, old, new = _given(connection, consent, winner, loser)
    stricter = or_(and_(new.state == "off", old.state != "off"), and_(new.state == "pending", old.state == "on"))
    newer = and_(new.state == old.state, new.at > old.at)
    said = {name: new[name] for name in ("state", "at", "source", "proof")}
    _write(
        connection,
        consent,
        loser,
        add.on_conflict_do_update(index_elements=_key(consent), set_=said, where=or_(stricter, newer)),
    )
    add, _, _ = _given(connection, consent_said, winner, loser)
    _write(connection, consent_said, loser, add.on_conflict_do_nothing())
    add, old, new = _given(connection, hush, winner, loser)
    until = {"until": _most(old.until, new.until)}
    _write(connection, hush, loser, add.on_conflict_do_update(index_elements=_key(hush), set_=until))
    add, _, _ = _given(connection, customer_tag, winner, loser)
    _write(connection, customer_tag, loser, add.on_conflict_do_nothing())


def _memberships(connection: Connection, winner: int, loser: int) -> None:
    """In a segment if either is: the next look judges the one customer anew. Joins go on counting from the higher, so
    that no later join has the cause of one that was."""
    add, old, new = _given(connection, segment_member, winner, loser)
    was_in, is_in = old.left_at.is_(None), new.left_at.is_(None)
    both, neither = and_(was_in, is_in), and_(old.left_at.is_not(None), new.left_at.is_not(None))
    later = case((new.left_at > old.left_at, new.joined_at), else_=old.joined_at)
    joined_at = case(
        (both, _least(old.joined_at, new.joined_at)), (neither, later), (is_in, new.joined_at), else_=old.joined_at
    )
    row = {
        "joined_at": joined_at,
        "left_at": case((neither, _most(old.left_at, new.left_at)), else_=null()),
        "joins": _most(old.joins, new.joins),
    }
    _write(
        connection,
        segment_member,
        loser,
        add.on_conflict_do_update(index_elements=_key(segment_member), set_=row),
    )


def _slots(connection: Connection, winner: int, loser: int) -> None:
    """What either got counts, numbered on from the winner's: together they may have more than a cap lets one have."""
    theirs = cap_slot.alias("theirs")
    before = select(func.count()).where(theirs.c.customer_id == winner, theirs.c.cap == cap_slot.c.cap)
    changed = {"customer_id": literal(winner, id_type()), "n": cap_slot.c.n + before.scalar_subquery()}
    row = [changed.get(column.name, column) for column in cap_slot.c]
    mine = cap_slot.c.customer_id == loser
    connection.execute(insert(cap_slot).from_select(list(cap_slot.c), select(*row).where(mine)))
    connection.execute(delete(cap_slot).where(mine))


def _doors(connection: Connection, winner: int, loser: int) -> None:
    """Who waits at a door, and who was turned away: of the same cause the older."""
    # By journey, too: only so does the key of the table of refusals serve it.
    journeys = list(connection.scalars(select(journey_version.c.journey).distinct()))
    for table, at, served in (
        (candidate, candidate.c.since, None),
        (refusal, refusal.c.at, refusal.c.journey.in_(journeys)),
    ):
        add, _, new = _given(connection, table, winner, loser, served)
        rest = {c.name: new[c.name] for c in table.c if not c.primary_key}
        add = add.on_conflict_do_update(index_elements=_key(table), set_=rest, where=new[at.name] < at)
        _write(connection, table, loser, add, served)


def _rewards(connection: Connection, winner: int, loser: int) -> None:
    """Points and codes add up. Where each has their one code of a pool, the winner's goes on being it; the other is
    theirs as well."""
    for table in (points_lot, points_entry):
        connection.execute(update(table).where(table.c.customer_id == loser).values(customer_id=winner))
    mine = coupon.alias("mine")
    has = exists().where(mine.c.customer_id == winner, mine.c.pool == coupon.c.pool, mine.c.scope == coupon.c.scope)
    # What follows tells it from the winner's.
    other = case((has.correlate(coupon), coupon.c.scope + literal("#") + cast(coupon.c.id, Text)), else_=coupon.c.scope)
    theirs = update(coupon).where(coupon.c.customer_id == loser)
    connection.execute(theirs.values(customer_id=winner, scope=other, asked=coupon.c.asked + 1))


def _profile(connection: Connection, winner: int, loser: int, now: datetime, page: bool) -> None:
    """Of each fact the newer word holds."""
    both = known_facts(connection, (winner, loser))
    mine = both[winner]
    mine.join(both[loser], page=page)
    connection.execute(update(customer).where(customer.c.id == winner).values(news(mine, now)))


def _given(
    connection: Connection, table: Table, winner: int, loser: int, where: ColumnElement[bool] | None = None
) -> tuple[Any, Any, Any]:
    """An insert of the loser's rows as the winner's, the columns of a row that is there, and of the one that comes."""
    names = [column.name for column in table.c]
    row = [literal(winner, id_type()) if name == "customer_id" else table.c[name] for name in names]
    theirs = select(*row).where(_of(table, loser, where))
    add = insert_into(connection, table).from_select(names, theirs)
    return add, table.c, add.excluded


def _write(
    connection: Connection, table: Table, loser: int, add: Any, where: ColumnElement[bool] | None = None
) -> None:
    connection.execute(add)
    connection.execute(delete(table).where(_of(table, loser, where)))


def _of(table: Table, customer_id: int, where: ColumnElement[bool] | None) -> ColumnElement[bool]:
    mine = table.c.customer_id == customer_id
    return mine if where is None else and_(mine, where)


def _key(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


def _least(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((other < one, other), else_=one)


def _most(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((other > one, other), else_=one)
