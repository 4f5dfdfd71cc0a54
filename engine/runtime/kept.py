"""Webhooks that could not be taken as events, kept for a person to look at: an unknown topic, no customer named.

Bounded: of each source about MOST rows, of each body the first LONGEST characters. The topics share the room of their
source: where there are too many rows, the oldest of those topics go that have most, so a noisy one costs the others
nothing.

What nobody knows of whose it is waits for the event that says so, a refund for its order: `ripe` finds it by the key of
that event. Either the keeping or the event commits first, and whoever commits second looks after its own commit, so
one of the two finds the other; if both do, what is taken counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from engine.store.given import among, listed
from engine.store.scratch import insert_ignore
from engine.store.tables import event, kept_hook, kept_wait

MOST = 10_000
LONGEST = 262_144
LONGEST_WORD = 200
"""Characters of a topic, a key or a reason."""


@dataclass(frozen=True)
class Reading:
    """What besides its text it takes to read something again: the headers that were asked for when it was read, and
    whether the text is a part of what came, or all of it."""

    headers: Mapping[str, str]
    part: bool


@dataclass(frozen=True)
class Kept:
    """A part of a webhook: its topic, why it was not taken, its text, what names it (empty: its content), and how it is
    read again (None: it can't be). `waits`: keys of events of its source, any of which says whose it is."""

    topic: str
    reason: str
    body: str
    key: str = ""
    reading: Reading | None = None
    waits: tuple[str, ...] = ()

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
            "body": (body := _kept(one.body))[:LONGEST],
            "reading": None if one.reading is None or len(body) > LONGEST else asdict(one.reading),
        }
        for one in parts
    ]
    if not rows:
        return
    connection.execute(insert_ignore(connection, kept_hook), rows)
    for row, one in zip(rows, parts, strict=True):
        if one.waits and row["reading"] is not None:
            named = (kept_hook.c.source == source, kept_hook.c.key == row["key"])
            # Locked, or whoever takes it meanwhile would leave a wait of nobody.
            if (number := connection.scalar(select(kept_hook.c.id).where(*named).with_for_update())) is not None:
                _wait(connection, source, number, one.waits)
    mine = kept_hook.c.source == source
    # To look through all of them costs much: it is done once for many.
    if (connection.scalar(select(func.count()).where(mine)) or 0) > most + most // 20:
        newest = kept_hook.c.id.desc()
        turn = func.row_number().over(partition_by=kept_hook.c.topic, order_by=newest)
        over = select(kept_hook.c.id).where(mine).order_by(turn, newest).offset(most)
        dropped = delete(kept_hook).where(kept_hook.c.id.in_(over)).returning(kept_hook.c.id)
        gone = list(connection.execute(dropped).scalars())
        dialect = connection.dialect.name
        waits = delete(kept_wait).where(among(dialect, kept_wait.c.hook_id, "gone"))
        connection.execute(waits, {"gone": listed(dialect, gone)})


def counts(connection: Connection) -> dict[str, int]:
    """How many are kept, by source."""
    rows = select(kept_hook.c.source, func.count()).group_by(kept_hook.c.source).order_by(kept_hook.c.source)
    return dict(connection.execute(rows).all())


@dataclass(frozen=True)
class Heap:
    """What is kept of one source and topic for one reason: how many, when the last of them came, and its id."""

    source: str
    topic: str
    reason: str
    count: int
    last_at: datetime
    last_id: int


@dataclass(frozen=True)
class Hook:
    """One that is kept. `reading` is None where it can't be read again."""

    id: int
    source: str
    topic: str
    received_at: datetime
    reason: str
    body: str
    reading: Reading | None


def heaps(connection: Connection, source: str | None = None, topic: str | None = None) -> list[Heap]:
    """What is kept, by source, topic and reason."""
    by = (kept_hook.c.source, kept_hook.c.topic, kept_hook.c.reason)
    last = func.max(kept_hook.c.received_at, type_=kept_hook.c.received_at.type)
    rows = select(*by, func.count(), last, func.max(kept_hook.c.id)).where(*_of(source, topic))
    return [Heap(*row) for row in connection.execute(rows.group_by(*by).order_by(*by))]


def ids(connection: Connection, source: str | None = None, topic: str | None = None) -> list[int]:
    """Those of a source and a topic, in the order in which they came."""
    rows = select(kept_hook.c.id).where(*_of(source, topic)).order_by(kept_hook.c.id)
    return list(connection.execute(rows).scalars())


def one(connection: Connection, number: int) -> Hook | None:
    """The one with this id, if it is kept."""
    row = connection.execute(select(kept_hook).where(kept_hook.c.id == number)).one_or_none()
    if row is None:
        return None
    reading = None if row.reading is None else Reading(row.reading["headers"], row.reading["part"])
    return Hook(row.id, row.source, row.topic, row.received_at, row.reason, row.body, reading)


def ripe(connection: Connection, source: str, keys: Sequence[str]) -> list[int]:
    """Those of a source that wait for an event with one of these keys which is there, in the order in which they
    came."""
    if not keys:
        return []
    dialect = connection.dialect.name
    is_there = (event.c.source == kept_wait.c.source) & (event.c.key == kept_wait.c.key)
    mine = (kept_wait.c.source == source, among(dialect, kept_wait.c.key, "keys"))
    rows = select(kept_wait.c.hook_id).distinct().join(event, is_there).where(*mine).order_by(kept_wait.c.hook_id)
    return list(connection.execute(rows, {"keys": listed(dialect, map(_kept, keys))}).scalars())


def settle(connection: Connection, number: int, reason: str | None, waits: Sequence[str] = ()) -> None:
    """Nothing is left of it to be taken (None), and it is kept no longer; or it stays, why, and what it waits for."""
    this = kept_hook.c.id == number
    change = delete(kept_hook) if reason is None else update(kept_hook).values(reason=reason[:LONGEST_WORD])
    source = connection.scalar(change.where(this).returning(kept_hook.c.source))
    connection.execute(delete(kept_wait).where(kept_wait.c.hook_id == number))
    if source is not None and reason is not None and waits:
        _wait(connection, source, number, waits)


def _wait(connection: Connection, source: str, number: int, keys: Sequence[str]) -> None:
    """A key that no event can have is waited for in vain."""
    possible = [key for key in keys if len(key) <= LONGEST_WORD and _kept(key) == key]
    if possible:
        rows = [{"source": source, "key": key, "hook_id": number} for key in possible]
        connection.execute(insert_ignore(connection, kept_wait), rows)


def _of(source: str | None, topic: str | None) -> list[ColumnElement[bool]]:
    wanted = ((kept_hook.c.source, source), (kept_hook.c.topic, topic))
    return [column == value for column, value in wanted if value is not None]


def _kept(text: str) -> str:
    """As both databases can keep it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
