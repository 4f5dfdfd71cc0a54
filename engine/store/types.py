"""Column types that mean the same on SQLite and PostgreSQL.

An instant is kept as whole microseconds since 1970 (UTC) in a BIGINT: SQLite has no time type, its text dates compare
wrongly as soon as one writer formats them differently, and integers make `now - last` one subtraction on both
databases.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime. A naive one is a ValueError: it names no moment."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone, so it names no moment")
    return (moment - EPOCH) // MICROSECOND


def moment(value: int) -> datetime:
    """The aware UTC datetime of `micros`."""
    return EPOCH + value * MICROSECOND


class Instant(TypeDecorator[datetime]):
    """A moment in time: aware datetime in Python, microseconds since 1970 in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> int | None:
        return micros(value) if isinstance(value, datetime) else value

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        return None if value is None else moment(value)


def text_type() -> TypeEngine[str]:
    """Text that compares by code point on both databases (SQLite's BINARY is its default)."""
    return Text().with_variant(PG_TEXT(collation="C"), "postgresql")


def json_type() -> TypeEngine[Any]:
    """JSON; the binary form on PostgreSQL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def id_type() -> TypeEngine[int]:
    """A 64-bit row id that SQLite takes as its rowid."""
    return BigInteger().with_variant(Integer(), "sqlite")


def span(length: timedelta) -> int:
    """Microseconds of a length of time, to add to an instant."""
    return length // MICROSECOND
