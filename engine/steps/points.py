"""`points`: gives the customer points."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from sqlalchemy import ColumnElement, Double, and_, case, exists, func, literal, not_, null, or_, select

from engine.cohort.cohort import Cohort, Judgement, entry_event, moving
from engine.cohort.facts import PAGE
from engine.cohort.points import GIVEN, MOST, NOTHING, assess, give
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.fields import Amount, Model, Text
from engine.language.graph import Node
from engine.language.moments import Duration
from engine.language.registry import step
from engine.language.types import Kind
from engine.segments.calendar import Floor
from engine.segments.seen import json_object
from engine.store.tables import decision, enrolment, event

ALMOST = 1e-6
"""0.29 times 100 is a hair less than 29 to a computer, and 29 points to everybody else."""


def _or_amount(schema: dict[str, Any]) -> None:
    """Points may be written as their number alone."""
    whole = dict(schema)
    schema.clear()
    schema.update(anyOf=[{"type": ["integer", "string"]}, whole])


class Gift(Model):
    model_config = {"json_schema_extra": _or_amount}

    give: Amount = Field(description="How many: a number, or an amount, whose whole units count. Rounded down.")
    reason: Text | None = Field(None, description="What they are for, as the customer may read it.")
    pending: Duration | None = Field(None, description="They can be spent only so much later: a return window.")
    expires: Duration | None = Field(None, description="They can be spent for so long, once they can be.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"give": value} if isinstance(value, str) else value


@step("points")
class Points(Step):
    """Gives the customer points, once each time they come here. None where the number is missing or below 1, or where
    an event from a page, which anybody can send, let them in or was waited for on their way."""

    points: Gift

    def judge(self, node: Node, scope: Scope) -> Judgement:
        text = self.points.give
        money = scope.typed(text).type.kind is Kind.MONEY
        unit = float(10**scope.program.vocabulary.digits) if money else 1.0
        number = Floor(scope.number(text) / literal(unit, Double) + literal(ALMOST, Double))
        # Whoever opens a page of the shop can read its browser key, and tell of a purchase of any size.
        anybody = or_(func.coalesce(entry_event.c.source, "").endswith(PAGE, autoescape=True), _heard_of_pages())
        some = and_(number >= 1, number <= MOST, not_(anybody))
        detail = case((some, json_object({"points": number})), else_=null())
        reason = case((anybody, "page"), else_=null())
        return Judgement(case((some, GIVEN), else_=NOTHING), reason, detail=detail)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        gift = self.points
        give(cohort, GIVEN, gift.pending, gift.expires, gift.reason)
        who = select(moving.c.customer_id).where(moving.c.verdict == GIVEN)
        assess(cohort.connection, scope.program.project.tiers, who, cohort.now)
        cohort.move({GIVEN: node.next, NOTHING: node.next})


def _heard_of_pages() -> ColumnElement[bool]:
    """Whether an event that they waited for came from a page."""
    mine = and_(decision.c.enrolment_id == enrolment.c.id, event.c.id == decision.c.event_id)
    return exists().where(mine, event.c.source.endswith(PAGE, autoescape=True))
