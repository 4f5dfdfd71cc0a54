"""`each`: the steps of its `do` for every item of a list, each item on a way of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from sqlalchemy import BigInteger, case, literal

from engine.cohort import children
from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import FieldName, ListValue, whole
from engine.language.graph import Node
from engine.language.journey import ArmOf, Block, Complaint, Repeats
from engine.language.registry import step
from engine.segments.frame import bigint
from engine.segments.seen import json_object

DO = "do"
MANY = "each"


@step("each")
class Each(Step):
    """Sends each item of a list on its own way through the steps of `do`. The customer goes on below when all of these
    ways have ended."""

    each: ListValue = Field(description="A list, like entry.items.")
    as_: FieldName = Field("item", alias="as", description="What the item is called in do: item.sku.")
    do: Block = Field(description="The steps for each item.")
    at_most: Annotated[int, *whole(1, 200)] = Field(50, description="Items after these are left out.")

    def arms(self) -> tuple[ArmOf, ...]:
        return (ArmOf(DO, self.do, ("do",)),)

    def repeats(self) -> Repeats | None:
        return Repeats(self.each, self.as_)

    def complaints(self) -> Iterable[Complaint]:
        if not self.do:
            yield Complaint(("do",), "nothing is done with the items", "write at least one step")

    def judge(self, node: Node, scope: Scope) -> Judgement:
        # Whoever is awake again after having stood here has no way left to wait for.
        items = bigint(scope.value(f"count({self.each})"))
        many = scope.arriving & (items > literal(0, BigInteger))
        return Judgement(
            case((many, MANY), else_=DONE),
            case((many & (items > literal(self.at_most, BigInteger)), "at_most")),
            detail=case((many, json_object({"items": items}))),
        )

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        children.bear(cohort, MANY, scope, self.each, node.arms[DO], self.at_most)
        cohort.move({DONE: node.next})
        cohort.await_children(MANY)
