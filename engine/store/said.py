"""The history of consent: every word that changes something, as it is said. Written before the word itself is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import FromClause, exists, not_, or_, select

from engine.store.scratch import insert_ignore
from engine.store.tables import consent, consent_said

COLUMNS = ("customer_id", "channel", "topic", "at", "state", "heard_at", "source", "proof")


def remember(dialect: str, words: FromClause) -> Any:
    """The insert of those words (rows of COLUMNS) that say another thing than what stands, or bring a proof. A shop
    that tells the same consent with every event writes one row, not a million."""
    word, stands = words.c, consent.alias("stands")
    told_again = exists().where(
        stands.c.customer_id == word.customer_id,
        stands.c.channel == word.channel,
        stands.c.topic == word.topic,
        stands.c.state == word.state,
        or_(word.proof.is_(None), stands.c.proof == word.proof),
    )
    news = select(*(word[name] for name in COLUMNS)).where(not_(told_again))
    return insert_ignore(dialect, consent_said).from_select(list(COLUMNS), news)
