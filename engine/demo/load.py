"""The demo's customers and events on their way into the database, through the same door as a shop's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from engine.runtime.door import Door, Problems
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile


def profiles(people: pl.DataFrame, door: Door) -> dict[str, Profile]:
    """What is known of each customer, by id. The few addresses that are made wrong stay wrong."""
    return {row["id"]: door.profile(_given(row), Problems()) for row in people.iter_rows(named=True)}


def incoming(events: pl.DataFrame, door: Door, known: dict[str, Profile]) -> Iterator[tuple[datetime, Incoming]]:
    """The events in order with their moment. A customer's first one brings their profile, taken out of `known`."""
    for source, key, customer, name, at, text in events.iter_rows():
        properties = door.properties(name, orjson.loads(text), Problems())
        yield at, Incoming(customer, name, key, at, properties, known.pop(customer, None), source)


def _given(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
