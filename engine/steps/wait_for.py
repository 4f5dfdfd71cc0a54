"""`wait_for`: the first such event after the step was reached, or the limit."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, and_, case, exists, literal, not_, select

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.fields import EventName, Model, Where
from engine.language.graph import Node
from engine.language.journey import ArmOf, Awaits, Block
from engine.language.moments import Duration
from engine.language.registry import step
from engine.store.tables import customer, decision, enrolment, event
from engine.store.types import Instant, span

HEARD = "then"
LIMIT = "else"
LISTEN = "listen"


class Awaited(Model):
    event: EventName
    where: Where | None = Field(None, description="A condition on the event.")
    within: Duration = Field(description="The longest time to wait.")


@step("wait_for")
class WaitFor(Step):
    """Waits for the first such event after the step was reached; `then` when it comes, `else` at the limit."""

    waits = True
    wait_for: Awaited
    then: Block = ()
    else_: Block = Field((), alias="else")

    def arms(self) -> tuple[ArmOf, ...]:
        return (ArmOf(HEARD, self.then, ("then",)), ArmOf(LIMIT, self.else_, ("else",)))

    def awaits(self) -> Awaits:
        return Awaits(self.wait_for.event, self.wait_for.where, self.wait_for.within, HEARD)

    def may_pass_at_once(self) -> bool:
        return False

    def judge(self, node: Node, scope: Scope) -> Judgement:
        # Law 3: whether somebody has only come, was woken by the event, or is at the limit, the event index is asked.
        # An event that came beside their move to listening, or beside the limit, is found here and not waited for in
        # vain.
        first, limit = self._first(scope), self._limit()
        over = limit <= literal(scope.now, Instant())
        return Judgement(case((first.is_not(None), HEARD), (over, LIMIT), else_=LISTEN), due_at=limit, event_id=first)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.hear(self._first(scope), (LISTEN, LIMIT), HEARD)
        cohort.move(node.arms)
        cohort.listen(LISTEN)

    def _limit(self) -> ColumnElement[Any]:
        return enrolment.c.moved_at + literal(span(self.wait_for.within))

    def _first(self, scope: Scope) -> ColumnElement[int]:
        """The id of the event that ends the wait; NULL while there is none."""
        heard = event.alias("heard")
        # Clocks differ: what let them in, or ended the wait before this one, may bear a later time than this coming.
        known = exists().where(decision.c.enrolment_id == enrolment.c.id, decision.c.event_id == heard.c.id)
        matches = and_(
            heard.c.customer_id == customer.c.id,
            heard.c.name == self.wait_for.event,
            heard.c.occurred_at >= enrolment.c.moved_at,
            heard.c.occurred_at <= self._limit(),
            not_(known.correlate(enrolment, heard)),
        )
        if self.wait_for.where is not None:
            matches = and_(matches, scope.condition(self.wait_for.where, event=(self.wait_for.event, heard)))
        return (
            select(heard.c.id)
            .where(matches)
            .order_by(heard.c.occurred_at, heard.c.id)
            .limit(1)
            .correlate(customer, enrolment, *scope.sources)
            .scalar_subquery()
        )
