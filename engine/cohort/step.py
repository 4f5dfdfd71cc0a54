"""What a step is to the engine: what it says of its cohort, and what it does with them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from sqlalchemy import literal

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.scope import Scope
from engine.language.graph import Node
from engine.language.journey import StepModel

DONE = "done"


class Step(StepModel):
    """A step of the language that the engine can run. One file each in engine/steps, or a third party's by entry point.

    `judge` is evaluated once, when the cohort is frozen; `move` then gives every verdict a verb of the cohort. A cohort
    holds those who arrived and those whose wait here is over alike: `scope.arriving` tells them apart.
    """

    sends: ClassVar[bool] = False  # True: it queues messages, which are delivered in the same pass

    def channels(self) -> frozenset[str]:
        """The channels its messages go by."""
        return frozenset()

    def judge(self, node: Node, scope: Scope) -> Judgement:
        """What is to become of each of the cohort. By default all are done here at once."""
        return Judgement(literal(DONE))

    @abstractmethod
    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        """Do it: effects, then one verb for every verdict `judge` can give."""
