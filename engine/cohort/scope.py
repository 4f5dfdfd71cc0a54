"""What the expressions of one journey see: its texts, parsed once, as columns over enrolment, customer and the entry's
event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Double, FromClause, Text, case, cast, func, literal, null, or_

from engine.cohort.chance import Chance, no_chance
from engine.cohort.cohort import entry_event
from engine.cohort.program import Program
from engine.language.expression import Names, Typed
from engine.language.types import Kind
from engine.segments import seen, sql
from engine.segments.sql import Frame
from engine.store.local_time import day_text, local_micros, utc_micros
from engine.store.tables import customer, enrolment

FACTS = 40
"""Facts that a decision keeps, at most: PostgreSQL makes a JSON object of no more than 50."""

Of = tuple[str, FromClause]
"""The event being judged: its name and its table."""


@dataclass(frozen=True)
class Scope:
    """A version's expressions at a moment. `condition` is never NULL; `value` is NULL where something is missing."""

    program: Program
    now: datetime
    at_the_door: bool = False
    """Nobody is enrolled yet: the expressions see the customer and the event that names them."""
    chance: Chance = no_chance

    @property
    def sources(self) -> tuple[FromClause, ...]:
        """The tables these columns read, for a subquery to correlate with."""
        return (customer, enrolment, entry_event)

    @property
    def arriving(self) -> ColumnElement[bool]:
        """True for those who have only come to the step, false for those whose wait here is over."""
        return enrolment.c.state == "ready"

    def condition(self, text: str, *, event: Of | None = None) -> ColumnElement[bool]:
        return sql.condition(self.typed(text, event, condition=True), self._frame(event))

    def exits(self) -> ColumnElement[bool]:
        """True where one of the journey's `exit: when` is."""
        return or_(*(self.condition(text) for text in self.program.exits_when))

    def value(self, text: str, *, event: Of | None = None, now: ColumnElement[Any] | None = None) -> ColumnElement[Any]:
        """The value, as seen at another moment than this where `now` (microseconds) is given."""
        frame = self._frame(event)
        return sql.value(self.typed(text, event), frame if now is None else replace(frame, now=now))

    def text(self, text: str) -> ColumnElement[str]:
        """The value as text; NULL when missing."""
        typed = self.typed(text)
        column = sql.value(typed, self._frame(None))
        if typed.type.kind is Kind.DATE:
            return day_text(column)
        if typed.type.kind is Kind.NUMBER:  # 17.0 names the same order as 17; beyond that PostgreSQL's cast would raise
            whole = case((func.abs(column) < 1e18, cast(column, BigInteger)))
            return case((column == whole, cast(whole, Text)), else_=cast(column, Text))
        return cast(column, Text)

    def shown(self, text: str) -> ColumnElement[str]:
        """The value as people write it; NULL when missing. Money is in its currency's unit."""
        if self.typed(text).type.kind is not Kind.MONEY:
            return self.text(text)
        digits = self.program.vocabulary.digits
        minor = cast(func.round(self.value(text)), BigInteger)
        unit = literal(10**digits, BigInteger)
        sign, size = case((minor < 0, "-"), else_=""), func.abs(minor)
        whole = sign + cast(size.op("/")(unit), Text)  # of two whole numbers: both databases drop the fraction
        if not digits:
            return whole
        return whole + "." + func.substr(cast(unit + size.op("%")(unit), Text), 2)

    def stored(self, text: str) -> ColumnElement[Any]:
        """The value in the form it is kept in a JSON document."""
        return seen.as_json(self.typed(text), self._frame(None))

    def number(self, text: str, *, event: Of | None = None) -> ColumnElement[float]:
        """The value as a number: minor units for money."""
        return cast(self.value(text, event=event), Double)

    def seen(self, *texts: str) -> ColumnElement[Any]:
        """The values that these conditions look at, as a JSON object from each one's own text to what it was."""
        facts: dict[str, ColumnElement[Any]] = {}
        for text in texts:
            for part in seen.looked_at(self.typed(text, condition=True)):
                name = text[slice(*part.span)]
                if name not in facts and len(facts) < FACTS:
                    facts[name] = seen.as_json(part, self._frame(None))
        return seen.json_object(facts) if facts else null()

    def typed(self, text: str, event: Of | None = None, *, condition: bool = False) -> Typed:
        names = Names(entry=self.program.names.entry) if self.at_the_door else self.program.names
        if event is not None:
            names = replace(names, event=event[0])
        return self.program.parsed(text, names, condition)

    def local(self, moment: ColumnElement[Any] | datetime) -> ColumnElement[int]:
        """The customer's wall clock at a moment, in microseconds."""
        return local_micros(moment, customer.c.timezone, self.program.project.brand.timezone)

    def utc(self, local: ColumnElement[int]) -> ColumnElement[int]:
        """The moment that a wall clock of the customer's means, in microseconds."""
        return utc_micros(local, customer.c.timezone, self.program.project.brand.timezone)

    def _frame(self, event: Of | None) -> Frame:
        return Frame(
            customer=customer,
            now=self.now,
            zone=self.program.project.brand.timezone,
            entry=entry_event,
            event=None if event is None else event[1],
            enrolment=None if self.at_the_door else enrolment,
        )
