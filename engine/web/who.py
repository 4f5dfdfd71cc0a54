"""Which customer a source speaks of. The one place that decides it: here a resolver of identities takes over.

The shop's own id wins; then the customer of an earlier event of the same source; then an address; then an anonymous id.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from engine.store.tables import customer, event
from triggers.sources.base import Who


def customer_of(connection: Connection, source: str, who: Who) -> str | None:
    """The external id of the customer; None if `who` names nobody that can be known."""
    if who.id:
        return who.id
    if who.of and (found := _of(connection, source, who.of)):
        return found
    if who.email:
        return f"email:{who.email.strip().lower()}"
    if who.phone:
        return f"phone:{who.phone.strip()}"
    return f"anonymous:{who.anonymous}" if who.anonymous else None


def _of(connection: Connection, source: str, keys: Sequence[str]) -> str | None:
    rows = (
        select(customer.c.external_id)
        .join(event, event.c.customer_id == customer.c.id)
        .where(event.c.source == source, event.c.key.in_(sorted(keys)))
        .order_by(event.c.id)
        .limit(1)
    )
    return connection.scalar(rows)
