"""The kill switch: no message leaves, of one journey or of all, from the moment it commits until somebody ends it.

Customers go on to their next message and stand there; on release every message passes the gate again. A pause is a row,
so it counts for every engine, and outlives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, exists, select

from engine.store.scratch import COUNTED, insert_ignore
from engine.store.tables import mark
from engine.store.types import micros, moment

_NAME = "paused"
ALL = ""
_PAUSES = select(mark.c.name, mark.c.value).where(mark.c.name >= _NAME, mark.c.name < _NAME + ";").order_by(mark.c.name)


@dataclass(frozen=True)
class Pause:
    """Since when nothing is sent, and why."""

    since: datetime
    why: str


def pause(connection: Connection, journey: str, now: datetime, why: str = "") -> bool:
    """Hold the messages of a journey, or of `ALL`. False when they are held already."""
    row = {"name": _name(journey), "value": {"since": micros(now), "why": why}}
    return connection.execute(insert_ignore(connection, mark), [row], execution_options=COUNTED).rowcount == 1


def resume(connection: Connection, journey: str) -> bool:
    """End a pause. False when there is none."""
    return connection.execute(delete(mark).where(mark.c.name == _name(journey))).rowcount == 1


def pauses(connection: Connection) -> Mapping[str, Pause]:
    """The pauses there are, by journey; `ALL` among them."""
    return {
        name.removeprefix(_NAME).removeprefix(":"): Pause(moment(value["since"]), value["why"])
        for name, value in connection.execute(_PAUSES)
    }


def paused(journey: str) -> ColumnElement[bool]:
    """Whether this journey's messages are held: asked in the transaction that lets messages leave."""
    return exists().where(mark.c.name.in_((_NAME, _name(journey))))


def _name(journey: str) -> str:
    return f"{_NAME}:{journey}" if journey else _NAME
