"""`send`: the gate, then the message. The customer stands here until it is settled."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from sqlalchemy import case, literal

from engine.cohort import standing
from engine.cohort.cohort import EXITED, Cohort, Judgement, moving
from engine.cohort.gate import UNREACHABLE, stop_reason
from engine.cohort.scope import Scope
from engine.cohort.standing import NOT_SENT, Otherwise
from engine.cohort.step import Step
from engine.language.fields import Condition, FieldName, Template, TemplateRef
from engine.language.graph import Node
from engine.language.registry import step

PRIMARY, FALLBACK = "primary", "fallback"


@step("send")
class Send(Step):
    """Sends one message to the customer, if the send gate lets it."""

    sends = True
    send: TemplateRef = Field(description="channel/template, like email/welcome.")
    when: Condition | None = Field(None, description="Not sent where this is false.")
    on_not_sent: Otherwise = Field("continue", description="What to do then: continue, exit or goto ID.")
    fallback: TemplateRef | None = Field(None, description="Sent instead when the channel can't reach them.")
    with_: Mapping[FieldName, Template] = Field(
        default_factory=dict, alias="with", description="Values for the template, as with.NAME."
    )

    def jumps(self) -> tuple[str, ...]:
        return standing.jumps(self.on_not_sent)

    def templates(self) -> dict[str, str]:
        """The templates by route."""
        return {PRIMARY: self.send} | ({FALLBACK: self.fallback} if self.fallback else {})

    def channels(self) -> frozenset[str]:
        return frozenset(template.split("/")[0] for template in self.templates().values())

    def judge(self, node: Node, scope: Scope) -> Judgement:
        when = None if self.when is None else scope.condition(self.when)
        topic = scope.program.topic
        stops = {
            route: stop_reason(template.split("/")[0], topic, scope.now, when=when)
            for route, template in self.templates().items()
        }
        # The reasons are costly, so they are computed once; the verdict follows from them in `move`.
        return Judgement(literal(NOT_SENT), stops[PRIMARY], stops.get(FALLBACK))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        instead = moving.c.reason.in_(UNREACHABLE) & moving.c.otherwise.is_(None)
        verdicts = [(moving.c.reason.is_(None), PRIMARY)] + ([(instead, FALLBACK)] if self.fallback else [])
        cohort.rejudge(case((moving.c.verdict == EXITED, EXITED), *verdicts, else_=NOT_SENT))
        topic = scope.program.topic
        for route, template in self.templates().items():
            cohort.queue(
                route,
                route=route,
                version_id=scope.program.version_id,
                channel=template.split("/")[0],
                template=template,
                topic=topic,
            )
        standing.leave(node, cohort, self.on_not_sent)

    def settle(self, node: Node, cohort: Cohort) -> None:
        """Move on those whose message is settled: sent, not_sent (stopped or refused) or in_doubt."""
        standing.settle(node, cohort, self.on_not_sent)
