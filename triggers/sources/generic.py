"""Any JSON webhook: project.yaml says where in it things stand.

    loyalty:
      source: generic
      signed: {header: X-Signature, as: hex}
      each: records
      topic: type
      key: id
      time: at
      currency: {at: currency, default: KES}
      customer: {id: member.number, email: member.email}
      properties: {total: {at: cents, as: minor}, level: member.levels.0.name}
      events: {points.earned: points_earned}
      ignore: {test: true}
      also:
        - {event: signed_up, when: {member.new: true}, key: member.number}

A request, or each of its parts, that `ignore` doesn't leave out tells the event that its topic is called, and those of
`also` whose conditions hold. Places are in places.py, values and conditions in mapped.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from engine.language.errors import Path, Wrong
from engine.language.fields import EventName, FieldName, Model, Text
from engine.language.registry import source
from triggers.sources.base import IGNORE, Agreed, Headers, Said, Source, SourceOptions, Told, Untold, Who
from triggers.sources.mapped import Conditions, Property, Time, Value, hold, read
from triggers.sources.parts import text
from triggers.sources.places import Place, Where
from triggers.sources.signatures import from_base64, from_hex, shown_token, signed


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
    profile: dict[FieldName, Property] = Field(
        default_factory=dict,
        description="Where the rest stands, as for properties: first_name, country, your own attributes.",
    )


class Marketing(Model):
    """Where a yes or no to marketing stands: true or false."""

    email: Where | None = Field(None, description="Where the yes or no to marketing mails stands: true or false.")
    sms: Where | None = Field(None, description="Where the yes or no to marketing by SMS stands.")


class Also(Model):
    """What a request tells besides what its topic is called; what isn't said here is as for the topic."""

    event: EventName = Field(description="The event, of project.yaml.")
    when: Conditions = Field(description="What must stand where, all of it.")
    key: Where | None = Field(None, description="Where the id of what happened stands.")
    time: Time | None = Field(None, description="When it happened.")
    currency: Value | None = Field(None, description="The currency of its amounts.")
    properties: dict[FieldName, Property] | None = Field(None, description="Where each property stands.")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class GenericOptions(SourceOptions):
    """What project.yaml says about a webhook of any form."""

    topic: Value = Field(description="Where it says what happened.")
    customer: Customer = Field(description="Where it says to whom.")
    each: Where | None = Field(None, description="Where the list is, if one request holds many; paths are of an entry.")
    key: Where | None = Field(None, description="Where the id of what happened stands. Default: the content is it.")
    time: Time | None = Field(None, description="When it happened: with its zone, or in Unix seconds. Default: now.")
    currency: Value | None = Field(None, description="Where the currency of its amounts stands. Default: the brand's.")
    properties: dict[FieldName, Property] = Field(
        default_factory=dict,
        description="Where each property stands: a path, or a mapping of at (with as, zone, default), of value, or of "
        "each and fields.",
    )
    marketing: Marketing | None = None
    ignore: Annotated[tuple[Conditions, ...], BeforeValidator(_listed)] = Field(
        (), description="Conditions of what is no event at all, or a list of them, of which one must hold."
    )
    also: tuple[Also, ...] = Field(
        (),
        description="What else it tells: a list of an event and the conditions when, with its own key, time, currency "
        "and properties, if they aren't those of the topic.",
    )
    signed: Signed | None = Field(
        None, description="How it is signed. Default: not, and the secret is shown as Authorization: Bearer."
    )

    @model_validator(mode="after")
    def _minor_units_are_of_a_currency(self) -> GenericOptions:
        _of_a_currency(self.properties, ("properties",), self.currency)
        _of_a_currency(self.customer.profile, ("customer", "profile"), self.currency)
        for n, also in enumerate(self.also):
            _of_a_currency(also.properties or {}, ("also", n, "properties"), also.currency or self.currency)
        return self


def _of_a_currency(values: Mapping[str, Property], path: Path, currency: Value | None) -> None:
    for name, value in values.items():
        for at in value.minor((*path, name)):
            if currency is None:
                hint = "say where it stands, like currency: order.currency, or which: currency: {value: KES}"
                raise Wrong("it isn't said of which currency these minor units are", hint, at=at)


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
        return [
            replace(said, part=one) if isinstance(said, Told) else said
            for one in found
            for said in self._one(headers, one)
        ]

    def again(self, headers: Headers, part: Any) -> Said:
        return self._one(headers, part)

    def _one(self, headers: Headers, one: Any) -> Said:
        if any(hold(conditions, headers, one) for conditions in self.where.ignore):
            return []
        topic = text(self.where.topic.of(headers, one)) or ""
        event = self.events.get(topic)
        also = [each for each in self.where.also if hold(each.when, headers, one)]
        said = [self._told(headers, one, each.event, f"also:{each.event}", each) for each in also]
        if event is None:
            return said or [Untold(topic, "unknown topic", one)]
        return said if event == IGNORE else [self._told(headers, one, event, topic), *said]

    def _told(self, headers: Headers, one: Any, event: str, topic: str, also: Also | None = None) -> Told | Untold:
        def at(place: Place | None) -> Any:
            return None if place is None else place.of(headers, one)

        where, customer, own = self.where, self.where.customer, also or self.where
        place = own.key or where.key
        name = text(at(place)) if place is not None else _content(one)
        if name is None:
            return Untold(topic, "it has no key", one)
        key = f"{topic}:{name}"
        who = Who(
            text(at(customer.id)), text(at(customer.email)), text(at(customer.phone)), text(at(customer.anonymous))
        )
        if not who:
            return Untold(topic, "it names no customer", one, key)
        time, currency = own.time or where.time, own.currency or where.currency
        try:
            happened = None if time is None else time.of(headers, one)
        except ValueError:
            return Untold(topic, "its time can't be read, or names no zone", one, key)
        money = text(currency.of(headers, one)) if currency is not None else None
        units = money and money.upper()
        properties = where.properties if own.properties is None else own.properties
        return Told(
            who,
            event,
            key,
            happened,
            read(properties, headers, one, units),
            read(customer.profile, headers, one, units),
            self._agreed(at),
            money,
            first=also is not None,
            topic=topic,
        )

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
