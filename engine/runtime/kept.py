"""Webhooks that could not be taken as events, kept for a person to look at: an unknown topic, no customer named.

Bounded: of each source the newest MOST rows, of each body the first LONGEST characters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from engine.store.scratch import insert_ignore
from engine.store.tables import kept_hook

MOST = 10_000
LONGEST = 262_144
LONGEST_WORD = 200
"""Characters of a topic, a key or a reason."""


@dataclass(frozen=True)
class Kept:
    """A part of a webhook: its topic, why it was not taken, its text, and what names it (empty: its content)."""

    topic: str
    reason: str
    body: str
    key: str = ""

    @property
    def name(self) -> str:
        if self.key and len(self.key) <= LONGEST_WORD:
            return self.key
        said = f"{self.topic}\0{self.key or self.body}"
        return "content:" + hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:40]


def keep(connection: Connection, source: str, parts: Sequence[Kept], now: datetime, most: int = MOST) -> None:
    """Keep them in the caller's transaction; what is there already stays as it is."""
    rows = [
        {
            "source": source,
            "key": _kept(one.name)[:LONGEST_WORD],
            "topic": _kept(one.topic)[:LONGEST_WORD],
            "received_at": now,
            "reason": one.reason[:LONGEST_WORD],
            "body": _kept(one.body)[:LONGEST],
        }
        for one in parts
    ]
    if not rows:
        return
    connection.execute(insert_ignore(connection, kept_hook), rows)
    mine = select(kept_hook.c.id).where(kept_hook.c.source == source).order_by(kept_hook.c.id.desc())
    oldest = connection.scalar(mine.offset(most).limit(1))
    if oldest is not None:
        connection.execute(delete(kept_hook).where(kept_hook.c.source == source, kept_hook.c.id <= oldest))


def counts(connection: Connection) -> dict[str, int]:
    """How many are kept, by source."""
    rows = select(kept_hook.c.source, func.count()).group_by(kept_hook.c.source).order_by(kept_hook.c.source)
    return dict(connection.execute(rows).all())


def _kept(text: str) -> str:
    """As both databases can keep it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
