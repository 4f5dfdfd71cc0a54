"""What customers answer to an SMS, or say to a bot: STOP and its like end all of them, START brings them back, HELP
asks.

The words are those that carriers want and Twilio documents
(https://help.twilio.com/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering): an answer counts if
it is that one word, in any case. A longer text that has the word in it is for a person to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Row, select

from engine.cohort.gate import ADDRESS
from engine.runtime.profile import Consented, Profile, Writer
from engine.store.merges import facts_stay
from engine.store.suppressions import STOP, let_go, suppress
from engine.store.tables import consent, customer

SOURCES = {"sms": "sms reply", "whatsapp": "sms reply", "telegram": "telegram reply"}
"""How a consent was ended, or given again, by an answer. START gives back what was ended like this, and only that."""

CHANNELS = tuple(SOURCES)
"""Channels whose messages are answered with such words."""

UNCONFIRMED = ", unconfirmed"
"""Follows the source of a yes that was ended and had yet to be confirmed: START lets it wait for that again, and
confirms nothing."""

LONGEST_PROOF = 200

_WORDS: dict[str, Literal["stop", "start", "help"]] = {
    **dict.fromkeys(("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"), "stop"),
    **dict.fromkeys(("start", "unstop", "yes"), "start"),
    **dict.fromkeys(("help", "info"), "help"),
}


@dataclass(frozen=True)
class Heard:
    """What an answer meant (None: it is no such word), and whether it changed anything. `customers` have the number."""

    word: Literal["stop", "start", "help"] | None
    changed: bool = False
    customers: tuple[str, ...] = ()


def meant(text: str) -> Literal["stop", "start", "help"] | None:
    """Which of the words an answer is, if it is one."""
    return _WORDS.get(re.sub(r"[\s\W_]+", "", text.casefold()))


def heard(
    connection: Connection, address_hash: str, text: str, at: datetime, now: datetime, *, channel: str = "sms"
) -> Heard:
    """Act on an answer from an address, in the caller's transaction. It may come late, and twice.

    `address_hash`: `Door.hashed(channel, address)`; `at`: when it was said. STOP suppresses the address, for whoever
    has it, and ends the consents of those who do; START undoes exactly that. Of a STOP and a START of the same moment
    the STOP stands, and a late one doesn't undo what was said after it."""
    facts_stay(connection)
    word, at, source = meant(text), min(at, now), SOURCES[channel]
    if word not in ("stop", "start"):
        return Heard(word)
    if word == "stop":
        changed = suppress(connection, channel, address_hash, STOP, at, source)
    else:
        changed = let_go(connection, channel, address_hash, at, source, stopped_before=True)
    owners = _consents(connection, channel, address_hash)
    if changed:
        writer = Writer(connection, now)
        for row in owners:
            if (said := _said(word, row.state, row.source, source)) is not None:
                consented = Consented(channel, row.topic, *said, text[:LONGEST_PROOF], at)
                writer.apply(row.id, Profile(consents=(consented,)))
        writer.flush()
    return Heard(word, changed, tuple(dict.fromkeys(row.external_id for row in owners)))


def _said(word: Literal["stop", "start"], state: str, said: str, source: str) -> tuple[str, str] | None:
    """What becomes of a consent that was last `said` like this, and how that was said; None: it stays."""
    unconfirmed = f"{source}{UNCONFIRMED}"
    if word == "stop":
        return {"on": ("off", source), "pending": ("off", unconfirmed)}.get(state)
    return {source: ("on", source), unconfirmed: ("pending", source)}.get(said) if state == "off" else None


def _consents(connection: Connection, channel: str, address_hash: str) -> list[Row[int, str, str, str, str]]:
    """Who has this address, with each of their consents on the channel, if any."""
    mine = (consent.c.customer_id == customer.c.id) & (consent.c.channel == channel)
    rows = (
        select(customer.c.id, customer.c.external_id, consent.c.topic, consent.c.state, consent.c.source)
        .select_from(customer.outerjoin(consent, mine))
        .where(ADDRESS[channel][1] == address_hash)
        .order_by(customer.c.id, consent.c.topic)
    )
    return list(connection.execute(rows).all())
