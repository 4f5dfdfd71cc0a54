"""The calls of a journey: a request made of what the step says, and what is kept of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import orjson
from babel.numbers import get_currency_precision

from engine.channels.base import Outgoing, Request, Result, Secret, Sender
from engine.cohort.filled import fill, text_of
from engine.language.errors import Wrong
from engine.language.holes import Hole
from engine.language.types import Kind, Money, Type
from engine.language.values import stored
from engine.language.vocabulary import Vocabulary
from engine.rendering.values import Rendered, RenderError
from engine.runtime.settling import Settled
from engine.steps.call import Asked, secrets_in

if TYPE_CHECKING:
    from engine.runtime.letters import Letter

LARGEST = 64 * 1024
"""Bytes of a request's body."""
KEPT = 8 * 1024
"""Bytes that are kept of an answer."""


class Caller(Protocol):
    """Who asks other systems."""

    def send(self, message: Outgoing) -> Result:
        """Ask what the message's `request` says. Never raises for what they do."""
        ...


def made(letter: Letter, sender: Sender, now: datetime) -> Outgoing:
    """A call ready to go. Raises RenderError when it can't be made."""
    assert letter.call is not None
    return Outgoing(
        ref=letter.ref,
        channel=letter.channel,
        to=letter.call.host,
        content=Rendered(channel="call"),
        sender=sender,
        at=now,
        topic=letter.topic,
        labels={"journey": letter.journey, "step": letter.step},
        request=request(letter.call, letter.values["_calls"], letter.key),
    )


def request(asked: Asked, results: Mapping[str, Any], key: str) -> Request:
    """The request, with the results of its expressions in place. In a URL each is one piece of it, whatever is in it.
    Raises RenderError."""
    url = text_of(asked.url, results, lambda value: quote(said(value), safe=""))
    if asked.url.count("{{") and any(part in (".", "..") for part in url.partition("?")[0].split("/")):
        raise RenderError("wrong_type", "a value would lead out of the URL's path")
    body = None
    if asked.json_ is not None:
        body = orjson.dumps(_filled(asked.json_, results))
        if len(body) > LARGEST:
            raise RenderError("too_big", "the json of a call is larger than 64 KiB")
    headers = tuple(
        (name, tuple(Secret(part.text) if isinstance(part, Hole) else part for part in secrets_in(text)))
        for name, text in asked.headers.items()
    )
    return Request(asked.asks_with, url, headers, body, key, asked.repeatable)


def _filled(value: Any, results: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(inner, results) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, results) for inner in value]
    return _plain(fill(value, results, said))


def _plain(value: Any) -> Any:
    """A value as JSON: amounts as numbers of the currency's unit, moments and dates as ISO 8601."""
    if isinstance(value, Money):
        amount = _amount(value)
        return int(amount) if amount == amount.to_integral_value() else float(amount)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | bool | int | float) or value is None else str(value)


def said(value: Any) -> str:
    """A value inside a text that a machine reads: no locale's commas, no currency's sign."""
    if isinstance(value, Money):
        return f"{_amount(value):f}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _amount(value: Money) -> Decimal:
    return Decimal(value.minor).scaleb(-get_currency_precision(value.currency))


def kept(settled: Settled, asked: Asked, answer: bytes | None, vocabulary: Vocabulary) -> Settled:
    """The record of a call that was taken, with what is kept of its answer; when nothing is, the reason says why."""
    if asked.save is None:
        return settled
    try:
        given = orjson.loads(answer or b"")
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, Mapping):
        return settled._replace(reason="answer: no JSON object")
    text = orjson.dumps(_of(given, Type(Kind.OBJECT, tuple(asked.answer.items())), vocabulary))
    if len(text) > KEPT:
        return settled._replace(reason="answer: too large to be kept")
    return settled._replace(kept=text.decode())


def _of(value: Any, type_: Type, vocabulary: Vocabulary) -> Any:
    """A part of an answer in its kept form; None, missing, where it is of another type than was declared."""
    if type_.kind is Kind.LIST:
        inner = replace(type_, kind=Kind.OBJECT)
        if not isinstance(value, list):
            return None
        return [one for item in value if (one := _of(item, inner, vocabulary)) is not None]
    if type_.kind is Kind.OBJECT:
        if not isinstance(value, Mapping):
            return None
        parts = {name: _of(value.get(name), inner, vocabulary) for name, inner in type_.fields}
        return {name: part for name, part in parts.items() if part is not None}
    try:
        return None if value is None else stored(value, type_, vocabulary.digits, vocabulary.timezone)
    except Wrong:
        return None
