"""The team hears of a coupon pool that runs low: once each time it falls below its mark, not at each look.

That it is low is a mark in the database, committed before anybody is told: of several engines one tells, and a crash
between the two costs the notice and never repeats it (`karibu status` tells of the pool all the while). The mark goes
when the pool has enough again, so the next fall is told again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, select

from engine.channels.base import Accepted, Outgoing
from engine.cohort.gate import TEAM
from engine.language.rewards import Pool
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.values import Rendered
from engine.runtime.coupons import Stock, stock
from engine.runtime.post import CHAT, Post
from engine.store.database import Database
from engine.store.scratch import insert_ignore
from engine.store.tables import mark
from engine.store.types import micros

log = logging.getLogger("karibu.delivery")

_NAME = "low:"


def look(database: Database, pools: Mapping[str, Pool], post: Post, now: datetime) -> list[str]:
    """Tell the team of the pools that have just fallen below their marks. Which."""
    watched = {name: pool for name, pool in pools.items() if pool.warn_below is not None}
    if not watched:
        return []
    with database.read() as connection:
        told = set(connection.scalars(select(mark.c.name).where(mark.c.name.in_([_NAME + name for name in watched]))))
        stocks = [one for one in stock(connection, watched) if one.pool in watched]
    if not any(one.low != (_NAME + one.pool in told) for one in stocks):
        return []
    fallen = database.written(lambda connection: _cross(connection, stocks, now))
    for n, one in enumerate(fallen):
        _tell(post, one, f"low-{micros(now)}-{n}", now)
    return [one.pool for one in fallen]


def _cross(connection: Connection, stocks: list[Stock], now: datetime) -> list[Stock]:
    """Write down which are low by now; those that weren't before."""
    enough = [_NAME + one.pool for one in stocks if not one.low]
    connection.execute(delete(mark).where(mark.c.name.in_(enough)))
    low = {_NAME + one.pool: one for one in stocks if one.low}
    if not low:
        return []
    rows = [{"name": name, "value": {"since": micros(now)}} for name in sorted(low)]
    add = insert_ignore(connection, mark).values(rows).returning(mark.c.name)
    return [low[name] for name in sorted(connection.scalars(add))]


def _tell(post: Post, one: Stock, ref: str, now: datetime) -> None:
    title = f"The coupon pool {one.pool} runs low"
    text = (
        f"{title}: {one.left or 0:,} codes are left. karibu coupons load adds codes; karibu coupons list counts them."
    )
    for n, (person, address) in enumerate(sorted(post.team.items())):
        chat = address == CHAT
        channel, to = (TEAM, person) if chat else ("email", address)
        content = Rendered("email", subject=title, text=text)
        notice = Outgoing(f"{ref}-{n}", channel, to, content, post.sender, now, TRANSACTIONAL, transactional=True)
        if not isinstance(post.send(notice, now), Accepted):
            log.error("a notice to the team was not sent: the coupon pool %s runs low", one.pool)
