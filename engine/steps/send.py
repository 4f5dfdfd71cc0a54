"""`send` and `ask`: the gate, then the message. The customer stands here until it is settled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import Field, model_validator
from sqlalchemy import ColumnElement, and_, case, literal, null, select

from engine.cohort import standing
from engine.cohort.caps import covering, reserve
from engine.cohort.cohort import EXITED, Cohort, Judgement, moving
from engine.cohort.gate import CAPPED, QUIET_HOURS, UNREACHABLE, stop_reason
from engine.cohort.quiet import quiet_until
from engine.cohort.scope import Scope
from engine.cohort.standing import NOT_SENT, Otherwise
from engine.cohort.step import Step
from engine.language.fields import Condition, FieldName, Model, SurveyName, Template, TemplateRef, YesNo
from engine.language.graph import Node
from engine.language.registry import step
from engine.store.types import Instant

PRIMARY, FALLBACK = "primary", "fallback"
CAPPED_OUT = "capped_out"
"""Not sent, and out of the journey: a cap says so."""


class Send(Step):
    """A step that sends one message to the customer, if the send gate lets it."""

    sends = True
    when: Condition | None = Field(None, description="Not sent where this is false.")
    on_not_sent: Otherwise = Field("continue", description="What to do then: continue, exit or goto ID.")
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
        return standing.jumps(self.on_not_sent)

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
        return Judgement(literal(NOT_SENT), stops[PRIMARY], stops.get(FALLBACK), due_at=quiet_until(scope))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        instead = moving.c.reason.in_(UNREACHABLE) & moving.c.otherwise.is_(None)
        verdicts = [(moving.c.reason.is_(None), PRIMARY)] + ([(instead, FALLBACK)] if self.fallback else [])
        cohort.rejudge(case((moving.c.verdict == EXITED, EXITED), *verdicts, else_=NOT_SENT))
        topic = scope.program.topic
        for route, template in self.templates().items():
            channel = template.split("/")[0]
            holds = self._hold_back(route, channel, scope, cohort)
            cohort.queue(
                route,
                route=route,
                version_id=scope.program.version_id,
                channel=channel,
                template=template,
                topic=topic,
                holds=holds,
            )
        standing.leave(node, cohort, self.on_not_sent)
        if scope.program.exits_when_capped:
            cohort.finish(CAPPED_OUT, NOT_SENT)

    def _hold_back(self, route: str, channel: str, scope: Scope, cohort: Cohort) -> bool:
        """Ask the caps, then the quiet hours, of those who would get a message by this route. Whether some may be
        held."""
        caps, quiet = covering(scope.program, channel), scope.program.quiet_hours
        mine = moving.c.verdict == route
        if caps:
            takes = case((moving.c.due_at.is_(None), 1), else_=0).label("takes")
            asks = select(moving.c.id.label("enrolment_id"), moving.c.visit, moving.c.customer_id, takes).where(mine)
            told = reserve(cohort.connection, caps, asks, scope.now, scope.program.project.brand.timezone).c
            here = and_(moving.c.id == told.enrolment_id, told.full.is_not(None))
            verdict = {"skip": NOT_SENT, "exit": CAPPED_OUT, "defer": route}
            cohort.amend(
                here,
                {
                    "verdict": _by_place(told.full, [verdict[cap.when_capped.what] for cap in caps]),
                    "reason": CAPPED,
                    "due_at": _by_place(told.full, [_later(scope, cap.when_capped.length) for cap in caps]),
                },
            )
        if quiet is not None:
            held = and_(mine, moving.c.due_at.is_not(None), moving.c.reason.is_distinct_from(CAPPED))
            skipped = {"verdict": NOT_SENT, "due_at": null()} if quiet.skips else {}
            cohort.amend(held, {"reason": QUIET_HOURS} | skipped)
        return quiet is not None or any(cap.when_capped.what == "defer" for cap in caps)

    def settle(self, node: Node, cohort: Cohort, *, leaves: bool = False) -> None:
        """Move on those whose message is settled: sent, not_sent (stopped or refused) or in_doubt. `leaves`: some are
        capped out."""
        standing.settle(node, cohort, self.on_not_sent)
        if leaves:
            cohort.finish(CAPPED_OUT, NOT_SENT)


def _later(scope: Scope, length: timedelta | None) -> ColumnElement[Any]:
    """When a cap that was full is asked again; not while it is quiet."""
    if length is None:
        return literal(None, Instant())
    later, quiet = literal(scope.now + length, Instant()), scope.program.quiet_hours
    if quiet is None or quiet.skips:
        return later
    return case((moving.c.due_at > later, moving.c.due_at), else_=later)


def _by_place(place: ColumnElement[int], values: Sequence[Any]) -> ColumnElement[Any]:
    return case(*((place == n, value) for n, value in enumerate(values)))


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
