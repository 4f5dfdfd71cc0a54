"""What the names of an expression stand for in one statement, and where the facts about a customer's events come from.

Two ways to get at those facts. For few customers each fact is a correlated subquery on an index. For the whole base
(`Joins`) each is a LEFT JOIN: the tally by its key, a windowed count by one aggregate over the window for everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, and_, literal, select, type_coerce

from engine.store.tables import event, tally
from engine.store.types import micros


@dataclass
class Joins:
    """The LEFT JOINs a statement over the whole base needs, at most one row a customer each, found while compiling."""

    made: dict[Any, tuple[FromClause, ColumnElement[bool]]] = field(default_factory=dict)
    narrow: bool = False
    """Other conditions leave few customers, so what is costly is looked up for each of those and not made for all."""

    def get(self, key: Any, make: Callable[[], tuple[FromClause, ColumnElement[bool]]]) -> FromClause:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key][0]

    def onto(self, source: FromClause) -> FromClause:
        """The source with all of them joined."""
        for table, on in self.made.values():
            source = source.outerjoin(table, on)
        return source


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The tables (or aliases) of the enclosing statement that the names of an expression read.

    customer: the customer table. now: an aware datetime, or a column of instants. zone: the brand's time zone.
    entry, event: the event that let them in, the one being judged. enrolment: whose messages and waits are meant.
    item: the JSON of the list's entry. child: the enrolment is a child, whose parent's messages and waits are its own.
    conjunct: the whole can only be true when this part is.
    """

    customer: FromClause
    now: datetime | ColumnElement[Any]
    zone: str = "UTC"
    entry: FromClause | None = None
    event: FromClause | None = None
    enrolment: FromClause | None = None
    item: ColumnElement[Any] | None = None
    child: bool = False
    joins: Joins | None = None
    conjunct: bool = True

    @property
    def aside(self) -> Frame:
        """For a part that needn't be true for the whole to be true."""
        return replace(self, conjunct=False)

    def enrolled(self, column: ColumnElement[int]) -> ColumnElement[bool]:
        """Whether a row's enrolment is this one. LookupError when there is none."""
        if self.enrolment is None:
            raise LookupError("this statement has no enrolment")
        own = self.enrolment.c
        return column.in_([own.id, own.parent_id]) if self.child else column == own.id

    @property
    def at(self) -> ColumnElement[int]:
        """`now` in microseconds."""
        return literal(micros(self.now), BigInteger) if isinstance(self.now, datetime) else bigint(self.now)

    def ago(self, length: int) -> ColumnElement[int]:
        """`now` less so many microseconds; one constant where it can be, so that an index is used."""
        if isinstance(self.now, datetime):
            return literal(micros(self.now) - length, BigInteger)
        return bigint(self.now) - literal(length, BigInteger)

    def tallied(self, name: str, column: str) -> ColumnElement[Any]:
        """A column of the customer's tally of one event; NULL when there is none."""
        if self.joins is not None:

            def make() -> tuple[FromClause, ColumnElement[bool]]:
                t = tally.alias()
                return t, and_(t.c.customer_id == self.customer.c.id, t.c.name == name)

            return bigint(self.joins.get(("tally", name), make).c[column])
        t = tally.alias()
        found = select(bigint(t.c[column])).where(t.c.customer_id == self.customer.c.id, t.c.name == name)
        return found.correlate_except(t).scalar_subquery()

    def events(self, name: str, within: int | None) -> tuple[FromClause, ColumnElement[bool]]:
        """An alias of the event table, and the condition for such events in the window (now - within, now]."""
        e = event.alias()
        return e, and_(e.c.name == name, *self._window(e, within))

    def _window(self, e: FromClause, within: int | None) -> list[ColumnElement[bool]]:
        if within is None:
            return []
        occurred = bigint(e.c.occurred_at)
        return [occurred > self.ago(within), occurred <= self.at]


def bigint(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Microseconds as a plain number: arithmetic on an Instant would give an Instant back."""
    return type_coerce(column, BigInteger)
