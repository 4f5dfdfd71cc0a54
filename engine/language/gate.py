"""What project.yaml says of the send gate: caps, quiet hours, and the rate of a channel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema, model_validator

from engine.language.errors import Wrong
from engine.language.fields import CHANNELS, JourneyName, Model, NewTopicName, named, whole
from engine.language.moments import Duration, TimeOfDay, duration_text, parse_duration, text_or

CALENDAR = ("day", "week", "month")


@dataclass(frozen=True)
class Per:
    """The time over which a cap counts: a length that rolls, or a day, week or month of the customer's calendar."""

    length: timedelta | None = None
    calendar: str | None = None

    def __str__(self) -> str:
        return f"calendar {self.calendar}" if self.length is None else duration_text(self.length)


def parse_per(text: str) -> Per:
    """`7d` or `calendar week`."""
    words = text.split()
    if words[:1] == ["calendar"] and len(words) == 2 and words[1] in CALENDAR:
        return Per(calendar=words[1])
    hint = "write a length like 7d, or calendar day, calendar week or calendar month"
    if len(words) == 1 and words[0].lower() in CALENDAR:
        raise Wrong(f'"{text}" may mean two things', f"write calendar {words[0].lower()}, or a length like 7d")
    try:
        length = parse_duration(text)
    except Wrong:
        raise Wrong(f'"{text}" is no time that a cap counts over', hint) from None
    if not length:
        raise Wrong(f'"{text}" is no time at all', hint)
    return Per(length=length)


@dataclass(frozen=True)
class WhenCapped:
    """What becomes of a message that a cap has no room for. `length`: of a deferral."""

    what: Literal["skip", "exit", "defer"] = "skip"
    length: timedelta | None = None

    def __str__(self) -> str:
        return self.what if self.length is None else f"{self.what} {duration_text(self.length)}"


def parse_when_capped(text: str) -> WhenCapped:
    """`skip`, `exit` or `defer 24h`."""
    words = text.split()
    if words == ["skip"] or words == ["exit"]:
        return WhenCapped("skip" if words == ["skip"] else "exit")
    if words[:1] == ["defer"] and len(words) == 2 and (length := parse_duration(words[1])):
        return WhenCapped("defer", length)
    raise Wrong(f'"{text}" is nothing to do when a cap is full', "write skip, exit or defer 24h")


@dataclass(frozen=True)
class Rate:
    """So many messages in a second, minute or hour."""

    count: int
    per: Literal["s", "m", "h"]

    def __str__(self) -> str:
        return f"{self.count}/{self.per}"


def parse_rate(text: str) -> Rate:
    """`100/s`, `30/m` or `500/h`."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})\s*/\s*([smh])", text.strip())
    if not found:
        raise Wrong(f'"{text}" is not a rate', "write messages a second, minute or hour, like 100/s, 30/m or 500/h")
    return Rate(int(found[1]), found[2])  # type: ignore[arg-type]


PerText = Annotated[
    Per,
    text_or(Per, parse_per),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,9}[mhdw]|calendar (day|week|month))$"}),
]
WhenCappedText = Annotated[
    WhenCapped,
    text_or(WhenCapped, parse_when_capped),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(skip|exit|defer [0-9]{1,9}[mhdw])$"}),
]
RateText = Annotated[
    Rate,
    text_or(Rate, parse_rate),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]{0,5}\s*/\s*[smh]$", "examples": ["100/s"]}),
]
CappedChannel = Annotated[str, *named("|".join(CHANNELS), "a channel", ", ".join(CHANNELS))]


class Cap(Model):
    """How many messages of a kind one customer gets in a time. Without topic, channel and journey: of any kind."""

    topic: NewTopicName | None = Field(None, description="Only messages of this topic.")
    channel: CappedChannel | None = Field(None, description="Only messages of this channel.")
    journey: JourneyName | None = Field(None, description="Only messages of this journey.")
    at_most: Annotated[int, *whole(0, 1_000)] = Field(description="0: none at all.")
    per: PerText = Field(description="A length that rolls, like 7d, or calendar day, week or month.")
    when_capped: WhenCappedText = Field(
        WhenCapped(), description="What becomes of a message there is no room for: skip, exit or defer 24h."
    )

    @model_validator(mode="after")
    def _room_comes(self) -> Cap:
        if not self.at_most and self.when_capped.what == "defer":
            raise Wrong("there is never room, so this would defer for ever", "write skip or exit", at=("when_capped",))
        return self

    @property
    def key(self) -> str:
        """What the slots that it counts stand under: `topic offers per 7d`. How many there are, and what happens
        without, may change."""
        kinds = (("topic", self.topic), ("channel", self.channel), ("journey", self.journey))
        return " ".join([f"{kind} {name}" for kind, name in kinds if name is not None] + [f"per {self.per}"])

    def covers(self, topic: str, channel: str, journey: str) -> bool:
        """Whether it counts such a message."""
        mine = ((self.topic, topic), (self.channel, channel), (self.journey, journey))
        return all(name in (None, given) for name, given in mine)


DAY = timedelta(days=1)


class QuietHours(Model):
    """When nothing but transactional messages is sent, on the customer's clock."""

    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay
    on_violation: Literal["defer", "skip"] = Field("defer", description="Sent when they are over, or not at all.")
    spread: Duration = Field(timedelta(minutes=15), description="Over so long after their end what was held goes out.")

    @model_validator(mode="after")
    def _some_hours_of_a_day(self) -> QuietHours:
        if self.from_ == self.to:
            raise Wrong("quiet hours end at another time than they begin", "like from 21:00 to 08:00", at=("to",))
        if self.spread >= self.open:
            hint = f"the day is open for {duration_text(self.open)}"
            raise Wrong("what was held would run into the next quiet hours", hint, at=("spread",))
        return self

    @property
    def skips(self) -> bool:
        """Whether what falls into them isn't sent, rather than held."""
        return self.on_violation == "skip"

    @property
    def open(self) -> timedelta:
        """How much of a day is not quiet."""
        return (since_midnight(self.from_) - since_midnight(self.to)) % DAY

    def within(self, clock: time) -> bool:
        """Whether it is quiet when the clock shows this."""
        if self.from_ < self.to:
            return self.from_ <= clock < self.to
        return clock >= self.from_ or clock < self.to


def since_midnight(clock: time) -> timedelta:
    """How far the wall clock has come since 00:00."""
    return timedelta(hours=clock.hour, minutes=clock.minute)
