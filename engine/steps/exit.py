"""`exit`: the journey ends here."""

from __future__ import annotations

from pydantic import Field

from engine.cohort.cohort import Cohort
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import Text
from engine.language.graph import Node
from engine.language.registry import step


@step("exit")
class Exit(Step):
    """Ends the journey for the customer, with the reason that is written here."""

    falls_through = False
    exit: Text = Field(description="The reason, in your words.")

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.finish(DONE, self.exit)
