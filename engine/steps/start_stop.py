"""`start` and `stop`: this customer in another journey."""

from __future__ import annotations

from engine.cohort import others
from engine.cohort.cohort import Cohort
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import JourneyName
from engine.language.graph import Node
from engine.language.registry import step


@step("start")
class Start(Step):
    """Sends the customer to another journey, whose own audience, again and limit decide."""

    start: JourneyName

    def starts(self) -> tuple[str, ...]:
        return (self.start,)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        others.start(cohort, DONE, self.start)
        cohort.move({DONE: node.next})


@step("stop")
class Stop(Step):
    """Ends another journey for the customer."""

    stop: JourneyName

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        others.stop(cohort, DONE, self.stop, f"journey:{scope.program.name}")
        cohort.move({DONE: node.next})
