"""The send gate: whether a message may go, asked of a whole cohort in one expression.

Its order is the language's: still in the journey → not held out → profile exists → not hushed → consent → address
present, valid, not suppressed → the step's `when` → not already sent → caps → quiet hours → rate → coupon reserved →
renders → provider. The held-out never reach a step, a profile is a foreign key away, and "already sent" is the unique
key of the message. Here is what comes up to `when`. Caps are in caps.py and quiet hours in quiet.py beside this, asked
in this order on arrival (engine/steps/send.py) and when a message goes (engine/runtime/holding.py). Whether it carries
a coupon is known to its template, so that is asked when it goes; the rate, what renders and what the provider says are
delivery's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, literal, not_, null

from engine.language.vocabulary import TRANSACTIONAL
from engine.store.tables import consent, customer, hush, suppression
from engine.store.types import Instant

UNREACHABLE = ("no_consent", "no_address", "bad_address", "suppressed")
"""The reasons for which a `fallback` may take over: this channel can't reach them."""

CAPPED, QUIET_HOURS, DUPLICATE = "capped", "quiet_hours", "duplicate"
"""Reasons of caps and quiet hours: not to send, or to hold a message; and not to send one of several that were held."""
HOLDS = (QUIET_HOURS, CAPPED)
"""The reasons for which a message is held."""

ADDRESS = {
    "email": (customer.c.email, customer.c.email_hash),
    "sms": (customer.c.phone, customer.c.phone_hash),
    "whatsapp": (customer.c.phone, customer.c.phone_hash),
    "push": (customer.c.push_token, customer.c.push_hash),
    "telegram": (customer.c.telegram, customer.c.telegram_hash),
}
"""Where a channel finds its address, and the keyed hash that is empty when the address can't be valid."""

NO_COUPON = "no_coupon"

TEAM = "team"
"""The channel of notices to the shop's own people: no customer's consent or address is asked."""


CALL, FETCH = "call:", "fetch:"
"""How the channels of calls begin, and of those that may be repeated; then comes the host."""


def is_call(channel: str) -> bool:
    """Whether this channel asks another system, and reaches no person."""
    return channel.startswith((CALL, FETCH))


def stop_reason(
    channel: str,
    topic: str,
    now: datetime,
    *,
    left: ColumnElement[bool] | None = None,
    when: ColumnElement[bool] | None = None,
    second_yes: bool = False,
) -> ColumnElement[Any]:
    """The first reason not to send, or NULL, for each row of `customer` in scope.

    left: true where the customer is no longer at this visit of the step; when: the step's own condition; second_yes:
    the message asks to confirm a consent that is pending, and is for nobody else."""
    if channel == TEAM or is_call(channel):
        own = [] if left is None else [(left, "left_journey")]
        own += [] if when is None else [(not_(when), "when")]
        return case(*own, else_=null()) if own else null()
    address, address_hash = ADDRESS[channel]
    stops: list[tuple[ColumnElement[bool], str]] = []
    if left is not None:
        stops.append((left, "left_journey"))
    hushed = exists().where(
        and_(hush.c.customer_id == customer.c.id, hush.c.topic == topic, hush.c.until > literal(now, Instant()))
    )
    stops.append((hushed, "hushed"))
    if topic != TRANSACTIONAL:
        if second_yes:
            stops.append((_said(channel, topic, "on"), "confirmed"))
        stops.append((not_(_said(channel, topic, "pending" if second_yes else "on")), "no_consent"))
    suppressed = exists().where(and_(suppression.c.channel == channel, suppression.c.address_hash == address_hash))
    stops += [(address.is_(None), "no_address"), (address_hash.is_(None), "bad_address"), (suppressed, "suppressed")]
    if when is not None:
        stops.append((not_(when), "when"))
    return case(*stops, else_=null())


def _said(channel: str, topic: str, state: str) -> ColumnElement[bool]:
    """Whether this is what the customer in scope last said of a topic on a channel."""
    return exists().where(
        and_(
            consent.c.customer_id == customer.c.id,
            consent.c.channel == channel,
            consent.c.topic == topic,
            consent.c.state == state,
        )
    )
