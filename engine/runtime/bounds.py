"""What an id and a moment may be that comes from outside, whichever way it comes: by HTTP or from a file.

An id stands in indexes and in addresses of pages: one without an end could be kept by neither database, or asked for by
nobody. A moment before 1970 is a mistake (a date of a spreadsheet that was empty), and near the year 1 it has no local
time at all.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

LONGEST_ID = 200
"""Characters of a customer's id, an event's key or the name of a source."""

AN_ID = f"a text of 1 to {LONGEST_ID} characters, without spaces around it"
NO_ID = "this can't be an id"

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
TOO_EARLY = "this is before 1970"

AHEAD = timedelta(days=1)
"""So far in the future an event may lie: clocks differ, and a typing error must not keep somebody's `elapsed` small for
years."""


def id_of(given: Any) -> str:
    """An id in the form it is kept in, "" for what can't be one."""
    if isinstance(given, float) and given.is_integer() and abs(given) < 2**53:
        given = int(given)  # JSON knows one kind of number; a larger one may have been rounded to somebody else's
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if isinstance(text, str) and 0 < len(text) <= LONGEST_ID and text.isprintable() and text == text.strip():
        return text
    return ""


def sent_by_nobody(event: str) -> str:
    """Why an event of OWN_EVENTS isn't taken."""
    return f"{event} is an event of Karibu's own, that nobody sends"
