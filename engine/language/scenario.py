"""Scenario files: stories about one customer, that `karibu test` plays on the engine and compares as a whole.

    - scenario: someone who buys again is thanked
      start: 2026-02-28 09:00 Africa/Nairobi
      customer: {id: amina, country: KE, consent: [email/offers]}
      before:
        - {at: 2025-12-01 09:30, event: purchase, with: {total: 40}}
      story:
        - {at: 2026-03-01 09:30, sends: email/we-miss-you}
        - {after: 1h, clicks: hello}
        - {ends: finished}

A line either happens to the customer or is what the engine must do. `updates` is both, told apart by how it names the
attributes: bare (`tier: gold`, as in `customer:` above) it comes from the shop, with `customer.` (as the step writes
it) the journey must do it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, RootModel, WithJsonSchema, model_validator

from engine.language.errors import Wrong
from engine.language.fields import (
    ANY_CHANNEL,
    EventName,
    FieldName,
    Model,
    PoolName,
    StepId,
    TemplateRef,
    Text,
    named,
)
from engine.language.moments import Duration, LocalMoment, parse_local, text_or
from engine.language.naming import either
from engine.language.project import check_timezone

HAPPENS = ("event", "opens", "clicks", "replies", "bounces", "answers", "confirms", "updates", "opts_out")
EXPECTS = ("sends", "skips", "waits", "takes", "updates", "gives", "calls", "reaches", "ends")
VERBS = tuple(dict.fromkeys(HAPPENS + EXPECTS))
OPTIONAL = ("waits", "takes")
"""What the engine may do without a line of the story."""


@dataclass(frozen=True)
class Start:
    """When a story begins, on the wall clock of `zone` (None: the brand's)."""

    local: datetime
    zone: str | None = None

    def __str__(self) -> str:
        return f"{self.local:%Y-%m-%d %H:%M}" + (f" {self.zone}" if self.zone else "")


def parse_start(text: str) -> Start:
    """`2026-02-28 09:00 Africa/Nairobi`, the zone may be left out."""
    words = text.split()
    if len(words) == 3:
        return Start(parse_local(" ".join(words[:2])), check_timezone(words[2]))
    return Start(parse_local(text))


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
        if amount.is_finite() and amount.adjusted() < 16:
            return amount
    except InvalidOperation:
        pass
    raise Wrong(f'"{text}" is not an amount', "like 60.00")


def _properties(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Wrong("a mapping is expected here", "like with: {total: 40}")
    return value


StartMoment = Annotated[
    Start,
    text_or(Start, parse_start),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["2026-02-28 09:00 Africa/Nairobi"]}),
]
Worth = Annotated[Decimal, text_or(Decimal, _amount), WithJsonSchema({"type": ["number", "string"]})]
Consent = Annotated[
    str,
    *named(rf"(?:{ANY_CHANNEL})/[a-z][a-z0-9_-]{{0,62}}", "a consent", "write channel/topic, like email/offers"),
]
Properties = dict[FieldName, Any]


def _answers(value: Any) -> Mapping[str, Any] | int:
    if isinstance(value, Mapping | int):
        return value
    if isinstance(value, str) and re.fullmatch("[2-5][0-9]{2}", value):
        return int(value)
    raise Wrong("this is no answer", "write its JSON, like {price: 12.50}, or a status, like 404")


Answers = Annotated[Any, PlainValidator(_answers), WithJsonSchema({"type": ["object", "integer", "string"]})]


class Person(Model):
    """The customer of a story: their id, consents (`pending`: a yes that nobody has confirmed) and tags; every other
    key is one of their attributes."""

    model_config = {"extra": "allow"}

    id: Text
    consent: tuple[Consent, ...] = ()
    pending: tuple[Consent, ...] = ()
    tags: tuple[Text, ...] = ()

    @property
    def profile(self) -> Mapping[str, Any]:
        """What was typed about them besides: first_name, country, tier, …"""
        return self.model_extra or {}


class Before(Model):
    """Something that happened before the story: history, which lets nobody in."""

    at: LocalMoment
    event: EventName
    with_: Properties = Field(default_factory=dict, alias="with")


class Line(Model):
    """One line of a story: when, and exactly one thing that happens or that the engine does."""

    at: LocalMoment | None = Field(None, description="The customer's time.")
    after: Duration | None = Field(None, description="Since the line above.")

    event: EventName | None = Field(None, description="This event comes in.")
    with_: Properties = Field(
        default_factory=dict, alias="with", description="The properties of the event, or score and comment."
    )
    opens: StepId | None = Field(None, description="They open the message of this step.")
    clicks: StepId | None = Field(None, description="They click in the message of this step.")
    replies: Text | None = Field(None, description="They answer with this text.")
    bounces: StepId | None = Field(None, description="The message of this step comes back.")
    answers: StepId | None = Field(None, description="They answer the survey of this step: with: {score: 9}.")
    confirms: StepId | None = Field(None, description="They say yes on the page that the message of this step links.")
    opts_out: Consent | None = Field(None, description="They withdraw this consent.")
    updates: dict[str, Any] | None = Field(
        None, description="tier: gold comes from the shop; customer.tier: gold is a step's."
    )

    sends: TemplateRef | None = None
    skips: Text | None = Field(None, description="The template that is not sent, or the call that is not made.")
    reason: Text | None = Field(None, description="Why it is skipped, or held.")
    waits: StepId | None = None
    takes: dict[StepId, Text] | None = Field(None, description="The step and the arm: {branch_1: else}.")
    gives: Text | None = Field(None, description="coupon POOL, or so many points: coupon comeback-10, 100 points.")
    calls: StepId | None = Field(None, description="The step that asks another system.")
    responds: Answers | None = Field(None, description="What that says: its JSON as a mapping, or a status like 404.")
    reaches: Literal["goal"] | None = None
    value: Worth | None = Field(None, description="What the goal is worth.")
    ends: Text | None = Field(None, description="Why the journey is over.")

    @model_validator(mode="after")
    def _one_thing(self) -> Line:
        verbs = [verb for verb in VERBS if getattr(self, verb) is not None]
        if not verbs:
            raise Wrong("this line says nothing that happens", "one of " + ", ".join(VERBS))
        if len(verbs) > 1:
            raise Wrong(
                f"{verbs[0]} and {verbs[1]} are two lines", "begin each with its own -", at=(verbs[1],), on_key=True
            )
        if self.at is not None and self.after is not None:
            raise Wrong("a line is at a time or after one", "remove at or after", at=("after",), on_key=True)
        owned = (
            ("with_", ("event", "answers")),
            ("responds", ("calls",)),
            ("reason", ("skips", "waits", "calls")),
            ("value", ("reaches",)),
        )
        for option, owners in owned:
            if getattr(self, option) and verbs[0] not in owners:
                key = option.rstrip("_")
                raise Wrong(f"{key} belongs to {either(owners)}", f"remove {key}", at=(key,), on_key=True)
        if self.takes is not None and len(self.takes) != 1:
            raise Wrong("a line tells of one arm", "like takes: {branch_1: else}", at=("takes",))
        if self.updates is not None and len({name.startswith("customer.") for name in self.updates}) != 1:
            hint = "tier: gold comes from the shop, customer.tier: gold from a step"
            raise Wrong("updates is either the shop's or a step's", hint, at=("updates",))
        return self

    @property
    def verb(self) -> str:
        return next(verb for verb in VERBS if getattr(self, verb) is not None)

    @property
    def happens(self) -> bool:
        """Whether this happens to the customer; otherwise the engine must do it."""
        if self.updates is not None:
            return not any(name.startswith("customer.") for name in self.updates)
        return self.verb in HAPPENS


class Scenario(Model):
    """A story about one customer."""

    scenario: Text
    start: StartMoment
    customer: Person
    before: tuple[Before, ...] = ()
    empty: tuple[PoolName, ...] = Field((), description="Pools of coupons without a code. All others have plenty.")
    story: tuple[Line, ...]

    @model_validator(mode="after")
    def _in_time(self) -> Scenario:
        latest: datetime | None = None
        for n, line in enumerate(self.story):
            if line.at is not None:
                if latest is not None and line.at < latest:
                    raise Wrong(
                        f"this is before the line at {latest:%Y-%m-%d %H:%M}",
                        "a story goes forward",
                        at=("story", n, "at"),
                    )
                latest = line.at
        return self


class Scenarios(RootModel[tuple[Scenario, ...]]):
    """The scenarios of one journey."""

    root: tuple[Scenario, ...]

    @model_validator(mode="after")
    def _told_apart(self) -> Scenarios:
        seen: set[str] = set()
        for n, scenario in enumerate(self.root):
            if scenario.scenario in seen:
                raise Wrong("two scenarios have this name", "a failure must say which", at=(n, "scenario"))
            seen.add(scenario.scenario)
        return self
