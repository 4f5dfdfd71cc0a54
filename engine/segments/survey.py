"""Judging everybody without keeping the database's writer: SQLite has one, and events must come in meanwhile.

`prepare` reads for as long as it takes and writes little by little; the `refresh` that follows, in one short
transaction, is where joins and leaves come from. Whoever is touched in between is judged by refresh anyway.

A first filling enters nobody, so its rows may be written in pieces. The whole look of the slower beat gives suspects:
those it found on the wrong side. They are few, and refresh judges them once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, not_, select, true, update

from engine.language import tree
from engine.progress import Tell, untold
from engine.segments.definition import Segment
from engine.segments.membership import (
    Content,
    Suspects,
    due_whole,
    rhythms,
    segments_of,
    write_sides,
    write_state,
)
from engine.segments.moments import keep_indexes
from engine.segments.people import everybody
from engine.segments.rhythm import keep_gaps, shop_gap, stale
from engine.segments.turning import Moment, turnings
from engine.store import published
from engine.store.database import Database
from engine.store.tables import customer, segment_member, segment_state

PIECE = 1000
"""Members written in one transaction: a few milliseconds."""


def prepare(
    database: Database,
    content: Content,
    now: datetime,
    as_of: int | None = None,
    *,
    full: bool = False,
    tell: Tell = untold,
) -> dict[str, Suspects]:
    """Fill new segments, and find the suspects of those due to be judged whole (full: of all). For `refresh` at the
    same `now`, and `as_of` the same publish.

    Opens transactions of its own. On PostgreSQL only indexes are prepared: a long look keeps nobody waiting there.
    """
    segments = segments_of(content)
    keep_indexes(database, moments(segments))
    if database.dialect == "postgresql":
        return {}
    with database.read() as c:
        if as_of not in (None, published.times(c)):
            return {}
        states = {row.segment: row for row in c.execute(select(segment_state))}
        due = [s for s in segments if full or due_whole(s, states.get(s.name), now)]
        gaps = {name: shop_gap(c, name) for name in stale(c, rhythms(due), now)}
    if any(state.seen_at > now for state in states.values()):
        return {}
    if gaps:
        with database.write() as c:
            keep_gaps(c, gaps, now)
    suspects: dict[str, Suspects] = {}
    for n, segment in enumerate(due):
        tell(n / len(due), f"segment {segment.name}")
        state = states.get(segment.name)
        with database.read() as c:
            to_join, to_leave = _wrong_side(c, segment, now, content.vocabulary.timezone)
        if state is None or state.digest != segment.digest:
            _fill(database, segment, state, now, to_join, to_leave)
        else:
            suspects[segment.name] = Suspects(segment.digest, state.seen_at, now, (*to_join, *to_leave))
    return suspects


def moments(segments: Sequence[Segment]) -> Iterator[tree.Name]:
    """The stored moments that these segments look at."""
    for segment in segments:
        yield from (turning.name for turning in turnings(segment.typed) if isinstance(turning, Moment))


def _wrong_side(c: Connection, segment: Segment, now: datetime, zone: str) -> tuple[list[int], list[int]]:
    """Who ought to be a member and isn't, and who is and oughtn't."""
    m, inside = segment_member.c, everybody(segment.typed, now, zone)
    here = (m.segment == segment.name, m.left_at.is_(None))
    to_join = inside.where(not_(exists().where(m.customer_id == customer.c.id, *here).correlate(customer)))
    to_leave = select(m.customer_id).where(*here, m.customer_id.not_in(inside))
    return list(c.scalars(to_join)), list(c.scalars(to_leave))


def _fill(
    database: Database, segment: Segment, state: Any, now: datetime, to_join: Sequence[int], to_leave: Sequence[int]
) -> None:
    """Write a filling in pieces. Somebody else who looks meanwhile does the work themselves: then this one stops."""
    m = segment_member.c
    for start in range(0, len(to_join), PIECE):
        with database.write() as c:
            if _state(c, segment) != state:
                return
            inside = select(customer.c.id, true()).where(customer.c.id.in_(to_join[start : start + PIECE]))
            write_sides(c, segment, now, inside, filling=True)
    for start in range(0, len(to_leave), PIECE):
        with database.write() as c:
            if _state(c, segment) != state:
                return
            gone = m.customer_id.in_(to_leave[start : start + PIECE])
            c.execute(update(segment_member).where(m.segment == segment.name, gone).values(left_at=now))
    with database.write() as c:
        if _state(c, segment) == state:
            write_state(c, segment, now, now)


def _state(c: Connection, segment: Segment) -> Any:
    return c.execute(select(segment_state).where(segment_state.c.segment == segment.name)).one_or_none()
