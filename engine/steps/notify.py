"""`notify`: a person of the shop hears of it."""

from __future__ import annotations

from pydantic import Field

from engine.cohort.cohort import Cohort
from engine.cohort.gate import TEAM
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import FilledTemplate, Model, PersonName
from engine.language.graph import Node
from engine.language.registry import step
from engine.language.vocabulary import TRANSACTIONAL


class Notice(Model):
    to: PersonName = Field(description="A name under team: in project.yaml.")
    text: FilledTemplate = Field(description="What they read; `{{ … }}` in it is filled in.")


@step("notify")
class Notify(Step):
    """Tells somebody of the shop's team. The customer goes on at once."""

    sends = True
    notify: Notice

    def channels(self) -> frozenset[str]:
        return frozenset({TEAM})

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.enqueue(
            DONE,
            route=TEAM,
            version_id=scope.program.version_id,
            channel=TEAM,
            template=self.notify.to,
            topic=TRANSACTIONAL,
        )
        cohort.move({DONE: node.next})
