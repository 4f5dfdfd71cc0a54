"""Addresses nothing may be sent to, kept as keyed hashes, and the history of why and until when."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, literal, select

from engine.store.scratch import COUNTED, insert_ignore, insert_into
from engine.store.tables import suppression, suppression_said
from engine.store.types import Instant

STOP = "stop"
"""The reason of a number whose owner has answered STOP: it ends when they answer START, and no other does."""


def suppress(connection: Connection, channel: str, address_hash: str, reason: str, at: datetime, source: str) -> bool:
    """Send nothing to this address from now on. False when nothing was to be: it was suppressed already, or this word
    comes late and the address has been let go of since. Any other reason takes the place of STOP."""
    let_go = select(func.max(suppression_said.c.at, type_=Instant())).where(
        suppression_said.c.channel == channel,
        suppression_said.c.address_hash == address_hash,
        suppression_said.c.state == "off",
    )
    latest = connection.scalar(let_go)
    if latest is not None and latest >= at:
        return False
    row = {"channel": channel, "address_hash": address_hash, "reason": reason, "at": at}
    add = insert_into(connection, suppression)
    stronger = and_(suppression.c.reason == STOP, add.excluded.reason != STOP)
    add = add.on_conflict_do_update(
        index_elements=["channel", "address_hash"],
        set_={"reason": add.excluded.reason, "at": add.excluded.at},
        where=stronger,
    )
    if not connection.execute(add, [row], execution_options=COUNTED).rowcount:
        return False
    connection.execute(insert_ignore(connection, suppression_said), [{**row, "state": "on", "source": source}])
    return True


def let_go(
    connection: Connection, channel: str, address_hash: str, at: datetime, source: str, reason: str | None = None
) -> bool:
    """End a suppression that was there before this moment (`reason`: only one for this). False when there is none."""
    ended = delete(suppression).where(
        suppression.c.channel == channel,
        suppression.c.address_hash == address_hash,
        suppression.c.at < literal(at, Instant()),
    )
    if reason is not None:
        ended = ended.where(suppression.c.reason == reason)
    was = connection.scalar(ended.returning(suppression.c.reason))
    if was is None:
        return False
    row = {"channel": channel, "address_hash": address_hash, "at": at, "state": "off", "reason": was, "source": source}
    connection.execute(insert_ignore(connection, suppression_said), [row])
    return True
