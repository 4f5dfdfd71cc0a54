"""What a customer has agreed to, word by word: the proof of each consent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from engine.store.tables import consent_said

LATEST = 50
"""Words of one topic on one channel that are told."""


@dataclass(frozen=True)
class Word:
    """A word about one topic on one channel: when it was said and when it came here, how (`source`) and in what words
    (`proof`). `state`: on, off or pending (a yes that wants to be confirmed)."""

    channel: str
    topic: str
    state: str
    at: datetime
    heard_at: datetime
    source: str
    proof: str | None


def history(connection: Connection, customer_id: int) -> dict[tuple[str, str], Sequence[Word]]:
    """Every word of a customer, by channel and topic, in the order in which they were said: the last ones of many."""
    c = consent_said.c
    rows = (
        select(c.channel, c.topic, c.state, c.at, c.heard_at, c.source, c.proof)
        .where(c.customer_id == customer_id)
        .order_by(c.channel, c.topic, c.at, c.heard_at, c.state)
    )
    found: dict[tuple[str, str], list[Word]] = {}
    for row in connection.execute(rows):
        word = Word(*row)
        found.setdefault((word.channel, word.topic), []).append(word)
    return {pair: words[-LATEST:] for pair, words in found.items()}
