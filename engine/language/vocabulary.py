"""The names an expression may use, and their types: what the project declares, and what there is where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from babel.numbers import get_currency_precision

from engine.language.types import BIRTHDAY, BOOLEAN, INSTANT, NUMBER, TEXT, Kind, Type, read_type

BUILT_IN: Mapping[str, Type] = {
    "id": TEXT,
    "email": TEXT,
    "phone": TEXT,
    "telegram": TEXT,
    "first_name": TEXT,
    "last_name": TEXT,
    "locale": TEXT,
    "timezone": TEXT,
    "country": TEXT,
    "birthday": BIRTHDAY,
    "created": INSTANT,
}
"""What every customer has, besides the attributes that project.yaml declares."""

TIER = "tier"
"""The customer's attribute that tiers keep."""

TRANSACTIONAL = "transactional"
"""The topic that needs no consent: order confirmations, recalls."""


@dataclass(frozen=True)
class EventType:
    """An event's properties, and which of them is its `value`."""

    properties: Mapping[str, Type] = field(default_factory=dict)
    value: str | None = None


_ABOUT: Mapping[str, Type] = {"channel": TEXT, "journey": TEXT, "step": TEXT, "template": TEXT, "topic": TEXT}

OWN_EVENTS: Mapping[str, EventType] = {
    "consent_confirmed": EventType({"channel": TEXT, "topic": TEXT}),
    "message_opened": EventType(_ABOUT),
    "message_clicked": EventType({**_ABOUT, "url": TEXT}),
    "message_replied": EventType({**_ABOUT, "text": TEXT}),
    "message_bounced": EventType({**_ABOUT, "soft": BOOLEAN}),
    "message_unsubscribed": EventType(_ABOUT),
    "message_complained": EventType(_ABOUT),
    "survey_answered": EventType({"survey": TEXT, "score": NUMBER, "comment": TEXT, "journey": TEXT, "step": TEXT}),
}
"""Karibu's own events: what came back about a message, and what customers said on our pages. Journeys use them as they
use the shop's; nobody declares or sends them."""


@dataclass(frozen=True)
class Vocabulary:
    """What a project knows. `attributes` are the customer's declared ones; `currency` and `timezone` the brand's.

    A set that is None is not known and not checked.
    """

    attributes: Mapping[str, Type] = field(default_factory=dict)
    events: Mapping[str, EventType] = field(default_factory=dict)
    segments: frozenset[str] | None = None
    journeys: frozenset[str] | None = None
    topics: frozenset[str] = frozenset({TRANSACTIONAL})
    channels: frozenset[str] = frozenset()
    currency: str = "EUR"
    timezone: str = "UTC"

    @property
    def customer(self) -> Mapping[str, Type]:
        return {**self.attributes, **BUILT_IN}

    @cached_property
    def digits(self) -> int:
        """How many digits the brand's currency has after the point."""
        return get_currency_precision(self.currency)

    @classmethod
    def plain(
        cls,
        customer: Mapping[str, Any] | None = None,
        events: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        topics: Iterable[str] = (),
        channels: Iterable[str] = ("email", "sms", "push"),
        segments: Iterable[str] | None = None,
        journeys: Iterable[str] | None = None,
        currency: str = "EUR",
        timezone: str = "UTC",
    ) -> Vocabulary:
        """From the forms of project.yaml: `customer` name → type, `events` name → {value, properties: name → type}."""
        return cls(
            attributes={name: read_type(type_) for name, type_ in (customer or {}).items()},
            events={
                name: EventType(
                    {p: read_type(type_) for p, type_ in (shape.get("properties") or {}).items()}, shape.get("value")
                )
                for name, shape in (events or {}).items()
            },
            segments=None if segments is None else frozenset(segments),
            journeys=None if journeys is None else frozenset(journeys),
            topics=frozenset(topics) | {TRANSACTIONAL},
            channels=frozenset(channels),
            currency=currency,
            timezone=timezone,
        )

    @classmethod
    def of(
        cls, project: Any, segments: Iterable[str] | None = None, journeys: Iterable[str] | None = None
    ) -> Vocabulary:
        """From a `Project`; `segments` and `journeys` are the names there are (None: not checked)."""
        made = cls.plain(
            {**project.customer, **({TIER: TEXT} if project.tiers else {})},
            {name: {"value": event.value, "properties": event.properties} for name, event in project.events.items()},
            topics=project.topics,
            channels=project.channels,
            segments=segments,
            journeys=journeys,
            currency=project.brand.currency,
            timezone=project.brand.timezone,
        )
        return replace(made, events={**OWN_EVENTS, **made.events})


@dataclass(frozen=True)
class Names:
    """What an expression may name where it stands, besides the customer.

    entry, event: the name of the event that let them in / that is being judged (None: there is none).
    item: the object type of `item`, which may be called otherwise (`item_as`). results: a wait_for's id → its event.
    sends: ids of the send steps; coupons: of the coupon steps. saved: the name that a step keeps something under → its
    id and the object's type.
    """

    entry: str | None = None
    event: str | None = None
    item: Type | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    sends: frozenset[str] = frozenset()
    coupons: frozenset[str] = frozenset()
    saved: Mapping[str, tuple[str, Type]] = field(default_factory=dict)
    item_as: str = "item"

    def __post_init__(self) -> None:
        if self.item is not None and self.item.kind not in (Kind.OBJECT, Kind.LIST):
            raise ValueError(f"an item is an object, not a {self.item}")
