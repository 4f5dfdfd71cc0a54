"""What becomes of coupon codes after they were reserved: released, expired, redeemed; and how many there are.

A code is released when it is certain that nobody was told it and nobody will be: all who were given it have left the
journey, or gone past its last message, and each message that was to carry it was stopped or refused. One in doubt may
have arrived, so its code stays with its customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Select,
    Text,
    and_,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    select,
    tuple_,
    update,
)

from engine.cohort.coupons import HELD, folded
from engine.cohort.program import Program
from engine.language.journey import MESSAGES
from engine.language.rewards import Pool
from engine.store.given import given, packed
from engine.store.tables import IN_JOURNEY, coupon, enrolment, message
from engine.store.types import Instant, id_type

HELD_ = coupon.c.state.in_([literal_column(f"'{state}'") for state in HELD])
"""Held by somebody, in the words of the partial index of when codes expire."""

RESERVED = coupon.c.state == literal_column("'reserved'")
"""Reserved for somebody who wasn't told it yet, in the words of its partial index."""

STATES = ("available", "released", "reserved", "issued", "redeemed", "expired")


CARRYING = (*MESSAGES, "coupon")
"""The steps that may still tell somebody the code they have, or rely on it."""

AT_ONCE = 5_000
"""Codes that one look expires, at most: the next look goes on."""


def due(connection: Connection, now: datetime) -> bool:
    """Whether there is something to look at."""
    reserved = select(coupon.c.id).where(RESERVED)
    return any(connection.execute(some.limit(1)).first() is not None for some in (_over(now), reserved))


def _over(now: datetime) -> Select[int]:
    return select(coupon.c.id).where(HELD_, coupon.c.expires_at <= literal(now, Instant()))


def look(connection: Connection, programs: Sequence[Program], now: datetime) -> None:
    """What the tick does: expire codes whose time is over, and release those that were told to nobody."""
    over = coupon.c.id.in_(_over(now).limit(AT_ONCE).with_for_update(skip_locked=True))
    connection.execute(update(coupon).where(over, coupon.c.state.in_(HELD)).values(state="expired"))
    release(connection, programs)


def release(connection: Connection, programs: Sequence[Program]) -> int:
    """Put codes back that nobody was told and nobody will be. How many."""
    past = [
        (program.version_id, node)
        for program in programs
        if program.names.coupons
        for node in program.graph.nodes
        if not any(program.graph.nodes[id].type in CARRYING for id in {node, *program.graph.after(node)})
    ]
    done = tuple_(enrolment.c.version_id, enrolment.c.step).in_(past) if past else false()
    may_tell = exists().where(enrolment.c.coupon_id == coupon.c.id, IN_JOURNEY, not_(done))
    # What isn't settled as not sent was told, or may have been.
    told = exists().where(message.c.coupon_id == coupon.c.id, message.c.state.not_in(("stopped", "refused")))
    idle = (
        select(coupon.c.id, coupon.c.asked)
        .where(RESERVED, not_(may_tell.correlate(coupon)), not_(told.correlate(coupon)))
        .subquery("idle")
    )
    # `asked` as it was seen: whoever has relied on the code since then has raised it, and keeps it.
    # The state is not asked in the words of the partial index: PostgreSQL, which may believe from the time when the
    # pool was full that hardly any code is reserved, would compare each of them with each.
    still = func.coalesce(coupon.c.state, "") == "reserved"
    mine = and_(coupon.c.id == idle.c.id, coupon.c.asked == idle.c.asked, still)
    back = {name: null() for name in ("customer_id", "scope", "reserved_at", "expires_at")}
    return connection.execute(update(coupon).where(mine).values(state="released", **back)).rowcount


class Used(NamedTuple):
    """A code that an event says was used."""

    code: str
    event_id: int
    at: datetime


def redeem(connection: Connection, used: Iterable[Used], pools: Sequence[str]) -> None:
    """Mark these codes of these pools as redeemed, each by the first event that says so.

    Whoever used it, and whatever it was: a code that was used before anybody was given it is never given to anybody."""
    rows: dict[str, tuple[str, int, int]] = {}
    for one in used:
        rows.setdefault(folded(one.code), (folded(one.code), one.event_id, int(one.at.timestamp() * 1_000_000)))
    if not rows:
        return
    told = given(connection.dialect.name, folded=Text(), event_id=id_type(), at=Instant())
    mine = and_(coupon.c.folded == told.c.folded, coupon.c.pool.in_(pools), coupon.c.state != "redeemed")
    values = {"state": "redeemed", "redeemed_at": told.c.at, "event_id": told.c.event_id, "asked": coupon.c.asked + 1}
    connection.execute(update(coupon).where(mine).values(values), packed(rows[key] for key in sorted(rows)))


@dataclass(frozen=True)
class Stock:
    """How a pool stands. `left`: codes to be given, None where it makes as many as are needed; `low`: fewer than the
    project wants to be warned of; `known`: project.yaml names it."""

    pool: str
    title: str | None
    counts: Mapping[str, int]
    left: int | None
    low: bool
    known: bool


def stock(connection: Connection, pools: Mapping[str, Pool]) -> Iterator[Stock]:
    """Every pool there is, in the files or in the database, by name."""
    counts: dict[str, dict[str, int]] = {}
    rows = select(coupon.c.pool, coupon.c.state, func.count()).group_by(coupon.c.pool, coupon.c.state)
    for name, state, n in connection.execute(rows):
        counts.setdefault(name, {})[state] = n
    for name in sorted({*pools, *counts}):
        pool, of = pools.get(name), counts.get(name, {})
        left: int | None = of.get("available", 0) + of.get("released", 0)
        if pool is not None and pool.generate is not None and left is not None:
            left = None if pool.count is None else left + max(0, pool.count - sum(of.values()))
        warn = None if pool is None else pool.warn_below
        low = left is not None and warn is not None and left < warn
        every = {state: of.get(state, 0) for state in STATES}
        yield Stock(name, pool.title if pool else None, every, left, low, pool is not None)
