"""The messages themselves, newest first, for whoever wonders about one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, case, func, select

from engine.runtime.doubts import REPEATS
from engine.runtime.references import reference
from engine.store.tables import IN_DOUBT, customer, journey_version, message


@dataclass(frozen=True)
class Told:
    """One message. `ref` is its id at the provider; `reason`: why it is in its state; `at`: since when, as far as that
    is kept; `delivery`: how far it came since, by the provider's word; `repeats`: in doubt, and sent once more when the
    provider stays silent."""

    ref: str
    journey: str
    step: str
    channel: str
    customer: str
    state: str
    reason: str | None
    at: datetime
    repeats: bool
    delivery: str | None = None


def latest(connection: Connection, limit: int, *, in_doubt: bool = False) -> list[Told]:
    """The newest messages, at most `limit`; only those in doubt, if so wanted."""
    rows = (
        select(
            message,
            journey_version.c.journey,
            customer.c.external_id,
            case((REPEATS, 1), else_=0).label("repeats"),
        )
        .join(journey_version, journey_version.c.id == message.c.version_id)
        .join(customer, customer.c.id == message.c.customer_id)
        .limit(limit)
    )
    newest = rows.where(IN_DOUBT).order_by(message.c.settled_at.desc()) if in_doubt else rows
    return [
        Told(
            ref=reference(row.enrolment_id, row.visit, row.route),
            journey=row.journey,
            step=row.step,
            channel=row.channel,
            customer=row.external_id,
            state=row.state,
            reason=row.reason,
            at=row.settled_at or row.queued_at,
            repeats=bool(row.repeats),
            delivery=row.delivery,
        )
        for row in connection.execute(newest.order_by(message.c.id.desc()))
    ]


def doubtful(connection: Connection) -> int:
    """How many are in doubt."""
    return connection.scalar(select(func.count()).select_from(message).where(IN_DOUBT)) or 0
