"""The shop's rhythm: how long customers usually wait between two of an event. `usual_gap` falls back to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from statistics import median

from sqlalchemy import Connection, delete, func, insert, select

from engine.segments.counts import medians
from engine.store.tables import customer, rhythm

KEPT = timedelta(days=7)
SAMPLE = 20_000
"""Customers that are looked at when there are more: every n-th by number."""


def shop_gap(connection: Connection, event: str) -> int | None:
    """The median, over customers with three gaps, of their own median gap, in microseconds; None when there is none."""
    most = connection.scalar(select(func.max(customer.c.id))) or 0
    among = None
    if most > SAMPLE:
        among = select(customer.c.id).where(customer.c.id % -(-most // SAMPLE) == 0)
    own = medians(event, None, among).subquery()
    gaps = list(connection.scalars(select(own.c.gap)))
    return int(median(gaps)) if gaps else None


def stale(connection: Connection, events: Iterable[str], now: datetime) -> set[str]:
    """Those of these events whose shop's gap was not measured for KEPT: it is a median over everybody, and slow to
    change."""
    fresh = select(rhythm.c.name).where(rhythm.c.at > now - KEPT)
    return set(events) - set(connection.scalars(fresh))


def keep_gaps(connection: Connection, gaps: Mapping[str, int | None], now: datetime) -> None:
    """Keep the shop's gap of these events; None: there is none."""
    for name, gap in sorted(gaps.items()):
        connection.execute(delete(rhythm).where(rhythm.c.name == name))
        if gap is not None:
            connection.execute(insert(rhythm), {"name": name, "gap": gap, "at": now})
