"""What the engine did to a scenario's customer, read from its own records, in the words of a story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.cohort import coupons, points
from engine.cohort.children import CAUSE
from engine.cohort.cohort import HELD_BACK
from engine.cohort.gate import NO_COUPON, TEAM
from engine.cohort.program import Program
from engine.cohort.standing import IN_DOUBT, NOT_SENT, SENT
from engine.cohort.step import DONE
from engine.language.errors import Wrong
from engine.language.graph import Node
from engine.language.scenario import Line
from engine.language.types import Kind
from engine.language.values import stored
from engine.language.vocabulary import Vocabulary
from engine.runtime.story import Deed
from engine.steps.call import Call
from engine.steps.coupon import Coupon
from engine.steps.each import DO, MANY, Each
from engine.steps.notify import Notify
from engine.steps.points import Points
from engine.steps.send import Send
from engine.steps.update import Update
from engine.store.tables import customer, decision, enrolment, goal_reached, message, refusal
from engine.store.types import moment

NOTHING = "nothing"


@dataclass
class Witness:
    """Sees one journey. `deeds` grows with every look; `reached` holds the steps that did something, and the arms
    taken.
    """

    program: Program
    vocabulary: Vocabulary
    deeds: list[Deed] = field(default_factory=list)
    reached: set[tuple[str, str | None]] = field(default_factory=set)
    until: datetime | None = None
    """Entries after this moment are no longer of the story."""

    chapter: int = 0
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def look(self, connection: Connection, now: datetime, zone: str) -> None:
        """Take down what has happened since the last look."""
        for at, verb, subject, more in self._fresh(connection, now):
            self.deeds.append(Deed(verb, subject, at, zone, self.chapter, more))

    def _fresh(self, connection: Connection, now: datetime) -> Iterator[tuple[datetime, str, str, str | None]]:
        mine = enrolment.c.journey == self.program.name
        if self.until is not None:
            mine = mine & (enrolment.c.entered_at <= self.until)
        yield from self._refusals(connection)
        goals = select(goal_reached).join(enrolment, enrolment.c.id == goal_reached.c.enrolment_id).where(mine)
        for goal in connection.execute(goals.order_by(goal_reached.c.enrolment_id)):
            if self._new("goal", goal.enrolment_id):
                yield now, "reaches", "goal", self._kept_worth(goal.value)
        # What is decided later of a message in doubt is no move of its customer.
        theirs = mine & decision.c.kind.in_(("enters", "stays", "moves", "ends"))
        rows = select(decision).join(enrolment, enrolment.c.id == decision.c.enrolment_id).where(theirs)
        for one in connection.execute(rows.order_by(decision.c.at, decision.c.enrolment_id, decision.c.visit)):
            if self._new("decision", one.enrolment_id, one.visit, one.kind):
                yield from self._decided(connection, one)
        ended = select(enrolment.c.id, enrolment.c.ended_at, enrolment.c.outcome, enrolment.c.parent_id)
        for way in connection.execute(ended.where(mine, enrolment.c.state == "ended").order_by(enrolment.c.id)):
            if way.parent_id is None and self._new("ends", way.id):
                yield way.ended_at, "ends", way.outcome, None

    def _new(self, *key: Any) -> bool:
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh

    def _refusals(self, connection: Connection) -> Iterator[tuple[datetime, str, str, str | None]]:
        rows = select(refusal).where(refusal.c.journey == self.program.name).order_by(refusal.c.at)
        for one in connection.execute(rows):
            if self._new("refusal", one.key, one.cause):
                yield one.at, "refuses", "entry", told_reason(one.reason, one.detail)

    def _decided(self, connection: Connection, one: Row[Any]) -> Iterator[tuple[datetime, str, str, str | None]]:
        if one.kind == "enters" and (one.reason or "").startswith(f"{CAUSE}:"):
            return
        if one.kind == "enters":
            yield one.at, "enters", "", None
            return
        node = self.program.graph.nodes.get(one.step)
        if node is None or one.outcome not in _own(node, one.kind):
            return  # an exit, a goal or another journey took them away from where they stood
        self.reached.add((node.id, None))
        if isinstance(node.step, Each):
            if one.kind == "stays":
                self.reached.add((node.id, DO))
                yield one.at, "takes", f"{node.id}: {DO}", told_reason("", one.detail)
        elif one.kind == "stays":
            yield one.at, "waits", node.id, one.reason
        elif node.arms:
            self.reached.add((node.id, one.outcome))
            yield one.at, "takes", f"{node.id}: {one.outcome}", told_reason("", one.detail) or None
        elif isinstance(node.step, Send):
            template = self._template(connection, one) or node.step.primary
            yield (
                (one.at, "sends", template, None)
                if one.outcome != NOT_SENT
                else ((one.at, "skips", template, one.reason))
            )
        elif isinstance(node.step, Call):
            yield one.at, "skips" if one.reason == "when" else "calls", node.id, one.reason or _doubt(one.outcome)
        elif isinstance(node.step, Update):
            yield one.at, "updates", self._updated(connection, one, node.step), None
        elif isinstance(node.step, Coupon):
            if one.outcome == coupons.GIVEN:
                yield one.at, "gives", f"coupon {node.step.coupon}", None
        elif isinstance(node.step, Points):
            if one.outcome == points.GIVEN:
                number = one.detail["points"]
                yield one.at, "gives", f"{number} point{'' if number == 1 else 's'}", None
        elif isinstance(node.step, Notify):
            yield one.at, "notifies", node.step.notify.to, None

    def _template(self, connection: Connection, one: Row[Any]) -> str | None:
        found = select(message.c.template).where(
            message.c.enrolment_id == one.enrolment_id, message.c.visit == one.visit, message.c.route != TEAM
        )
        return connection.scalar(found)

    def _updated(self, connection: Connection, one: Row[Any], step: Update) -> str:
        who = select(customer).join(enrolment, enrolment.c.customer_id == customer.c.id)
        row = connection.execute(who.where(enrolment.c.id == one.enrolment_id)).one()._mapping
        names = [name.removeprefix("customer.") for name in step.update]
        kept = {name: row[name] if name in row else row["attributes"].get(name) for name in names}
        return self._changes(kept)

    def _kept_worth(self, kept: float | None) -> str | None:
        if kept is None:
            return None
        return self._worth(Decimal(str(kept)).scaleb(-self.vocabulary.digits if self._worth_money else 0))

    def _worth(self, value: Decimal) -> str:
        """What a goal is worth, in the currency's unit or as a plain number."""
        return f"value {value:.{self.vocabulary.digits}f}" if self._worth_money else f"value {value.normalize():f}"

    @cached_property
    def _worth_money(self) -> bool:
        goal = self.program.journey.goal
        if goal is None or goal.value is None:
            return False
        names = replace(self.program.names, event=goal.event)
        return self.program.parsed(goal.value, names, False).type.kind is Kind.MONEY

    def _changes(self, kept: Mapping[str, Any]) -> str:
        """`customer.lifecycle = lost, customer.visits = 5`, in the order of the names."""
        return ", ".join(f"customer.{name} = {self._shown(name, kept[name])}" for name in sorted(kept))

    def _shown(self, name: str, kept: Any) -> str:
        type_ = self.vocabulary.customer.get(name)
        if type_ is None or kept is None or isinstance(kept, bool):
            return _plain(kept)
        if type_.kind is Kind.MONEY and isinstance(kept, int):
            return f"{Decimal(kept).scaleb(-self.vocabulary.digits):f}"
        if type_.kind is Kind.INSTANT and isinstance(kept, int):
            return moment(kept).isoformat()
        return f"{kept:g}" if isinstance(kept, float) else _plain(kept)

    def said(self, line: Line) -> tuple[str, str | None]:
        """What a line of a story is about, and what it says more, in the same words."""
        if line.event is not None:
            return line.event, ", ".join(f"{name} {_short(value)}" for name, value in line.with_.items()) or None
        if line.updates is not None and line.happens:
            return ", ".join(f"{name} = {_short(value)}" for name, value in line.updates.items()), None
        if line.updates is not None:
            bare = {name.removeprefix("customer."): value for name, value in line.updates.items()}
            return self._changes({name: self._kept(name, value) for name, value in bare.items()}), None
        if line.takes is not None:
            return next(f"{step}: {arm}" for step, arm in line.takes.items()), None
        if line.reaches is not None:
            return line.reaches, None if line.value is None else self._worth(line.value)
        return str(getattr(line, line.verb)), line.reason

    def _kept(self, name: str, value: Any) -> Any:
        if value is None or name not in self.vocabulary.customer:
            return value
        try:
            kept = stored(value, self.vocabulary.customer[name], self.vocabulary.digits, self.vocabulary.timezone)
        except Wrong:
            return value
        return kept


def _own(node: Node, kind: str) -> tuple[str, ...]:
    """The outcomes with which a step itself writes a decision of this kind."""
    if isinstance(node.step, Each):
        return (MANY, DONE)
    if kind == "stays":
        return ("wait", "listen", HELD_BACK, coupons.NONE_LEFT)
    if node.arms:
        return tuple(node.arms)
    if isinstance(node.step, Send | Call):
        return (SENT, IN_DOUBT, NOT_SENT)
    if isinstance(node.step, Coupon):
        return (coupons.GIVEN, coupons.NONE_LEFT, coupons.USED_UP, NO_COUPON)
    if isinstance(node.step, Points):
        return (points.GIVEN, points.NOTHING)
    return ("done", "missed") if kind == "moves" else ("missed", getattr(node.step, "exit", "done"))


def _doubt(outcome: str) -> str | None:
    return IN_DOUBT if outcome == IN_DOUBT else None


def told_reason(reason: str, seen: Mapping[str, Any] | None) -> str:
    """A reason with the values that a condition looked at: `audience: customer.country = KE`."""
    facts = ", ".join(f"{name} = {_plain(value)}" for name, value in (seen or {}).items())
    return f"{reason}: {facts}" if reason and facts else reason or facts


def _plain(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: Any) -> str:
    text = " ".join(_plain(value).split())
    return text if len(text) <= 30 else text[:29] + "…"
