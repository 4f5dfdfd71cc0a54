"""What a channel is: it takes one finished message and says what became of it.

A channel answers with a value, never with an exception, because the three answers lead to different lives of a message:
accepted (done), refused (certainly not sent, so it may be tried again or given up) and in doubt (it may have been sent,
so marketing is never repeated). Whoever can't be sure must say in doubt.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict

from engine.language.gate import Rate

# A message id goes into file names, headers and a provider's custom arguments: only these characters are safe in all.
REF_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Content(Protocol):
    """What was rendered: `subject`, `html` and `text` of a mail; `text` of an SMS; `title`, `body` and `url` of a
    push; `template_id` and `variables` of a WhatsApp message, or its `text`; `text` of a Telegram message."""

    @property
    def subject(self) -> str: ...
    @property
    def html(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def template_id(self) -> str: ...
    @property
    def variables(self) -> Mapping[str, str]: ...


class Shared(Protocol):
    """A mail as a skeleton that others have too, with places in it, and what stands in the places of this one."""

    @property
    def subject(self) -> str: ...
    @property
    def html(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def values(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a message comes from. `email` is empty for channels that need none."""

    name: str
    email: str = ""
    reply_to: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What another system is asked. `headers` may hold names of secrets, which are put in when it leaves; `key` is the
    same for the same call in any repeat, and for no other."""

    method: str
    url: str
    headers: tuple[tuple[str, tuple[str | Secret, ...]], ...]
    body: bytes | None
    key: str
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of a secret."""

    name: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, ready to go: to whom, from whom, with which content.

    `ref` is our opaque message id: a repeat carries the same one. `to` is the address in the channel's own form (an
    email address, an E.164 number, a device token). `at` is when it is sent, aware, by the clock that was handed in.
    `unsubscribe_url` is set for everything but transactional messages. `shared` is the same content again, for channels
    that send many mails in one request. `message_id` is what a mail has as the left part of its Message-ID: `ref` with
    our mark, by which a bounce is believed (default: `ref` alone). `links`: where the short links in it lead, by code,
    kept before it leaves. ValueError for a ref no file or header could carry.
    """

    ref: str
    channel: str
    to: str
    content: Content
    sender: Sender
    at: datetime
    topic: str
    to_name: str = ""
    transactional: bool = False
    unsubscribe_url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    shared: Shared | None = None
    request: Request | None = None
    message_id: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ref or len(self.ref) > 100 or not REF_CHARACTERS.issuperset(self.ref):
            raise ValueError(f"{self.ref!r} can't be a message id: 1 to 100 letters, digits, - and _ only")
        if self.at.tzinfo is None:
            raise ValueError(f"{self.at!r} has no time zone, so it names no moment")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken it. `provider_id` is what the provider calls it; `answer`: what a system that was asked
    said, None where that could not be read."""

    provider_id: str
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It was certainly not sent. With `retry_after` it may be tried again after that long; without, never. With `ends`
    nothing may be sent to this address any more, and that is why: bounced, stop, gone."""

    reason: str
    retry_after: timedelta | None = None
    ends: str | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Nobody knows whether it was sent: a timeout, a reset after bytes were written, a 5xx."""

    reason: str


Result = Accepted | Refused | InDoubt


Fresh = Callable[[], bool]
"""Whether what the gate said of these messages is still good enough to let one more of them leave."""

Settle = Callable[[int, "Result"], None]
"""Takes what became of the message at that place of a wave."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a channel takes: `batch` messages in one request, `size` bytes a message, `at_once` requests under way at
    the same time; `rate`: no more messages in a time, unless project.yaml says another."""

    batch: int = 1
    size: int = 10_000_000
    at_once: int = 8
    rate: Rate | None = None


class ChannelOptions(BaseModel):
    """What project.yaml may say about a channel besides its provider; each channel adds its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a channel may know of the machine it runs on.

    `mail` is the directory for messages that go nowhere else. `secret(name)` and `setting(name)` read from the
    environment or a mounted file, None if there is none: channels never read the environment themselves.
    """

    mail: Path
    secret: Callable[[str], str | None] = lambda name: None
    setting: Callable[[str], str | None] = lambda name: None


class Channel(Protocol):
    """A way to reach people, one file a provider. `carries` says which of email, sms, whatsapp, telegram and push it
    can take, `Options` what project.yaml may say about it, `idempotent` whether a message sent twice arrives once. It
    may also say its `limits`."""

    carries: ClassVar[frozenset[str]]
    idempotent: ClassVar[bool]
    Options: ClassVar[type[ChannelOptions]]

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        """A channel ready to send. Raises ConfigurationError when something it needs is missing."""
        ...

    def send(self, message: Outgoing) -> Result:
        """Send one message. Safe to call from several threads; never raises for what a provider does."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Many(Channel, Protocol):
    """A channel that takes a wave of messages and sends them side by side, over connections that it keeps."""

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        """Send these, and tell what became of each as soon as it is known, once. `fresh` is asked before one begins to
        leave: where it says no, that message stays and nothing is told of it. Never raises for what a provider does."""
        ...


def alone(channel: Many, message: Outgoing) -> Result:
    """What became of a wave of one message."""
    results: list[Result] = []
    channel.send_many([message], lambda: True, lambda at, result: results.append(result))
    return results[0]


def is_here(host: str) -> bool:
    """Whether a host is this machine, so that nobody listens on the way."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ConfigurationError(Exception):
    """A channel can't be opened: a secret or a setting is missing or wrong. Nobody's message is at fault."""
