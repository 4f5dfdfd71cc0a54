"""What a customer chooses on their own page: each topic on each channel that reaches them, and a yes said for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, Row, select

from engine.cohort.gate import ADDRESS
from engine.language.project import Project
from engine.rendering.links import Confirmation, Preferences
from engine.runtime.identity import known
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile, Writer
from engine.store.merges import facts_stay
from engine.store.tables import consent, customer

PAGE = "preference page"
"""How a word was said on it."""

CONFIRMED = "double opt-in"
EVENT = "consent_confirmed"
SOURCE = "karibu"

CONFIRM_WITHIN = timedelta(days=30)
"""So long the link of a confirmation works."""

Pair = tuple[str, str]
"""A channel and a topic."""


@dataclass(frozen=True)
class Choices:
    """A customer's page: the topics, the channels that reach them, and what they have said of each
    pair: on, off or pending; nothing counts as off. No topics: whoever opened it may only leave."""

    topics: tuple[str, ...]
    channels: tuple[str, ...]
    said: Mapping[Pair, str]

    @property
    def pairs(self) -> list[Pair]:
        return [(channel, topic) for topic in self.topics for channel in self.channels]


def choices(connection: Connection, project: Project, whose: Preferences) -> Choices | None:
    """What may be chosen with this link; None when there is no such customer (any more).

    A link that went to an address the customer has no more may be in a stranger's hands: it shows nothing of them."""
    found = _who(connection, whose.customer)
    if found is None:
        return None
    if not _theirs(found, whose):
        return Choices((), (), {})
    said = _said(connection, found.id)
    reach = [
        channel
        for channel in project.channels
        if found._mapping[ADDRESS[channel][1].name] is not None or any(on == channel for on, _ in said)
    ]
    return Choices(tuple(project.topics), tuple(reach), said)


def _theirs(found: Row[tuple[object, ...]], whose: Preferences) -> bool:
    """Whether the address that the link went to is still the customer's."""
    return whose.address_hash == (found._mapping[ADDRESS[whose.channel][1].name] or "")


def choose(
    connection: Connection,
    project: Project,
    whose: Preferences,
    wanted: Mapping[Pair, bool],
    words: Mapping[Pair, str],
    now: datetime,
) -> set[Pair] | None:
    """Write down what was chosen, in the caller's transaction; `words`: what stood beside each box. What they left by
    it; None when there is no such customer, or nothing for them to choose with this link.

    A yes to a topic that wants to be confirmed is confirmed by the page itself for the channel whose link led to it:
    who opened it has that address."""
    facts_stay(connection)
    found, shown = _who(connection, whose.customer), choices(connection, project, whose)
    if found is None or shown is None or not shown.topics:
        return None
    said = []
    for (channel, topic), yes in wanted.items():
        was = shown.said.get((channel, topic), "off")
        asks = topic in project.topics and project.topics[topic].double_opt_in and channel != whose.channel
        state = ("pending" if asks else "on") if yes else "off"
        if state == was or (yes and was == "on"):
            continue
        said.append(Consented(channel, topic, state, PAGE, words.get((channel, topic)), now))
    _write(connection, found.id, said, now)
    return {(one.channel, one.topic) for one in said if one.state == "off"}


def leave_all(connection: Connection, project: Project, whose: Preferences, proof: str, now: datetime) -> bool:
    """No more of anything, on any channel: also of what the page doesn't show. False when there is no such customer."""
    facts_stay(connection)
    found = _who(connection, whose.customer)
    if found is None:
        return False
    said_before = _said(connection, found.id)
    pairs = dict.fromkeys([*((c, t) for c in project.channels for t in project.topics), *said_before])
    said = [Consented(*pair, "off", PAGE, proof, now) for pair in pairs if said_before.get(pair) != "off"]
    _write(connection, found.id, said, now)
    return True


Standing = Literal["open", "confirmed", "late", "nobody"]


def standing(connection: Connection, asked: Confirmation, now: datetime) -> Standing:
    """Whether a confirmation can be given: open; confirmed already; late (the link is too old, the address another one,
    or they have said no since); or there is no such customer."""
    found = _who(connection, asked.customer)
    if found is None:
        return "nobody"
    mine = (consent.c.customer_id == found.id) & (consent.c.channel == asked.channel) & (consent.c.topic == asked.topic)
    state = connection.scalar(select(consent.c.state).where(mine))
    if state == "on":
        return "confirmed"
    another = found._mapping[ADDRESS[asked.channel][1].name] != asked.address_hash
    return "late" if state != "pending" or another or now - asked.asked_at > CONFIRM_WITHIN else "open"


def confirmed(asked: Confirmation, proof: str, now: datetime) -> Incoming:
    """The event of a confirmation, with the consent that it gives: taken in once, however often it is sent. A no that
    is said afterwards stands."""
    yes = Consented(asked.channel, asked.topic, "on", CONFIRMED, proof, now)
    key = f"confirm:{asked.customer}:{asked.channel}/{asked.topic}:{int(asked.asked_at.timestamp())}"
    about = {"channel": asked.channel, "topic": asked.topic}
    return Incoming(asked.customer, EVENT, key, now, about, Profile(consents=(yes,)), SOURCE)


def _who(connection: Connection, external_id: str) -> Row[tuple[object, ...]] | None:
    row_id = known(connection, [external_id]).get(external_id)
    if row_id is None:
        return None
    return connection.execute(select(customer).where(customer.c.id == row_id)).one()


def _said(connection: Connection, row_id: int) -> dict[Pair, str]:
    rows = select(consent.c.channel, consent.c.topic, consent.c.state).where(consent.c.customer_id == row_id)
    return {(row.channel, row.topic): row.state for row in connection.execute(rows)}


def _write(connection: Connection, row_id: int, said: Iterable[Consented], now: datetime) -> None:
    writer = Writer(connection, now)
    writer.apply(row_id, Profile(consents=tuple(said)))
    writer.flush()
