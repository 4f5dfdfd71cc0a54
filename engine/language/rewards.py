"""What project.yaml says of rewards: pools of coupon codes, what spends points and takes them back, and tiers.

coupons:
  comeback-10: {generate: "BACK-{8}", expires: 30d, redeemed_by: {event: purchase, property: coupon}}
  till-rolls: {from: codes.csv, on_empty: wait, warn_below: 100}
points: {spent_by: {event: points_spent, property: points}, taken_back_by: {event: refunded, property: order_id}}
tiers: [{silver: 500}, {gold: 2000}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, PlainSerializer, WithJsonSchema, model_validator

from engine.language.errors import Wrong, did_you_mean
from engine.language.fields import EventName, FieldName, Model, Text, whole
from engine.language.moments import duration_text, parse_duration, text_or
from engine.language.types import NUMBER, TEXT, Type
from engine.language.vocabulary import TIER

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""What made codes are of: nothing that is read as something else (0 and O, 1, I and L, U and V)."""

SHORTEST = 8
"""Drawn letters of a made code, at least: some 39 bits. Of fewer, a stranger could guess one that is valid."""

_MASK = re.compile(r"([A-Z0-9-]{0,20})\{([0-9]{1,2})\}([A-Z0-9-]{0,20})")


class Mask(str):
    """How codes are made: `BACK-{8}` is BACK- and eight letters drawn from ALPHABET."""

    @property
    def parts(self) -> tuple[str, int, str]:
        """What stands before the drawn letters, how many there are, and what stands behind."""
        found = _MASK.fullmatch(self)
        assert found is not None
        return found[1], int(found[2]), found[3]


def _mask(text: str) -> Mask:
    found = _MASK.fullmatch(text)
    if found is None:
        raise Wrong(f'"{text}" makes no codes', 'write capitals, digits and -, and how many are drawn: "BACK-{8}"')
    if not SHORTEST <= int(found[2]) <= 32:
        raise Wrong(f"{found[2]} drawn letters are out of bounds", f"from {SHORTEST}, so that no one guesses, to 32")
    return Mask(text)


@dataclass(frozen=True)
class Ends:
    """When a code is no longer good: so long after it was reserved, or when a day of the brand's calendar is over."""

    after: timedelta | None = None
    day: date | None = None

    def __str__(self) -> str:
        return duration_text(self.after) if self.after is not None else str(self.day)

    def at(self, reserved: datetime, zone: str) -> datetime:
        """The moment, for a code that is reserved at another."""
        if self.after is not None:
            return reserved + self.after
        assert self.day is not None
        return datetime.combine(self.day + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)


def _ends(text: str) -> Ends:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return Ends(after=parse_duration(text))
    try:
        return Ends(day=date.fromisoformat(text))
    except ValueError:
        raise Wrong(f'"{text}" is no day', "like 2026-12-31") from None


Ending = Annotated[
    Ends,
    text_or(Ends, _ends),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["30d", "2026-12-31"]}),
]
CodeMask = Annotated[str, text_or(Mask, _mask), WithJsonSchema({"type": "string", "examples": ["BACK-{8}"]})]


class Told(Model):
    """An event, and the property of it that says which or how many."""

    event: EventName
    property: FieldName


class Pool(Model):
    """Coupon codes, of which each is given to one customer: loaded from a file, or made when they are needed."""

    title: Text | None = None
    from_: Text | None = Field(
        None, alias="from", description="A CSV file of codes, read by karibu coupons load; below the project's root."
    )
    generate: CodeMask | None = Field(
        None, description='Makes codes when they are needed: "BACK-{8}" is BACK- and eight drawn letters.'
    )
    count: Annotated[int, *whole(1, 100_000_000)] | None = Field(None, description="Makes so many codes at most.")
    expires: Ending | None = Field(
        None, description="A code is good for so long after it was reserved, or to the end of a day."
    )
    on_empty: Literal["continue", "exit", "wait"] = Field(
        "continue",
        description="What a customer does when there is no code: go on without one, leave the journey, or wait.",
    )
    warn_below: Annotated[int, *whole(0, 100_000_000)] | None = Field(
        None, description="karibu status warns when fewer codes than this are left."
    )
    redeemed_by: Told | None = Field(None, description="The event that uses a code up, and its property with the code.")

    @model_validator(mode="after")
    def _one_origin(self) -> Pool:
        if (self.from_ is None) == (self.generate is None):
            raise Wrong("a pool's codes are either loaded or made", "write from: FILE or generate: MASK")
        if self.count is not None and self.generate is None:
            raise Wrong("count bounds codes that are made", "remove count", at=("count",), on_key=True)
        return self


class Points(Model):
    """What moves points besides journeys, which give them."""

    spent_by: Told | None = Field(None, description="The event with which a customer spends so many points.")
    taken_back_by: Told | None = Field(
        None,
        description="The event that takes back what was given for the event with the same value of this property.",
    )


def _one_key(schema: dict[str, Any]) -> None:
    """What an editor shall see of a tier: its name, and how many points it takes."""
    points = schema["properties"]["points"]
    schema.clear()
    schema.update(
        type="object",
        patternProperties={"^[a-z][a-z0-9_]{0,62}$": points},
        additionalProperties=False,
        minProperties=1,
        maxProperties=1,
    )


class Tier(Model):
    """`silver: 500`: who has earned so many points is in this tier."""

    model_config = {"json_schema_extra": _one_key}

    name: FieldName
    points: Annotated[int, *whole(1, 1_000_000_000)]

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and set(value) != {"name", "points"}:
            if len(value) != 1:
                raise Wrong("one tier an entry", "like - silver: 500")
            ((name, points),) = value.items()
            return {"name": name, "points": points}
        return value


def check(
    pools: Mapping[str, Pool],
    points: Points,
    tiers: Sequence[Tier],
    events: Mapping[str, Any],
    kept: Mapping[str, Type],
) -> None:
    """Raise Wrong for rewards that don't fit the project's events and customer attributes (`kept`)."""
    for name, pool in pools.items():
        if pool.redeemed_by is not None:
            _property(pool.redeemed_by, TEXT, events, "coupons", name, "redeemed_by")
    if points.spent_by is not None:
        _property(points.spent_by, NUMBER, events, "points", "spent_by")
    if points.taken_back_by is not None:
        _property(points.taken_back_by, TEXT, events, "points", "taken_back_by")
    for n, tier in enumerate(tiers):
        if any(tier.name == one.name for one in tiers[:n]):
            raise Wrong(f"{tier.name} is a tier twice", "a tier has one name", at=("tiers", n))
        if n and tier.points <= tiers[n - 1].points:
            raise Wrong(f"{tier.name} takes no more points than {tiers[n - 1].name}", "tiers go up", at=("tiers", n))
    if tiers and kept.get(TIER, TEXT) != TEXT:
        raise Wrong(f"tiers keep customer.{TIER}, which is a text", "remove this line", at=("customer", TIER))


def _property(told: Told, kind: Type, events: Mapping[str, Any], *at: str) -> None:
    if told.event not in events:
        raise Wrong(f'unknown event "{told.event}"', did_you_mean(told.event, events), at=(*at, "event"))
    properties = events[told.event].properties
    if told.property not in properties:
        hint = did_you_mean(told.property, properties)
        raise Wrong(f'{told.event} has no property "{told.property}"', hint, at=(*at, "property"))
    if properties[told.property] != kind:
        raise Wrong(f"{told.property} is {properties[told.property].spoken}, not {kind.spoken}", at=(*at, "property"))
