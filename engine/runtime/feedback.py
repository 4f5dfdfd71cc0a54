"""What comes back about messages, and what customers say of them: one door for provider hooks, bounces, our own links,
scenarios and the unsubscribe page.

A hook verifies and parses what a provider posts (pure, in engine/channels) and hands it here. Feedback may come late,
twice, in any order, or not at all: each row of `message_event` is written once, and all that is kept besides is a
function of the set of rows, not of their order. What ends consent or an address counts at once, for every journey: the
gate asks again before each message goes.

The provider's word on a message that is just being handed over must not be overheard: the messages are locked before
the rows are written, and whoever records that one is in doubt looks for rows afterwards (engine/runtime/settling.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Connection, Text, case, or_, select, true, tuple_, update

from engine.channels.returns import Kind
from engine.cohort.gate import ADDRESS
from engine.cohort.program import Program
from engine.language.vocabulary import OWN_EVENTS
from engine.runtime import replies
from engine.runtime.doubts import heard_of
from engine.runtime.identity import known
from engine.runtime.ingest import Incoming, ingest
from engine.runtime.profile import Consented, Profile, Writer
from engine.runtime.references import parsed, reference
from engine.store.given import given, packed
from engine.store.merges import facts_stay
from engine.store.scratch import insert_ignore
from engine.store.suppressions import WEIGHTS, Suppressed, suppress_all
from engine.store.tables import customer, enrolment, journey_version, message, message_event
from engine.store.types import Instant, id_type, json_type, micros

DELIVERY: Mapping[str, str] = {
    "deferred": "deferred",
    "delivered": "delivered",
    "opened": "delivered",
    "machine_opened": "delivered",
    "clicked": "delivered",
    "machine_clicked": "delivered",
    "replied": "delivered",
    "complained": "delivered",
    "unsubscribed": "delivered",
    "bounced": "bounced",
    "dropped": "dropped",
}
"""What a kind of feedback says of a message's delivery; a bounce that may pass says `soft_bounced`."""

RANKS = ("deferred", "delivered", "soft_bounced", "bounced", "dropped")
"""The later of two of these stands, in whichever order they came: a mail may come back after it was taken."""

SOURCE = "karibu"
"""Whose keys the events are that feedback becomes."""

LONGEST_TEXT = 2_000
"""Characters that are kept of an answer."""

LONGEST_KEY = 255
"""Characters of what tells two of a kind apart: it stands in a key."""


@dataclass(frozen=True)
class Feedback:
    """One thing that came back about the message `ref` (our own id, which the channel sent along).

    `key` tells two of a kind of one message apart (default: the moment), so it must be the same when it is told again.
    `detail` holds what the provider said besides; of a reply its `text`, of a click its `url`; `soft: true` of a bounce
    that may pass; `because` (one of WEIGHTS) of what the provider dropped for an older reason; `all: true` of an
    unsubscription from everything. `address_hash`: of the address it was about, if that is known; otherwise the
    customer's present one is meant."""

    ref: str
    kind: Kind
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)
    address_hash: str | None = None
    key: str | None = None


@dataclass
class Taken:
    """What became of a batch: how much was new, how much had come before or is about no message of ours; the versions
    that have work now."""

    recorded: int = 0
    repeated: int = 0
    unknown: int = 0
    wakes: set[int] = field(default_factory=set, compare=False)


@dataclass(frozen=True)
class _About:
    id: int
    ref: str
    customer_id: int
    external_id: str
    journey: str
    step: str
    template: str
    channel: str
    topic: str
    address_hash: str | None


Said = tuple[Feedback, _About]

_BY = "by"
"""In the detail of an unsubscription that came in one of our own ways: which."""


def take(
    connection: Connection,
    batch: Sequence[Feedback],
    now: datetime,
    programs: Sequence[Program] = (),
    worth: Mapping[str, str] | None = None,
) -> Taken:
    """Record feedback in the caller's transaction, act on what ends consent or an address, and let these journeys hear
    of it, as `ingest`."""
    facts_stay(connection)
    about = _messages(connection, batch)
    heard_of(connection, [one.id for one in about.values()], now)
    said: dict[tuple[int, str, str], Said] = {}
    found = 0
    for one in batch:
        name = parsed(one.ref)
        mine = None if name is None else about.get(name)
        if mine is not None:
            found += 1
            said.setdefault((mine.id, one.kind, key_of(one)), (one, mine))
            if _stops(one, mine):
                (gone,) = left(one.ref, "reply", one.at, key_of(one))
                said.setdefault((mine.id, gone.kind, key_of(gone)), (gone, mine))
    fresh = [said[place] for place in _recorded(connection, said, now)]
    told = sum(one.detail.get(_BY) != "reply" for one, _ in fresh)
    taken = Taken(told, found - told, len(batch) - found)
    _deliveries(connection, fresh)
    _ended(connection, fresh, now)
    if events := [event for pair in fresh if (event := _event(*pair, now)) is not None]:
        taken.wakes = ingest(connection, programs, worth or {}, events, now).wakes
    return taken


def answered(
    connection: Connection,
    channel: str,
    address_hash: str,
    text: str,
    key: str,
    now: datetime,
    programs: Sequence[Program] = (),
    worth: Mapping[str, str] | None = None,
    *,
    at: datetime | None = None,
    written: bool = True,
) -> Taken:
    """Somebody has written to the shop's number, and providers don't say in answer to what: to the last message that
    was sent there. STOP counts whether or not there was one. `key`: the provider's id of the answer; `at`: when it was
    written, if the provider says so; `written`: False where a button said it, which answers no message."""
    facts_stay(connection)
    at = now if at is None else min(at, now)
    if channel in replies.CHANNELS:
        replies.heard(connection, address_hash, text, at, now, channel=channel)
    if not written:
        return Taken()
    theirs = select(customer.c.id).where(ADDRESS[channel][1] == address_hash)
    before = (
        select(message.c.id)
        .join(enrolment, enrolment.c.id == message.c.enrolment_id)
        .join(message_event, message_event.c.message_id == message.c.id)
        .where(enrolment.c.customer_id.in_(theirs), message.c.channel == channel)
        .where(message_event.c.kind == "replied", message_event.c["key"] == key[:LONGEST_KEY])
    )
    if key and connection.execute(before.limit(1)).first() is not None:
        return Taken(repeated=1)  # it may have been sent another message since
    last = (
        select(message.c.enrolment_id, message.c.visit, message.c.route)
        .join(enrolment, enrolment.c.id == message.c.enrolment_id)
        .where(enrolment.c.customer_id.in_(theirs), message.c.channel == channel, message.c.state == "accepted")
        .order_by(message.c.settled_at.desc(), message.c.id.desc())
        .limit(1)
    )
    found = connection.execute(last).first()
    if found is None:
        return Taken(unknown=1)
    one = Feedback(reference(*found), "replied", at, {"text": text[:LONGEST_TEXT]}, address_hash, key)
    return take(connection, [one], now, programs, worth)


def left(ref: str, by: Literal["link", "page", "reply"], at: datetime, key: str | None = None) -> list[Feedback]:
    """What is told of a message by which somebody has ended its topic, in our own ways; what that ends is recorded by
    whoever calls. Nothing for a link that stands in no message."""
    return [Feedback(ref, "unsubscribed", at, {_BY: by}, key=key or by)] if ref else []


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


def addressed(connection: Connection, pairs: Sequence[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
    """Those of these references and hashes of addresses that belong together: the message went there."""
    wanted = {name: pair for pair in pairs if pair[1] is not None and (name := parsed(pair[0])) is not None}
    if not wanted:
        return set()
    names = (message.c.enrolment_id, message.c.visit, message.c.route)
    rows = (
        select(*names, _address_hash().label("hash"))
        .join(customer, customer.c.id == message.c.customer_id)
        .where(names[0].in_(sorted({one for one, _, _ in wanted})), tuple_(*names).in_(sorted(wanted)))
    )
    found = {(row.enrolment_id, row.visit, row.route): row.hash for row in connection.execute(rows)}
    return {pair for name, pair in wanted.items() if found.get(name) == pair[1]}


def key_of(one: Feedback) -> str:
    """What tells this from others of its kind about the same message."""
    return (str(micros(one.at)) if one.key is None else one.key)[:LONGEST_KEY]


def _messages(connection: Connection, batch: Sequence[Feedback]) -> dict[tuple[int, int, str], _About]:
    """The messages these references name, locked. Somebody else's reference, or a forged one, names none."""
    wanted = {name for one in batch if (name := parsed(one.ref)) is not None}
    if not wanted:
        return {}
    names = tuple_(message.c.enrolment_id, message.c.visit, message.c.route)
    rows = connection.execute(
        select(message, customer.c.external_id, journey_version.c.journey, _address_hash().label("address_hash"))
        .select_from(
            message.join(customer, customer.c.id == message.c.customer_id).join(
                journey_version, journey_version.c.id == message.c.version_id
            )
        )
        .where(
            message.c.enrolment_id.in_(
                sorted({enrolment_id for enrolment_id, _, _ in wanted})
            ),  # SQLite seeks by these
            names.in_(sorted(wanted)),
        )
        .order_by(message.c.id)
        .with_for_update(of=message)
    )
    return {
        (row.enrolment_id, row.visit, row.route): _About(
            row.id,
            reference(row.enrolment_id, row.visit, row.route),
            row.customer_id,
            row.external_id,
            row.journey,
            row.step,
            row.template,
            row.channel,
            row.topic,
            row.address_hash,
        )
        for row in rows
    }


def _address_hash() -> ColumnElement[str | None]:
    hashes = {channel: address_hash for channel, (_, address_hash) in ADDRESS.items()}
    return case(*((message.c.channel == channel, column) for channel, column in hashes.items()))


def _recorded(
    connection: Connection, said: Mapping[tuple[int, str, str], Said], now: datetime
) -> list[tuple[int, str, str]]:
    """Keep what is new; its places, in order."""
    if not said:
        return []
    rows = [
        (*place, micros(min(one.at, now)), orjson.dumps(dict(one.detail)).decode() if one.detail else None)
        for place, (one, _) in sorted(said.items(), key=lambda item: item[0])
    ]
    written = connection.execute(_rows(connection.dialect.name), packed(rows))
    return sorted((message_id, kind, key) for message_id, kind, key in written)


@cache
def _rows(dialect: str) -> Any:
    rows = given(dialect, message_id=id_type(), kind=Text(), key=Text(), at=Instant(), detail=json_type())
    add = insert_ignore(dialect, message_event).from_select([*rows.c.keys()], select(rows).where(true()))
    return add.returning(message_event.c.message_id, message_event.c.kind, message_event.c["key"])


def _stops(one: Feedback, about: _About) -> bool:
    """Whether somebody has answered this message with STOP."""
    answers = one.kind == "replied" and about.channel in replies.CHANNELS
    return answers and replies.meant(str(one.detail.get("text", ""))) == "stop"


def _deliveries(connection: Connection, fresh: Sequence[Said]) -> None:
    """Write down how far the messages came."""
    far: dict[int, int] = {}
    for one, about in fresh:
        told = "soft_bounced" if one.kind == "bounced" and one.detail.get("soft") else DELIVERY.get(one.kind)
        if told is not None:
            far[about.id] = max(far.get(about.id, 0), RANKS.index(told))
    for rank in sorted(set(far.values())):
        mine = message.c.id.in_(sorted(message_id for message_id, found in far.items() if found == rank))
        less = or_(message.c.delivery.is_(None), message.c.delivery.in_(RANKS[:rank]))
        connection.execute(update(message).where(mine, less).values(delivery=RANKS[rank]))


def _ended(connection: Connection, fresh: Sequence[Said], now: datetime) -> None:
    """End the addresses to which nothing may be sent any more."""
    ended: list[Suppressed] = []
    for one, about in fresh:
        address_hash = one.address_hash or about.address_hash
        if address_hash is None:
            continue
        if one.kind == "replied":
            if about.channel in replies.CHANNELS:
                text = str(one.detail.get("text", ""))
                replies.heard(connection, address_hash, text, one.at, now, channel=about.channel)
        elif (reason := _ends_the_address(one)) is not None:
            ended.append(Suppressed(about.channel, address_hash, reason, min(one.at, now)))
    if ended:
        suppress_all(connection, ended, "feedback")


def _ends_the_address(one: Feedback) -> str | None:
    """Why nothing may be sent to this address any more, or None."""
    if one.kind == "bounced" and not one.detail.get("soft"):
        return "bounced"
    if one.kind == "complained":
        return "complained"
    if one.kind == "unsubscribed" and one.detail.get("all"):
        return "unsubscribed"
    if one.kind == "dropped" and one.detail.get("because") in WEIGHTS:
        return str(one.detail["because"])
    return None


def _event(one: Feedback, about: _About, now: datetime) -> Incoming | None:
    """The event that journeys hear, with what it says of the customer; None where there is none."""
    name = f"message_{one.kind}"
    if name not in OWN_EVENTS:
        return None
    at = min(one.at, now)
    told = {
        "channel": about.channel,
        "journey": about.journey,
        "step": about.step,
        "template": about.template,
        "topic": about.topic,
        **{name: one.detail[name] for name in ("url", "text", "soft") if name in one.detail},
    }
    properties = {key: value for key, value in told.items() if key in OWN_EVENTS[name].properties}
    profile = None
    if one.kind == "unsubscribed" and _BY not in one.detail:
        profile = Profile(consents=(Consented(about.channel, about.topic, "off", "feedback", at=at),))
    key = f"{about.ref}:{one.kind}:{key_of(one)}"
    return Incoming(about.external_id, name, key, at, properties, profile, SOURCE)
