"""The rate of a channel: no more than so many messages in a time, from all engines together.

A row holds the moment from which the next message may go; each that goes moves it on by the time between two. Whoever
claims messages reads it, claims as many as may go and moves it on, in one transaction. Nobody waits: what may not go
yet stays in the queue. Up to a second's worth may go at once, of which a tenth is kept for transactional messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, Select, update

from engine.language.gate import Rate
from engine.store import marks
from engine.store.scratch import insert_ignore
from engine.store.tables import mark
from engine.store.types import micros

_SECOND = 1_000_000_000
"""Moments and intervals here are whole nanoseconds: a fast channel's interval is a few microseconds."""


def hold(connection: Connection, channel: str, rate: Rate, now: datetime, *, transactional: bool) -> int:
    """How many messages may go now; nobody else claims any of this channel until this transaction ends."""
    row = {"name": _name(channel), "value": {"next": 0}}
    connection.execute(insert_ignore(connection, mark), [row])
    return _room(connection.scalar(_row(channel).with_for_update()), rate, now, transactional)


def spend(connection: Connection, channel: str, rate: Rate, now: datetime, messages: int) -> None:
    """So many are going, of those that `hold` gave."""
    value = connection.scalar(_row(channel))
    following = _from(value, rate, now) + messages * _interval(rate)
    connection.execute(update(mark).where(mark.c.name == _name(channel)).values(value={"next": following}))


def used_up(connection: Connection, rates: Mapping[str, Rate], now: datetime, *, transactional: bool) -> frozenset[str]:
    """The channels of which no message may go just now."""
    return frozenset(
        channel
        for channel, rate in rates.items()
        if not _room(connection.scalar(_row(channel)), rate, now, transactional)
    )


def _room(value: Mapping[str, int] | None, rate: Rate, now: datetime, transactional: bool) -> int:
    late = micros(now) * 1_000 - _from(value, rate, now)
    room = late // _interval(rate) + 1 if late >= 0 else 0
    return max(room - (0 if transactional else _at_once(rate) // 10), 0)


def _from(value: Mapping[str, int] | None, rate: Rate, now: datetime) -> int:
    """From when on messages may go: what was not used within a second is lost."""
    earliest = micros(now) * 1_000 - (_at_once(rate) - 1) * _interval(rate)
    return max(value["next"] if value is not None else 0, earliest)


def _at_once(rate: Rate) -> int:
    return max(_SECOND // _interval(rate), 1)


def _interval(rate: Rate) -> int:
    unit = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}[rate.per]
    return (unit // timedelta(microseconds=1)) * 1_000 // rate.count


def _row(channel: str) -> Select[Mapping[str, int]]:
    return marks.kept(_name(channel))


def _name(channel: str) -> str:
    return f"rate:{channel}"
