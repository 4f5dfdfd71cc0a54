"""What comes back about messages, and what customers say of them: one door for provider hooks, scenarios and the
unsubscribe page.

A hook verifies and parses what a provider posts (pure, beside its channel) and hands it here. Feedback may come late,
twice and in any order: a row of `message_event` is written once for each (message, kind, moment). What ends consent
or an address counts at once, for every journey: the gate asks again before each message goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, case, select, tuple_

from engine.cohort.gate import ADDRESS
from engine.runtime import replies
from engine.runtime.doubts import heard_of
from engine.runtime.identity import known
from engine.runtime.profile import Consented, Profile, Writer
from engine.runtime.references import parsed
from engine.store.merges import facts_stay
from engine.store.scratch import COUNTED, insert_ignore, insert_touched
from engine.store.suppressions import suppress
from engine.store.tables import customer, message, message_event

Kind = Literal["delivered", "opened", "clicked", "bounced", "replied", "complained", "unsubscribed"]


@dataclass(frozen=True)
class Feedback:
    """One thing that came back about the message `ref` (our own id, which the channel sent along).

    `detail` holds what the provider said besides; of a reply its `text`; `soft: true` of a bounce that may pass.
    `address_hash`: of the address it was about, if that is known; otherwise the customer's present one is meant."""

    ref: str
    kind: Kind
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)
    address_hash: str | None = None


@dataclass
class Taken:
    """What became of a batch: how much was new, how much had come before or is about no message of ours."""

    recorded: int = 0
    repeated: int = 0
    unknown: int = 0


def take(connection: Connection, batch: Sequence[Feedback], now: datetime) -> Taken:
    """Record feedback in the caller's transaction, and act on what ends consent or an address."""
    facts_stay(connection)
    taken = Taken()
    known = _messages(connection, batch)
    heard_of(connection, [one.id for one in known.values()], now)
    for one in batch:
        found = known.get(one.ref)
        if found is None:
            taken.unknown += 1
            continue
        row = {"message_id": found.id, "kind": one.kind, "at": one.at, "detail": dict(one.detail) or None}
        written = connection.execute(insert_ignore(connection, message_event), [row], execution_options=COUNTED)
        taken.recorded += written.rowcount
        taken.repeated += 1 - written.rowcount
        if written.rowcount:
            _act(connection, one, found, now)
    return taken


def opt_out(connection: Connection, external_id: str, channel: str, topic: str, now: datetime, source: str) -> bool:
    """End a customer's consent to a topic on a channel. False when there is no such customer. May be called twice.

    The id may be one that was merged away since the mail with the link was sent."""
    facts_stay(connection)
    row_id = known(connection, [external_id]).get(external_id)
    if row_id is None:
        return False
    writer = Writer(connection, now)
    writer.apply(row_id, Profile(consents=(Consented(channel, topic, "off", source, at=now),)))
    writer.flush()
    return True


@dataclass(frozen=True)
class _About:
    id: int
    customer_id: int
    external_id: str
    channel: str
    topic: str
    address_hash: str | None


def _messages(connection: Connection, batch: Sequence[Feedback]) -> dict[str, _About]:
    """The messages these references name. Somebody else's reference, or a forged one, names none."""
    wanted = {}
    for one in batch:
        if (key := parsed(one.ref)) is not None:
            wanted[key] = one.ref
    if not wanted:
        return {}
    names = tuple_(message.c.enrolment_id, message.c.visit, message.c.route)
    rows = connection.execute(
        select(
            message.c.id,
            message.c.enrolment_id,
            message.c.visit,
            message.c.route,
            message.c.customer_id,
            message.c.channel,
            message.c.topic,
            customer.c.external_id,
            _address_hash().label("address_hash"),
        )
        .select_from(message.join(customer, customer.c.id == message.c.customer_id))
        .where(names.in_(sorted(wanted)))
    )
    return {
        wanted[row.enrolment_id, row.visit, row.route]: _About(
            row.id, row.customer_id, row.external_id, row.channel, row.topic, row.address_hash
        )
        for row in rows
    }


def _address_hash() -> ColumnElement[str | None]:
    hashes = {channel: address_hash for channel, (_, address_hash) in ADDRESS.items()}
    return case(*((message.c.channel == channel, column) for channel, column in hashes.items()))


def _act(connection: Connection, one: Feedback, about: _About, now: datetime) -> None:
    row = [{"customer_id": about.customer_id}]
    connection.execute(insert_touched(connection), row)
    address_hash = one.address_hash or about.address_hash
    if one.kind == "unsubscribed":
        opt_out(connection, about.external_id, about.channel, about.topic, now, "feedback")
    elif (reason := _ends_the_address(one)) is not None and address_hash is not None:
        suppress(connection, about.channel, address_hash, reason, now, "feedback")
    elif one.kind == "replied" and about.channel in replies.CHANNELS and address_hash is not None:
        replies.heard(connection, address_hash, str(one.detail.get("text", "")), one.at, now, channel=about.channel)


def _ends_the_address(one: Feedback) -> str | None:
    """Why nothing may be sent to this address any more, or None."""
    if one.kind == "bounced" and not one.detail.get("soft"):
        return "bounced"
    return "complained" if one.kind == "complained" else None
