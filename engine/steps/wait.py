"""`wait`: a row with a due_at, never a sleeping process."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema
from sqlalchemy import BigInteger, ColumnElement, case, cast, literal, type_coerce

from engine.cohort.cohort import EXITED, Cohort, Judgement, moving
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.errors import Wrong
from engine.language.fields import DateAttribute
from engine.language.graph import Node
from engine.language.journey import Complaint, Dated
from engine.language.moments import parse_duration, parse_local, parse_time, parse_weekday, text_or
from engine.language.registry import step
from engine.store.local_time import DAY, day_of, weekday_of
from engine.store.tables import enrolment
from engine.store.types import EPOCH, Instant, span

WAIT = "wait"
MISSED = "missed"

_FORMS = (
    "write 3d, 3d at 10:00, until 09:00, until monday 10:00, until 2026-12-24 18:00 "
    "or until customer.renewal - 5d at 09:00"
)


@dataclass(frozen=True)
class Until:
    """When a wait ends. One of: `length` (exactly so long), `days` on at `at`, `weekday` at `at`, `moment` (a wall
    clock), `date` (a customer's date) plus `offset` at `at`; with only `at`, the next such time of day. `text` is what
    was typed."""

    text: str
    length: timedelta | None = None
    days: int | None = None
    at: time = time(0)
    weekday: int | None = None
    moment: datetime | None = None
    date: DateAttribute | None = None
    offset: timedelta = timedelta(0)

    def __str__(self) -> str:
        return self.text


def parse_wait(text: str) -> Until:
    """Read what stands after `wait:`."""
    said = " ".join(text.split())
    if not said.startswith("until"):
        length, _, at = said.partition(" at ")
        if not at:
            return Until(text, length=_positive(length))
        days = parse_duration(length)
        if not days or days % timedelta(days=1):
            raise Wrong(f'"{length}" at a time of day must be whole days', "write 3d at 10:00 or 1w at 10:00")
        return Until(text, days=days.days, at=parse_time(at))
    said = said.removeprefix("until").strip()
    if found := re.fullmatch(r"customer\.([a-z][a-z0-9_]*)(?: ?([+-]) ?([0-9]+[dw]))?(?: at ([0-9:]+))?", said):
        name, sign, length, at = found.groups()
        offset = parse_duration(length) * (-1 if sign == "-" else 1) if length else timedelta(0)
        return Until(text, date=f"customer.{name}", offset=offset, at=parse_time(at) if at else time(0))
    if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}", said):
        return Until(text, at=parse_time(said))
    if re.match(r"[0-9]{4}-", said):
        return Until(text, moment=parse_local(said))
    day, _, at = said.partition(" ")
    if re.fullmatch(r"[a-zA-Z]+", day) and at:
        return Until(text, weekday=parse_weekday(day), at=parse_time(at.removeprefix("at ")))
    raise Wrong(f'"{text}" is no end of a wait', _FORMS)


def _positive(text: str) -> timedelta:
    length = parse_duration(text)
    if not length:
        raise Wrong(f'"{text}" is no time at all', "write at least 1m")
    return length


Ending = Annotated[
    Until,
    text_or(Until, parse_wait),
    WithJsonSchema({"type": "string", "examples": ["3d", "3d at 10:00", "until monday 10:00"]}),
]


@step("wait")
class Wait(Step):
    """Waits: so long, so many days on at a time of the customer's day, or until a moment."""

    waits = True
    wait: Ending = Field(description=_FORMS)
    if_past: Literal["continue", "exit", "next"] = Field(
        "continue", description="When the moment has gone by or the date is missing: continue, exit, or the next one."
    )

    def may_pass_at_once(self) -> bool:
        return self.wait.moment is not None or self.wait.date is not None

    def dated(self) -> Iterable[Dated]:
        if self.wait.moment is not None and self.if_past != "next":
            then = "everybody goes on at once" if self.if_past == "continue" else "everybody leaves the journey here"
            yield Dated(("wait",), self.wait.moment, then)

    def complaints(self) -> Iterable[Complaint]:
        if self.if_past != "continue" and self.wait.moment is None and self.wait.date is None:
            yield Complaint(("if_past",), f"wait: {self.wait} never lies in the past", "remove if_past")
        if self.if_past == "next" and self.wait.date not in (None, "customer.birthday"):
            yield Complaint(("if_past",), f"{self.wait.date} comes once and has no next", "write continue or exit")

    def judge(self, node: Node, scope: Scope) -> Judgement:
        # When it ends is costly to compute, so it is computed once; the verdict follows from it in `move`.
        return Judgement(literal(WAIT), due_at=self._due(scope))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        due = moving.c.due_at
        verdicts = [(moving.c.verdict == EXITED, EXITED)]
        if self.if_past == "exit":
            verdicts.append((due.is_(None) | (due <= moving.c.moved_at), MISSED))
        verdicts.append((due.is_(None) | (due <= literal(scope.now, Instant())), DONE))
        cohort.rejudge(case(*verdicts, else_=WAIT))
        cohort.move({DONE: node.next})
        cohort.sleep(WAIT)
        if self.if_past == "exit":
            cohort.finish(MISSED, MISSED)

    def _due(self, scope: Scope) -> ColumnElement[Any]:
        """When the wait ends, from when they reached the step: a later look gives the same moment."""
        until = self.wait
        arrived = type_coerce(enrolment.c.moved_at, BigInteger)
        if until.length is not None:
            return arrived + literal(span(until.length), BigInteger)
        at = (until.at.hour * 60 + until.at.minute) * 60_000_000
        local = scope.local(enrolment.c.moved_at)
        today = day_of(local)
        if until.days is not None:
            return scope.utc((today + until.days) * DAY + at)
        if until.moment is not None:
            return scope.utc(self._moment(until.moment, local, scope.now))
        if until.date is not None:
            # Seen from `offset` before they came, so that the next birthday + 7d may be the one of three days ago.
            seen_from = arrived - literal(span(until.offset), BigInteger)
            days = cast(scope.value(f"days_until({until.date})", now=seen_from), BigInteger)
            return scope.utc((today + days) * DAY + at)
        step = 1
        first = today
        if until.weekday is not None:
            step = 7
            first = today + (until.weekday - weekday_of(today) + 7) % 7
        moment = first * DAY + at
        return scope.utc(case((moment > local, moment), else_=moment + step * DAY))

    def _moment(self, moment: datetime, local: ColumnElement[int], now: datetime) -> ColumnElement[int]:
        """The wall clock of a fixed moment; with `if_past: next`, the first of its anniversaries after they came."""
        last = max(moment.year, now.year + 1) if self.if_past == "next" else moment.year
        *walls, final = (literal(_wall(moment, year), BigInteger) for year in range(moment.year, last + 1))
        return case(*((wall > local, wall) for wall in walls), else_=final) if walls else final


def _wall(moment: datetime, year: int) -> int:
    leap = moment.month == 2 and moment.day == 29
    day = 28 if leap and not isleap(year) else moment.day
    return span(moment.replace(year=year, day=day) - EPOCH.replace(tzinfo=None))
