"""Any JSON webhook: project.yaml says where in it things stand.

    loyalty:
      source: generic
      signed: {header: X-Signature, as: hex}
      each: records
      topic: type
      key: id
      time: at
      customer: {id: member.number, email: member.email}
      properties: {points: amount, level: member.levels.0.name}
      events: {points.earned: points_earned}

A place is a path of keys, `member.levels.0.name` (the first of the levels), or a header, `header:X-Topic`. What isn't
there is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainSerializer, WithJsonSchema

from engine.language.errors import Wrong
from engine.language.fields import FieldName, Model, Text
from engine.language.moments import text_or
from engine.language.registry import source
from triggers.sources.base import IGNORE, Agreed, Headers, Said, Source, SourceOptions, Told, Untold, Who
from triggers.sources.parts import moment, text
from triggers.sources.signatures import from_base64, from_hex, shown_token, signed

_STEP = re.compile(r"[A-Za-z0-9_$@-]{1,100}")
_HINT = "keys with points between them, like member.levels.0.name, or header:X-Topic"


@dataclass(frozen=True)
class Place:
    """Where in a request something stands: steps into the payload (a number counts in a list, from 0), or a header."""

    written: str
    steps: tuple[str, ...] = ()
    header: str = ""

    def of(self, headers: Headers, value: Any) -> Any:
        """What stands there, or None."""
        if self.header:
            return headers.get(self.header)
        for step in self.steps:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and len(step) < 6 and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


def parse_place(written: str) -> Place:
    """`member.levels.0.name` or `header:X-Topic`."""
    written = written.strip()
    if written.startswith("header:"):
        name = written.removeprefix("header:").strip().lower()
        if not re.fullmatch(r"[a-z0-9-]+", name):
            raise Wrong(f'"{name}" is no name of a header', _HINT, offset=len("header:"))
        return Place(written, header=name)
    steps, at = written.split("."), 0
    for step in steps:
        found = _STEP.match(written, at)
        if found is None or found[0] != step:
            raise Wrong("this path can't be read from here on", _HINT, offset=at + (len(found[0]) if found else 0))
        at += len(step) + 1
    return Place(written, tuple(steps))


Where = Annotated[
    Place,
    text_or(Place, parse_place),
    PlainSerializer(lambda place: place.written, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["member.levels.0.name", "header:X-Topic"]}),
]


class Signed(Model):
    """How the sender signs: the HMAC-SHA256 of the raw body, in a header."""

    header: Text = Field(description="The header that holds the HMAC-SHA256 of the body.")
    form: Literal["hex", "base64"] = Field("hex", alias="as", description="How it is written: hex or base64.")
    prefix: Text | None = Field(None, description="What stands before it in the header, like sha256=.")


class Customer(Model):
    """Where the customer stands; `profile` holds what else is known, in the words of a customer."""

    id: Where | None = Field(None, description="Where the shop's id of the customer stands.")
    email: Where | None = Field(None, description="Where their address stands.")
    phone: Where | None = Field(None, description="Where their number stands.")
    anonymous: Where | None = Field(None, description="Where the id of a browser or a device stands.")
    profile: dict[FieldName, Where] = Field(
        default_factory=dict, description="Where the rest stands: first_name, country, your own attributes."
    )


class Marketing(Model):
    """Where a yes or no to marketing stands: true or false."""

    email: Where | None = Field(None, description="Where the yes or no to marketing mails stands: true or false.")
    sms: Where | None = Field(None, description="Where the yes or no to marketing by SMS stands.")


class GenericOptions(SourceOptions):
    """What project.yaml says about a webhook of any form."""

    topic: Where = Field(description="Where it says what happened.")
    customer: Customer = Field(description="Where it says to whom.")
    each: Where | None = Field(None, description="Where the list is, if one request holds many; paths are of an entry.")
    key: Where | None = Field(None, description="Where the id of what happened stands. Default: the content is it.")
    time: Where | None = Field(None, description="When it happened: with its zone, or in Unix seconds. Default: now.")
    currency: Where | None = Field(None, description="Where the currency of its amounts stands. Default: the brand's.")
    properties: dict[FieldName, Where] = Field(default_factory=dict, description="Where each property stands.")
    marketing: Marketing | None = None
    signed: Signed | None = Field(
        None, description="How it is signed. Default: not, and the secret is shown as Authorization: Bearer."
    )


@source("generic")
class Generic(Source):
    """A JSON webhook of any form: project.yaml says where in it things stand, by paths like `member.levels.0.name` or
    `header:X-Topic`."""

    Options: ClassVar[type[SourceOptions]] = GenericOptions

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options)
        assert isinstance(options, GenericOptions)
        self.where = options

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        how = self.where.signed
        if how is None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            return scheme.lower() == "bearer" and shown_token(secrets, token.strip())
        shown = headers.get(how.header.lower(), "")
        if how.prefix and not shown.startswith(how.prefix):
            return False
        shown = shown.removeprefix(how.prefix or "")
        return signed(secrets, body, from_hex(shown) if how.form == "hex" else from_base64(shown))

    def read(self, headers: Headers, payload: Any) -> Said:
        if self.where.each is None:
            return self._one(headers, payload)
        found = self.where.each.of(headers, payload)
        if not isinstance(found, list):
            return [Untold("", f"there is no list at {self.where.each.written}", payload)]
        return [said for one in found for said in self._one(headers, one)]

    def _one(self, headers: Headers, one: Any) -> Said:
        def at(place: Place | None) -> Any:
            return None if place is None else place.of(headers, one)

        where, customer = self.where, self.where.customer
        topic = text(at(where.topic)) or ""
        event = self.events.get(topic)
        if event == IGNORE:
            return []
        if event is None:
            return [Untold(topic, "unknown topic", one)]
        name = text(at(where.key)) if where.key is not None else _content(one)
        if name is None:
            return [Untold(topic, "it has no key", one)]
        key = f"{topic}:{name}"
        who = Who(
            text(at(customer.id)), text(at(customer.email)), text(at(customer.phone)), text(at(customer.anonymous))
        )
        if not who:
            return [Untold(topic, "it names no customer", one, key)]
        profile = {word: found for word, place in customer.profile.items() if (found := at(place)) is not None}
        properties = {word: found for word, place in where.properties.items() if (found := at(place)) is not None}
        told = Told(
            who, event, key, moment(at(where.time)), properties, profile, self._agreed(at), text(at(where.currency))
        )
        return [told]

    def _agreed(self, at: Any) -> tuple[Agreed, ...]:
        if self.where.marketing is None:
            return ()
        said = (("email", at(self.where.marketing.email)), ("sms", at(self.where.marketing.sms)))
        return tuple(
            Agreed(channel, "on" if found else "off")  # type: ignore[arg-type]
            for channel, found in said
            if isinstance(found, bool)
        )


def _content(one: Any) -> str:
    try:
        written = json.dumps(one, sort_keys=True)
    except RecursionError:
        written = repr(type(one))
    return hashlib.sha256(written.encode()).hexdigest()[:40]
