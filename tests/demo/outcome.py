"""What a run of the demo came to, without the numbers that a database gives its rows: so two runs can be compared."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import ColumnElement, FromClause, Select, select

from engine.store.database import Database
from engine.store.tables import (
    customer,
    customer_tag,
    decision,
    enrolment,
    event,
    goal_reached,
    message,
    refusal,
    segment_member,
    tally,
)


def _theirs(table: FromClause, *names: str) -> Select[Any]:
    """Columns of a table about customers, with whose they are."""
    who = customer.join(table, table.c.customer_id == customer.c.id)
    return select(customer.c.external_id, *(table.c[name] for name in names)).select_from(who)


def _of_enrolments(table: FromClause, *names: str) -> Select[Any]:
    """Columns of a table about enrolments, with which those are."""
    who: list[ColumnElement[Any]] = [enrolment.c.journey, customer.c.external_id, enrolment.c.cause]
    joined = table.join(enrolment, enrolment.c.id == table.c.enrolment_id)
    joined = joined.join(customer, customer.c.id == enrolment.c.customer_id)
    return select(*who, *(table.c[name] for name in names)).select_from(joined)


ASKED = {
    "enrolments": _theirs(enrolment, "journey", "cause", "key", "entered_at", "step", "visit", "state", "outcome"),
    "due": _theirs(enrolment, "journey", "cause", "due_at"),
    "refusals": _theirs(refusal, "journey", "cause", "reason"),
    "decisions": _of_enrolments(decision, "visit", "kind", "step", "outcome", "reason", "at"),
    "messages": _of_enrolments(message, "visit", "route", "step", "template", "state", "reason", "queued_at"),
    "goals": _of_enrolments(goal_reached, "at", "value"),
    "tallies": _theirs(tally, "name", "count", "total", "first_at", "last_at"),
    "tags": _theirs(customer_tag, "tag"),
    "members": _theirs(segment_member, "segment", "joined_at", "left_at"),
}


CODE = re.compile(r"\b(BDAY|BACK|CART|HELLO)-[0-9A-Z]{6,}")

EVENTS = select(event.c.id, event.c.source, event.c.key)


def outcome(database: Database) -> dict[str, list[tuple[str, ...]]]:
    """Everything that was decided, with its virtual time, and where everybody stands."""
    with database.read() as connection:
        # A cause names its event by the number of its row, which a database that two write to may leave gaps in.
        keys = {f"event:{id}": f"event {source} {key}" for id, source, key in connection.execute(EVENTS)}
        return {
            name: sorted(tuple(keys.get(str(one), str(one)) for one in row) for row in connection.execute(rows))
            for name, rows in ASKED.items()
        }


def files(mail: Path) -> list[Path]:
    """Every message that was sent."""
    return sorted(path for channel in ("email", "sms", "push") for path in (mail / channel).glob("*"))


def sent(mail: Path) -> list[tuple[str, ...]]:
    """Each message by whom it went to, what it says first (but for the code of a coupon, which chance makes), and its
    virtual time."""
    found = []
    for path in files(mail):
        if path.suffix == ".eml":
            letter = message_from_bytes(path.read_bytes(), policy=policy.default)
            said = (letter["To"], letter["Subject"], letter["Date"])
        else:
            one = orjson.loads(path.read_bytes())
            said = (one["to"], one.get("text") or one["title"], one["at"])
        found.append((path.parent.name, *(CODE.sub(r"\1-…", str(one)) for one in said)))
    return sorted(found)
