"""`goto`: an edge to another step, not a place to stand."""

from __future__ import annotations

from pydantic import Field

from engine.cohort.cohort import Cohort
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.fields import StepId
from engine.language.graph import Node
from engine.language.registry import step


@step("goto")
class Goto(Step):
    """Goes on at the named step. A way back goes on in the next pass."""

    falls_through = False
    goto: StepId = Field(description="The id of the step to go to.")

    def stands_for(self) -> str:
        return self.goto

    def jumps(self) -> tuple[str, ...]:
        return (self.goto,)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        raise AssertionError("a goto is an edge of the graph; nobody stands on it")
