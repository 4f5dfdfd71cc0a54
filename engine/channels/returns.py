"""What providers call back about: what became of messages, and what people answered.

A provider's hook is a class with `@returns("sendgrid")`, in a file beside its channel, and pure: it says whether a
request is the provider's own, and what it tells, in our words. `POST /hooks/PROVIDER/events` asks it; what it reads is
recorded by engine/runtime/feedback.py. Being there puts it under tests/channels/test_every_return.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

Kind = Literal[
    "processed",
    "deferred",
    "delivered",
    "dropped",
    "bounced",
    "opened",
    "machine_opened",
    "clicked",
    "machine_clicked",
    "replied",
    "complained",
    "unsubscribed",
]
"""Our words for what comes back. `processed`: the provider has it; `dropped`: it won't send it; `machine_opened`: by a
mail program that opens everything, so it says nothing of a person."""


@dataclass(frozen=True, slots=True)
class Called:
    """A request as it came: `url` as the provider knows it, with its query; header names in small letters; the body's
    own bytes, for that is what was signed."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """One thing a provider tells of the message `ref`. `at`: when it happened, None where the provider doesn't say;
    `key`: what tells two of a kind about one message apart, the same whenever it is told again; `address`: whom it was
    about, as the provider writes it; `detail`: see runtime.feedback.Feedback."""

    ref: str
    kind: Kind
    at: datetime | None
    key: str
    address: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What somebody wrote to one of the shop's numbers, or to its bot; `address` is theirs, `key` the provider's id of
    it; `at`: when, None where the provider doesn't say. `written`: False where they pressed a button that says as much
    as the word, and answered nothing. `carried`: what the link to the bot carried, through which they came."""

    channel: str
    address: str
    text: str
    key: str
    at: datetime | None = None
    written: bool = True
    carried: str = ""


class Unreadable(ValueError):
    """This is not what the provider sends. Its text names no person."""


class Returns(Protocol):
    """The hook of one provider. `secret` is the setting it is verified with; `opens`: it tells opens and clicks of
    mails, so that they need none of our own links; `answer`: what is answered when all was taken, body and content
    type."""

    secret: ClassVar[str]
    opens: ClassVar[bool]
    answer: ClassVar[tuple[bytes, str]]

    def verify(self, secret: str, called: Called, now: datetime) -> bool:
        """Whether the provider has sent this. Never raises, whatever was sent."""
        ...

    def read(self, called: Called) -> Sequence[Returned | Reply]:
        """What it tells of messages of ours; what is about others', or means nothing to us, is left out. Raises
        Unreadable."""
        ...
