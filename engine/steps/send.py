"""`send` and `ask`: the gate, then the message. The customer stands here until it is settled."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, model_validator
from sqlalchemy import case, literal

from engine.cohort.cohort import EXITED, Cohort, Judgement, moving
from engine.cohort.gate import UNREACHABLE, stop_reason
from engine.cohort.scope import Scope
from engine.cohort.step import Step
from engine.language.errors import Wrong
from engine.language.fields import Condition, FieldName, Model, SurveyName, Template, TemplateRef, YesNo
from engine.language.graph import Node
from engine.language.moments import text_or
from engine.language.registry import step

PRIMARY, FALLBACK = "primary", "fallback"
SENT, NOT_SENT, IN_DOUBT = "sent", "not_sent", "in_doubt"


def _on_not_sent(text: str) -> str:
    if text in ("continue", "exit") or re.fullmatch(r"goto [a-z][a-z0-9_]*", text):
        return text
    raise Wrong(f'"{text}" is nothing to do when a message is not sent', "write continue, exit or goto ID")


OnNotSent = Annotated[
    str,
    text_or(str, _on_not_sent),
    WithJsonSchema({"type": "string", "pattern": "^(continue|exit|goto [a-z][a-z0-9_]*)$"}),
]


class Send(Step):
    """A step that sends one message to the customer, if the send gate lets it."""

    sends = True
    when: Condition | None = Field(None, description="Not sent where this is false.")
    on_not_sent: OnNotSent = Field("continue", description="What to do then: continue, exit or goto ID.")
    fallback: TemplateRef | None = Field(None, description="Sent instead when the channel can't reach them.")
    with_: Mapping[FieldName, Template] = Field(
        default_factory=dict, alias="with", description="Values for the template, as with.NAME."
    )

    @property
    @abstractmethod
    def primary(self) -> str:
        """The template that is sent, unless its channel can't reach them."""

    @property
    def second_yes(self) -> bool:
        """Whether the message asks to confirm the consent, and so goes to those whose yes is pending."""
        return False

    def survey(self) -> str | None:
        """The survey that the message asks."""
        return None

    def jumps(self) -> tuple[str, ...]:
        return (self.on_not_sent[5:],) if self.on_not_sent.startswith("goto ") else ()

    def templates(self) -> dict[str, str]:
        """The templates by route."""
        return {PRIMARY: self.primary} | ({FALLBACK: self.fallback} if self.fallback else {})

    def channels(self) -> frozenset[str]:
        return frozenset(template.split("/")[0] for template in self.templates().values())

    def judge(self, node: Node, scope: Scope) -> Judgement:
        when = None if self.when is None else scope.condition(self.when)
        topic = scope.program.topic
        stops = {
            route: stop_reason(template.split("/")[0], topic, scope.now, when=when, second_yes=self.second_yes)
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
        self._not_sent(node, cohort, NOT_SENT)

    def settle(self, node: Node, cohort: Cohort) -> None:
        """Move on those whose message is settled: sent, not_sent (stopped or refused) or in_doubt."""
        cohort.move({SENT: node.next, IN_DOUBT: node.next})
        self._not_sent(node, cohort, NOT_SENT)

    def _not_sent(self, node: Node, cohort: Cohort, verdict: str) -> None:
        if self.on_not_sent == "exit":
            cohort.finish(verdict, "not_sent")
        else:
            jump = self.jumps()
            cohort.move({verdict: jump[0] if jump else node.next})


@step("send")
class SendTemplate(Send):
    """Sends one message to the customer, if the send gate lets it."""

    send: TemplateRef = Field(description="channel/template, like email/welcome.")
    confirms: YesNo = Field(
        False, description="Asks those whose yes to the topic is pending to confirm it: double opt-in."
    )

    @property
    def primary(self) -> str:
        return self.send

    @property
    def second_yes(self) -> bool:
        return self.confirms


def _or_name(schema: dict[str, Any]) -> None:
    """A survey may be named alone."""
    whole = dict(schema)
    schema.clear()
    schema.update(anyOf=[{"type": "string"}, whole])


class Asked(Model):
    model_config = {"json_schema_extra": _or_name}

    survey: SurveyName = Field(description="A name under surveys: in project.yaml.")
    by: TemplateRef = Field("", description="The template that asks. Default: email/ and the survey's name.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        given = {"survey": value} if isinstance(value, str) else value
        if isinstance(given, Mapping) and isinstance(given.get("survey"), str):
            return {"by": f"email/{given['survey']}", **given}
        return given


@step("ask")
class Ask(Send):
    """Sends a survey. The answer is the event survey_answered, which journeys can wait for or begin with."""

    ask: Asked

    @property
    def primary(self) -> str:
        return self.ask.by

    def survey(self) -> str | None:
        return self.ask.survey
