"""`split`: arms by chance, the same for the same customer each time."""

from __future__ import annotations

from itertools import accumulate

from pydantic import Field, model_validator
from sqlalchemy import case, literal

from engine.cohort.arms import arm
from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.errors import Wrong
from engine.language.graph import Node
from engine.language.journey import ArmOf, SplitArm
from engine.language.registry import step
from engine.store.tables import customer


@step("split")
class Split(Step):
    """Divides customers by chance: by a stable hash of (customer, journey, step), so that nobody changes arms on re-
    entry."""

    split: tuple[SplitArm, ...] = Field(description="A list of N%: [steps]; the percentages make 100.")

    @model_validator(mode="after")
    def _has_arms(self) -> Split:
        if not self.split:
            raise Wrong("a split needs arms", "like - 50%: with the steps below it", at=("split",))
        return self

    def arms(self) -> tuple[ArmOf, ...]:
        return tuple(ArmOf(one.label, one.steps, ("split", n, one.label)) for n, one in enumerate(self.split))

    def judge(self, node: Node, scope: Scope) -> Judgement:
        lot = arm(customer.c.bucket, scope.program.name, node.id)
        labels = list(node.arms)
        bounds = list(accumulate(one.share for one in self.split))
        below = ((lot < bound, label) for bound, label in zip(bounds[:-1], labels, strict=False))
        return Judgement(case(*below, else_=literal(labels[-1])) if len(labels) > 1 else literal(labels[0]))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.move(node.arms)
