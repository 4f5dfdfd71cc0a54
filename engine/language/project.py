"""What a project directory holds: project.yaml, segments.yaml, the journeys and their scenarios.

workflows/project.yaml        the brand, customer attributes, events, topics, channels
workflows/segments.yaml       NAME: CONDITION, or NAME: {title: …, when: CONDITION}
workflows/<journey>.yaml      a journey
workflows/<journey>.test.yaml its scenarios
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from babel import Locale, UnknownLocaleError
from babel.numbers import list_currencies
from pydantic import Field, PlainSerializer, PlainValidator, RootModel, WithJsonSchema, model_validator

from engine.language import rewards
from engine.language.errors import Wrong, did_you_mean
from engine.language.fields import (
    ANY_CHANNEL,
    CHANNELS,
    Condition,
    FieldName,
    Model,
    NewEventName,
    NewPoolName,
    NewSegmentName,
    NewSurveyName,
    NewTopicName,
    Text,
    YesNo,
    named,
)
from engine.language.gate import Cap, QuietHours, RateText
from engine.language.moments import text_or
from engine.language.rewards import Points, Pool, Tier
from engine.language.surveys import Survey
from engine.language.types import STORED, Type, read_type
from engine.language.vocabulary import OWN_EVENTS, TRANSACTIONAL


def check_timezone(text: str) -> str:
    """The name of a time zone as it is; Wrong if there is none of that name."""
    if text not in _zones():
        raise Wrong(f'"{text}" is not a time zone', did_you_mean_zone(text) or "like Africa/Nairobi")
    return text


@cache
def _zones() -> frozenset[str]:
    """The names of the tz database, which are files to be looked for."""
    return frozenset(available_timezones())


def did_you_mean_zone(text: str) -> str | None:
    """The nearest time zone, by its whole name or by its city."""
    city = text.rsplit("/", 1)[-1].strip().replace(" ", "_").lower()
    by_city = [zone for zone in _zones() if zone.lower().endswith("/" + city)]
    zones = {zone.lower(): zone for zone in (by_city or _zones())}
    hint = did_you_mean(text.lower(), zones)
    near = by_city[:1] or [
        zones[h] for h in [(hint or "").removeprefix('did you mean "').removesuffix('"?')] if h in zones
    ]
    return f'did you mean "{near[0]}"?' if near else None


def _locale(text: str) -> str:
    try:
        Locale.parse(text, sep="_" if "_" in text else "-")
    except (UnknownLocaleError, ValueError, TypeError):
        raise Wrong(f'"{text}" is not a locale', "like en, sw or sw-KE") from None
    return text


def _currency(text: str) -> str:
    if text not in list_currencies():
        raise Wrong(f'"{text}" is not a currency', "three capitals, like KES, USD or EUR")
    return text


Timezone = Annotated[
    str, text_or(str, check_timezone), WithJsonSchema({"type": "string", "examples": ["Africa/Nairobi"]})
]
LocaleName = Annotated[str, text_or(str, _locale), WithJsonSchema({"type": "string", "examples": ["en", "sw-KE"]})]
Currency = Annotated[str, text_or(str, _currency), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]
_EMAIL = r"[^@\s\"<>,;:]+@[^@\s\"<>,;:]+\.[^@\s\"<>,;:.]+"
Email = Annotated[str, *named(_EMAIL, "an e-mail address", "like hello@duka.example")]
TeamAddress = Annotated[
    str,
    *named(
        f"apprise|{_EMAIL}",
        "where somebody is told",
        "an e-mail address, like hello@duka.example; or apprise, for Slack, Teams, Telegram and others",
    ),
]
Url = Annotated[str, *named(r"https?://[^\s/]+(?:/\S*)?", "a web address", "like https://duka.example")]
BotName = Annotated[
    str, *named(r"[A-Za-z]\w{1,28}(?:bot|BOT|Bot)", "the name of a bot at Telegram", "without @, like duka_bot")
]
ValueType = Annotated[
    Type,
    PlainValidator(read_type),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"anyOf": [{"enum": sorted(STORED)}, {"type": "array", "items": {"type": "object"}}, {"type": "object"}]}
    ),
]


class Sender(Model):
    """Whom a mail comes from."""

    email: Email
    name: Text


class Brand(Model):
    """The shop: what its messages say of it, and what counts where a customer says nothing else."""

    name: Text
    timezone: Timezone
    locale: LocaleName
    currency: Currency
    address: Text = Field("", description="The postal address, which every marketing mail must carry.")
    sender: Sender | None = None
    url: Url | None = None
    telegram: BotName | None = Field(None, description="The name of the shop's bot there, for links.telegram.")


class Event(Model):
    """An event that may happen to a customer: its properties with their types, and which of them is its value."""

    title: Text | None = None
    value: FieldName | None = Field(None, description="The property that says what the event is worth.")
    properties: dict[FieldName, ValueType] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _value_is_a_property(self) -> Event:
        if self.value is None:
            return self
        if self.value not in self.properties:
            raise Wrong(
                f'the event has no property "{self.value}"', did_you_mean(self.value, self.properties), at=("value",)
            )
        if str(self.properties[self.value]) not in ("money", "number"):
            raise Wrong(f"{self.value} is neither money nor a number", "a value can be added up", at=("value",))
        return self


class Topic(Model):
    """What customers consent to."""

    title: Text
    titles: dict[LocaleName, Text] = Field(default_factory=dict, description="The title in other languages.")
    double_opt_in: YesNo = Field(
        False, description="A yes counts when it is confirmed: by the link of a message that confirms."
    )


class Provider(Model):
    """Who carries a channel's messages: a provider, and what it wants to know."""

    model_config = {"extra": "allow"}

    provider: Text
    rate: RateText | None = Field(None, description="So many messages go out in a second, minute or hour at most.")

    @property
    def options(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class Connected(Model):
    """A shop's webhooks: which kind of source they are, and what it wants to know."""

    model_config = {"extra": "allow"}

    source: Text | None = Field(None, description="The kind of source. Default: the name it stands under.")

    @property
    def options(self) -> Mapping[str, Any]:
        return self.model_extra or {}


class Tracking(Model):
    """Our own open pixel and click links, where the provider tells neither opens nor clicks by itself: of mails, and of
    texts, which get short links."""

    opens: YesNo = Field(False, description="Put a pixel into each mail, so that opened() can be true.")
    clicks: YesNo = Field(False, description="Lead links through the engine, so that clicked() can be true.")


SOURCE_NAME = "[a-z][a-z0-9-]{0,62}"
TAKEN_NAMES = ("api", "import", "demo")
"""Whose keys are others': an event is named for ever by its source and its key."""


class Project(Model):
    """project.yaml: every name and type that journeys, segments and templates may use."""

    brand: Brand
    customer: dict[FieldName, ValueType] = Field(default_factory=dict)
    events: dict[NewEventName, Event] = Field(default_factory=dict)
    topics: dict[NewTopicName, Topic] = Field(default_factory=dict)
    channels: dict[Annotated[str, *named(ANY_CHANNEL, "a channel", ", ".join(CHANNELS))], Provider] = Field(
        default_factory=dict
    )
    sources: dict[
        Annotated[
            str, *named(SOURCE_NAME, "the name of a source", "small letters, digits and -, beginning with a letter")
        ],
        Connected,
    ] = Field(default_factory=dict, description="Whose webhooks are taken, at POST /hooks/NAME.")
    surveys: dict[NewSurveyName, Survey] = Field(default_factory=dict, description="What `ask` asks, by name.")
    tracking: Tracking = Field(default_factory=Tracking)
    team: dict[FieldName, TeamAddress] = Field(default_factory=dict, description="People of the shop, for notify.")
    coupons: dict[NewPoolName, Pool] = Field(default_factory=dict, description="Pools of coupon codes, by name.")
    points: Points = Field(default_factory=Points, description="What spends points, and what takes them back.")
    tiers: tuple[Tier, ...] = Field((), description="What customer.tier is, by the points earned; the lowest first.")
    caps: tuple[Cap, ...] = Field((), description="How many messages a customer gets at most. All of them hold.")
    quiet_hours: QuietHours | None = Field(None, description="When nothing is sent, on the customer's clock.")

    @property
    def holds(self) -> bool:
        """Whether a message may be held for later."""
        return self.quiet_hours is not None or any(cap.when_capped.what == "defer" for cap in self.caps)

    @model_validator(mode="after")
    def _no_source_takes_others_keys(self) -> Project:
        for name in self.sources:
            if name in TAKEN_NAMES:
                raise Wrong(f'"{name}" can\'t be a source', "call it otherwise", at=("sources", name), on_key=True)
        return self

    @model_validator(mode="after")
    def _rewards_fit(self) -> Project:
        rewards.check(self.coupons, self.points, self.tiers, self.events, self.customer)
        return self

    @model_validator(mode="after")
    def _caps_count_something(self) -> Project:
        seen: set[str] = set()
        for n, cap in enumerate(self.caps):
            if cap.topic == TRANSACTIONAL:
                raise Wrong("transactional messages are never capped", "remove it", at=("caps", n, "topic"))
            if cap.topic is not None and cap.topic not in self.topics:
                hint = did_you_mean(cap.topic, self.topics)
                raise Wrong(f'there is no topic "{cap.topic}"', hint, at=("caps", n, "topic"))
            if cap.key in seen:
                raise Wrong("two caps count the same over the same time", "keep the stricter one", at=("caps", n))
            seen.add(cap.key)
        return self

    @model_validator(mode="after")
    def _own_events_are_built_in(self) -> Project:
        for name in self.events:
            if name in OWN_EVENTS:
                raise Wrong(f"the event {name} is built in", "remove it", at=("events", name))
        return self

    @property
    def known_events(self) -> frozenset[str]:
        """The events journeys may name: the declared ones, and Karibu's own."""
        return frozenset({*self.events, *OWN_EVENTS})

    @model_validator(mode="after")
    def _transactional_is_built_in(self) -> Project:
        if TRANSACTIONAL in self.topics:
            raise Wrong(
                "the topic transactional is built in: it needs no consent", "remove it", at=("topics", TRANSACTIONAL)
            )
        return self


def _or_text(schema: dict[str, Any]) -> None:
    """A segment may be written as its condition alone."""
    whole = dict(schema)
    schema.clear()
    schema.update(anyOf=[{"type": "string"}, whole])


class Segment(Model):
    """A named condition: the customers for whom it is true."""

    model_config = {"json_schema_extra": _or_text}

    when: Condition
    title: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"when": value} if isinstance(value, str) else value


class Segments(RootModel[dict[NewSegmentName, Segment]]):
    """segments.yaml: the named segments."""

    root: dict[NewSegmentName, Segment] = {}

    def __iter__(self) -> Any:
        return iter(self.root)

    def __getitem__(self, name: str) -> Segment:
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __len__(self) -> int:
        return len(self.root)

    def items(self) -> Any:
        return self.root.items()
