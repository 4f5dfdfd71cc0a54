"""`branch`: the first condition that is true, judged at that moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator
from sqlalchemy import case, literal

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.errors import Wrong
from engine.language.graph import Node
from engine.language.journey import ArmOf, BranchArm, Complaint
from engine.language.registry import step

OTHERWISE = "else"


@step("branch")
class Branch(Step):
    """Sends each customer down the first arm whose condition is true at that moment, or down `else`."""

    branch: tuple[BranchArm, ...] = Field(description="A list of if/then arms, and at most one else, last.")

    @model_validator(mode="after")
    def _has_arms(self) -> Branch:
        if not any(arm.if_ is not None for arm in self.branch):
            raise Wrong("a branch needs an if", 'like - if: customer.country == "KE"', at=("branch",))
        return self

    @classmethod
    def unknown_key(cls, key: str, context: Any) -> Wrong:
        if key in ("if", "then", "else"):
            hint = "begin each if and else with its own - below branch, and indent then as far as its if"
            return Wrong(f"{key} belongs into an arm of the branch", hint, on_key=True)
        return super().unknown_key(key, context)

    def complaints(self) -> Iterable[Complaint]:
        for n, arm in enumerate(self.branch[:-1]):
            if arm.if_ is None:
                at = ("branch", n, "else")
                yield Complaint(at, "nothing after else is ever reached", "move else to the end", on_key=True)

    def arms(self) -> tuple[ArmOf, ...]:
        arms = []
        for n, arm in enumerate(self.branch):
            if arm.if_ is not None:
                arms.append(ArmOf(arm.if_, arm.then, ("branch", n, "then"), arm.if_))
            else:
                arms.append(ArmOf(OTHERWISE, arm.else_ or (), ("branch", n, "else")))
        if self.branch[-1].if_ is not None:
            arms.append(ArmOf(OTHERWISE, (), ("branch",)))
        return tuple(arms)

    def judge(self, node: Node, scope: Scope) -> Judgement:
        # The node's labels stand in the order of the arms; the last one is the else.
        labels = list(node.arms)
        conditions = [arm.if_ for arm in self.branch if arm.if_ is not None]
        taken = ((scope.condition(text), label) for text, label in zip(conditions, labels, strict=False))
        return Judgement(case(*taken, else_=literal(labels[-1])), detail=scope.seen(*conditions))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.move(node.arms)
