"""Whom a source means by the keys of earlier events of its own: the customer of the first of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from engine.store.tables import customer, event


def earlier(connection: Connection, source: str, keys: Sequence[str]) -> str | None:
    """The external id of the customer; None if no event of this source has one of these keys."""
    rows = (
        select(customer.c.external_id)
        .join(event, event.c.customer_id == customer.c.id)
        .where(event.c.source == source, event.c.key.in_(sorted(keys)))
        .order_by(event.c.id)
        .limit(1)
    )
    return connection.scalar(rows)
