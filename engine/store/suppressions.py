"""Addresses nothing may be sent to, kept as keyed hashes, and the history of why and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from engine.store.given import given, packed
from engine.store.scratch import COUNTED, insert_ignore, insert_into
from engine.store.tables import suppression, suppression_said
from engine.store.types import Instant, micros

STOP = "stop"
"""The reason of a number whose owner has answered STOP: it ends when they answer START, and no other does."""

WEIGHTS = {STOP: 0, "bounced": 2, "unsubscribed": 3, "complained": 4}
"""The weightier of two reasons stands, in whichever order they came; any other one weighs 1."""

MANUAL = "manual"
"""The reason of an address that somebody of the shop has named without another."""


@dataclass(frozen=True)
class Suppressed:
    """An address, as its keyed hash, that nothing may be sent to on this channel."""

    channel: str
    address_hash: str
    reason: str
    at: datetime


def suppress_all(connection: Connection, addresses: Iterable[Suppressed], source: str) -> int:
    """Send nothing to these any more; how many of them that is news of.

    It is none of one that was suppressed already for as much, and of one that has been let go of since: the word came
    late. Of the same reason told twice the earlier stands, of two STOPs the later: a START in between ends neither."""
    named: dict[tuple[str, str], Suppressed] = {}
    for one in addresses:
        before = named.get((one.channel, one.address_hash))
        if before is None or _weighs(one) > _weighs(before):
            named[one.channel, one.address_hash] = one
    order = sorted(named)
    rows = packed([*key, named[key].reason, micros(named[key].at), source] for key in order)
    connection.execute(_words(connection.dialect.name), rows)
    return int(connection.execute(_rows(connection.dialect.name), rows, execution_options=COUNTED).rowcount)


def _weighs(one: Suppressed) -> tuple[int, int]:
    at = micros(one.at)
    return WEIGHTS.get(one.reason, 1), at if one.reason == STOP else -at


def suppress(connection: Connection, channel: str, address_hash: str, reason: str, at: datetime, source: str) -> bool:
    """The same for one address; whether it is news."""
    return bool(suppress_all(connection, [Suppressed(channel, address_hash, reason, at)], source))


def let_go(
    connection: Connection,
    channel: str,
    address_hash: str,
    at: datetime,
    source: str,
    *,
    stopped_before: bool = False,
) -> bool:
    """End a suppression; False when there is none. `stopped_before`: only one by a STOP of an earlier moment."""
    ended = delete(suppression).where(suppression.c.channel == channel, suppression.c.address_hash == address_hash)
    if stopped_before:
        ended = ended.where(suppression.c.reason == STOP, suppression.c.at < literal(at, Instant()))
    was = connection.scalar(ended.returning(suppression.c.reason))
    if was is None:
        return False
    row = {"channel": channel, "address_hash": address_hash, "at": at, "state": "off", "reason": was, "source": source}
    connection.execute(insert_ignore(connection, suppression_said), [row])
    return True


def every(connection: Connection, channel: str | None = None, limit: int | None = None) -> Iterator[Suppressed]:
    """All of them, or those of one channel, in a stream: the newest first where there is a `limit`."""
    rows = select(suppression)
    if channel is not None:
        rows = rows.where(suppression.c.channel == channel)
    if limit is not None:
        rows = rows.order_by(suppression.c.at.desc(), suppression.c.channel, suppression.c.address_hash).limit(limit)
    else:
        rows = rows.order_by(suppression.c.channel, suppression.c.address_hash)
    for row in connection.execute(rows, execution_options={"yield_per": 1000}):
        yield Suppressed(row.channel, row.address_hash, row.reason, row.at)


def counts(connection: Connection) -> list[tuple[str, str, int]]:
    """How many there are of each channel and reason."""
    s = suppression.c
    rows = select(s.channel, s.reason, func.count()).group_by(s.channel, s.reason).order_by(s.channel, s.reason)
    return [(channel, reason, n) for channel, reason, n in connection.execute(rows)]


@cache
def _news(dialect: str) -> Select[Any]:
    """Those of the given rows that change something."""
    s, said = suppression.c, suppression_said.c
    one = given(
        dialect, channel=s.channel.type, address_hash=s.address_hash.type, reason=s.reason.type, at=Instant(),
        source=said.source.type,
    )  # fmt: skip
    stands = exists().where(
        s.channel == one.c.channel,
        s.address_hash == one.c.address_hash,
        not_(_outweighs(one.c.reason, one.c.at, s.reason, s.at)),
    )
    let_go_since = exists().where(
        said.channel == one.c.channel,
        said.address_hash == one.c.address_hash,
        said.state == "off",
        said.at > one.c.at,
    )
    return select(one).where(not_(stands), not_(let_go_since))


@cache
def _words(dialect: str) -> Any:
    news = _news(dialect).subquery("news")
    columns = ["channel", "address_hash", "at", "state", "reason", "source"]
    words = select(*(literal("on") if name == "state" else news.c[name] for name in columns)).where(true())
    return insert_ignore(dialect, suppression_said).from_select(columns, words)


@cache
def _rows(dialect: str) -> Any:
    news = _news(dialect).subquery("news")
    columns = ["channel", "address_hash", "reason", "at"]
    add = insert_into(dialect, suppression).from_select(
        columns, select(*(news.c[name] for name in columns)).where(true())
    )
    new, old = add.excluded, suppression.c
    return add.on_conflict_do_update(
        index_elements=["channel", "address_hash"],
        set_={"reason": new.reason, "at": new.at},
        where=_outweighs(new.reason, new.at, old.reason, old.at),
    )


def _outweighs(reason: Any, at: Any, other: Any, since: Any) -> ColumnElement[bool]:
    """Whether a reason takes the place of another one."""
    mine, theirs = (case(WEIGHTS, value=one, else_=1) for one in (reason, other))
    same = and_(mine == theirs, case((reason == STOP, at > since), else_=at < since))
    return or_(mine > theirs, same)
