"""What a source is: it knows whether a shop's request is genuine, and says in our words what the request tells.

A source is pure: it gets headers, the raw body and the time, and touches nothing. What it says is a list of `Told` (an
event of one customer, with what is known of them) and `Untold` (what it can't say in our words, which is kept for a
person to look at, never lost).

The key of a `Told` comes from what is signed, mostly the body: the same order paid is one event, however often and
under whatever delivery id it is sent. A replay changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import BeforeValidator, Field, WithJsonSchema

from engine.language.check_sources import IGNORE as IGNORE
from engine.language.fields import Model, Text, TopicName, named

Headers = Mapping[str, str]
"""By name in small letters."""

EventOrIgnore = Annotated[
    str, *named(r"[a-z][a-z0-9_]{0,62}", "the name of an event", "an event of project.yaml, or ignore")
]
SettingName = Annotated[
    str,
    *named(r"[a-z][a-z0-9_]{0,62}", "the name of a setting", "like shopify_secret, for KARIBU_SHOPIFY_SECRET"),
]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Secrets = Annotated[
    tuple[SettingName, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class SourceOptions(Model):
    """What project.yaml may say about every source."""

    secret: Secrets = Field(
        (),
        description="The setting that holds the secret (default: the name and _secret), or several while it changes.",
    )
    events: dict[Text, EventOrIgnore] = Field(
        default_factory=dict, description="What its topics are called here: an event of project.yaml, or ignore."
    )
    consent: tuple[TopicName, ...] | None = Field(
        None, description="The topics that a yes or no to marketing is about. Default: all."
    )


@dataclass(frozen=True)
class Who:
    """A customer as a source knows them: the shop's own id, addresses, an anonymous id.

    `of`: keys of events of the same source; whoever one of them was of is meant, and if none has come yet, this waits
    until one has. `renamed`: the anonymous id
    may be an id of the shop's that they had before; whoever has it is the same customer."""

    id: str | None = None
    email: str | None = None
    phone: str | None = None
    anonymous: str | None = None
    of: tuple[str, ...] = ()
    renamed: bool = False

    def __bool__(self) -> bool:
        return bool(self.id or self.email or self.phone or self.anonymous or self.of)


@dataclass(frozen=True)
class Agreed:
    """A yes or no to marketing on a channel, and when it was said (None: when the event happened). `confirmed`: the
    shop has had the yes confirmed (double opt-in)."""

    channel: Literal["email", "sms"]
    state: Literal["on", "off"]
    at: datetime | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Told:
    """An event of one customer.

    `profile` speaks the door's words (first_name, locale, …). Amounts are texts in units of `currency`. `first`: told
    again with other content, the first telling stands (a state that is repeated with every change of an order).
    `part`: of the payload, what it was read from; None: all of it. `reckoned`: `occurred_at` is worked out from when it
    came, so it is another one each time the same event is sent. `topic`: what the shop calls it, under which it is kept
    when it can't be taken; empty: as the event is called."""

    who: Who
    event: str
    key: str
    occurred_at: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    agreed: tuple[Agreed, ...] = ()
    currency: str | None = None
    first: bool = False
    part: Any = None
    reckoned: bool = False
    topic: str = ""

    def __post_init__(self) -> None:
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError(f"{self.occurred_at!r} has no time zone, so it names no moment")


@dataclass(frozen=True)
class Untold:
    """What can't be said in our words: its topic, why, and the part of the payload. `key` is empty where it has
    none."""

    topic: str
    reason: str
    payload: Any
    key: str = ""


Said = Sequence[Told | Untold]


class Source:
    """A kind of shop; subclasses are declared with `@source(name)`.

    `topics`: what it can tell, with the event each is by default. None: any topic that project.yaml gives a name."""

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    topics: ClassVar[Mapping[str, str] | None] = None
    needs_secret: ClassVar[bool] = True
    """Whether the service is of no use to it without a secret."""
    asks_leave: ClassVar[bool] = False
    """Whether its senders ask with OPTIONS, before the first event, if they may send."""

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.events: Mapping[str, str] = {**(self.topics or {}), **options.events}

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        """Whether whoever knows one of the secrets has sent this body. Never raises for what was sent."""
        raise NotImplementedError

    def payload(self, headers: Headers, body: bytes) -> Any:
        """What a genuine body holds. Raises ValueError when it is no JSON."""
        return orjson.loads(body)

    def read(self, headers: Headers, payload: Any) -> Said:
        """What a genuine request says. Never raises for what was sent."""
        raise NotImplementedError

    def again(self, headers: Headers, part: Any) -> Said:
        """What a part of a request says that was kept, in the words of today. Never raises for what was sent."""
        return self.read(headers, part)

    def greeting(self, headers: Headers, body: bytes) -> bool:
        """Whether this only asks if somebody is there: it is answered 200, and nothing is done."""
        return False
