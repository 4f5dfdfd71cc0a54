"""Messages in doubt: nobody can say whether the provider took them.

The provider's own word settles it (`heard_of`), or a person's (`resolve`). If both are silent, a marketing message
stays in doubt for ever: it goes out at most once. A transactional one, which its reader waits for, is sent once more.
What a person decides leaves a decision, and so does a repeat: doubted.py tells of them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, Select, Update, and_, exists, insert, literal, or_, select, update

from engine.cohort.caps import give_back
from engine.cohort.coupons import issue
from engine.cohort.gate import TEAM
from engine.language.vocabulary import TRANSACTIONAL
from engine.runtime.references import parsed
from engine.store.given import among, listed
from engine.store.scratch import insert_ignore
from engine.store.tables import IN_DOUBT, decision, message, message_event
from engine.store.types import Instant

SILENT = timedelta(minutes=10)
"""So long the provider may stay silent about a transactional message before it is sent once more."""

Outcome = Literal["sent", "not-sent", "again"]

REPEATED, SETTLED = "repeats", "settles:"
"""Kinds of decisions: the engine sends it once more; a person settled a doubt, and after the colon stands which, as one
that is sent once more may be in doubt again."""

SPOKEN = "the provider spoke of it"
"""The reason of a message whose doubt its provider ended."""


class NoReason(ValueError):
    """A person who settles a doubt must say how they know."""


REPEATS = and_(IN_DOUBT, message.c.topic == TRANSACTIONAL, message.c.doubts == 1, message.c.channel != TEAM)
"""What will be sent once more when the provider stays silent."""


_DECISION = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at"]


def repeat(connection: Connection, now: datetime) -> int:
    """Queue the transactional messages once more whose provider has been silent for long enough. How many."""
    silent = message.c.settled_at <= literal(now - SILENT, Instant())
    ids = list(connection.scalars(_to_the_queue(now).where(REPEATS, silent).returning(message.c.id)))
    if ids:
        at = literal(now, Instant())
        said = [literal(REPEATED), message.c.step, literal("again"), literal("silence"), at]
        dialect = connection.dialect.name
        told = select(message.c.enrolment_id, message.c.visit, *said).where(among(dialect, message.c.id, "ids"))
        add = insert_ignore(connection, decision).from_select(_DECISION, told)
        connection.execute(add, {"ids": listed(dialect, ids)})
    return len(ids)


def heard_of(connection: Connection, ids: Collection[int], now: datetime) -> None:
    """The provider has spoken of these messages, so it has taken them: none is in doubt, or waits to be repeated."""
    doubted = or_(IN_DOUBT, and_(message.c.doubts > 0, message.c.state == "queued"))
    sent = update(message).where(message.c.id.in_(ids), doubted)
    connection.execute(sent.values(state="accepted", reason=SPOKEN))
    issue(connection, message.c.id.in_(ids), now)


def spoken_of(connection: Connection, ids: Select[int], now: datetime) -> None:
    """The same for those of these, just recorded as in doubt, of which the provider spoke before it was known that they
    are. A statement of its own, after their rows were locked: it sees whatever `feedback.take` has written by then."""
    told = exists().where(message_event.c.message_id == message.c.id)
    sent = update(message).where(message.c.id.in_(ids), IN_DOUBT, told)
    if connection.execute(sent.values(state="accepted", reason=SPOKEN)).rowcount:
        issue(connection, message.c.id.in_(ids), now)


def resolve(connection: Connection, ref: str, outcome: Outcome, why: str, now: datetime) -> bool:
    """A person decides of a message in doubt: it was sent, it wasn't, or it is to be sent once more. False when there
    is no such message in doubt (any more). Raises NoReason when `why` is blank."""
    why = why.strip()
    if not why:
        raise NoReason("a decision needs a reason")
    if (key := parsed(ref)) is None:
        return False
    enrolment_id, visit, route = key
    mine = (message.c.enrolment_id == enrolment_id, message.c.visit == visit, message.c.route == route)
    if outcome == "again":
        change = _to_the_queue(now)
    else:
        change = update(message).values(state="accepted" if outcome == "sent" else "refused")
    decided = change.where(*mine, IN_DOUBT).values(reason=why).returning(message.c.step, message.c.doubts)
    if (done := connection.execute(decided).first()) is None:
        return False
    row = (enrolment_id, visit, f"{SETTLED}{done.doubts}", done.step, outcome, why, now)
    connection.execute(insert(decision).values(dict(zip(_DECISION, row, strict=True))))
    if outcome == "sent":
        issue(connection, and_(*mine), now)
    if outcome == "not-sent":
        give_back(connection, select(message.c.customer_id, message.c.enrolment_id, message.c.visit).where(*mine))
    return True


def _to_the_queue(now: datetime) -> Update:
    due = literal(now, Instant())
    return update(message).values(state="queued", due_at=due, settled_at=None, attempts=0)
