"""Addresses that a provider says are none any more, or whose owner told it to stop, as it refuses a message to them.

The suppression counts at the next look of the gate, for every journey. It is written in the transaction that records
the refusal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from engine.cohort.gate import ADDRESS
from engine.store import suppressions
from engine.store.scratch import touch
from engine.store.tables import customer, message


class Gone(NamedTuple):
    """The address of a message that may get nothing any more, and why."""

    message_id: int
    channel: str
    address: str
    reason: str


def suppress(connection: Connection, gone: Sequence[Gone], now: datetime) -> None:
    """Suppress these addresses. Who has another one by now keeps it."""
    for one in sorted(gone):
        address, address_hash = ADDRESS[one.channel]
        whose = message.join(customer, customer.c.id == message.c.customer_id)
        found = select(address_hash, message.c.customer_id).select_from(whose)
        row = connection.execute(found.where(message.c.id == one.message_id, address == one.address)).first()
        if row is not None and row[0] is not None:
            suppressions.suppress(connection, one.channel, row[0], one.reason, now, "refusal")
            touch(connection, [row.customer_id])
