"""Messages as signed webhooks to a system of the shop's own, which carries them as it likes.

Signed as Standard Webhooks has it: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
The address is a setting of whoever runs Karibu and of nobody else: no journey, template or customer has a say in where
this goes, so it may lie inside. `webhook-id` is the message's id; a repeat carries the same one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import ClassVar, Self
from urllib.parse import urlsplit

import orjson
from pydantic import Field

from engine.channels import mime
from engine.channels.base import (
    Accepted,
    ChannelOptions,
    ConfigurationError,
    Fresh,
    Limits,
    Outgoing,
    Refused,
    Result,
    Settle,
    Surroundings,
    alone,
    is_here,
)
from engine.channels.posting import Answer, Poster, Reply, Request, judged
from engine.language.fields import CHANNELS
from engine.language.registry import channel

_PREFIX = "whsec_"
_SHORTEST = 24


class WebhookOptions(ChannelOptions):
    """What project.yaml may say beside `provider: webhook`."""

    timeout: float = Field(default=15, gt=0, le=60, description="Seconds to wait for their answer.")
    at_once: int = Field(default=8, ge=1, le=200, description="How many requests are under way at the same time.")


@channel("webhook")
class Webhook:
    """Posts every message as signed JSON to KARIBU_WEBHOOK_URL."""

    carries: ClassVar[frozenset[str]] = frozenset(CHANNELS)
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(at_once=8)
    Options: ClassVar[type[ChannelOptions]] = WebhookOptions

    def __init__(self, url: str, key: bytes, options: WebhookOptions | None = None) -> None:
        options = options or WebhookOptions()
        self._url, self._key = url, key
        headers = {"Content-Type": "application/json"}
        self._poster = Poster(headers, timeout=options.timeout, at_once=options.at_once)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, WebhookOptions)
        url, secret = surroundings.setting("webhook_url") or "", surroundings.secret("webhook_secret") or ""
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ConfigurationError("the webhook channel needs an address: set KARIBU_WEBHOOK_URL")
        if parts.scheme == "http" and not is_here(parts.hostname):
            raise ConfigurationError("messages must not cross the net in the clear: KARIBU_WEBHOOK_URL needs https://")
        return cls(url, key_of(secret), options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit = []
        for at, message in enumerate(messages):
            try:
                check(message)
                fit.append(at)
            except ValueError as error:
                settle(at, Refused(f"content: {error}"))

        def answered(turn: int, reply: Reply) -> None:
            settle(fit[turn], _result(reply, messages[fit[turn]]))

        self._poster.post_all([partial(self._request, messages[at]) for at in fit], fresh, answered)

    def close(self) -> None:
        self._poster.close()

    def _request(self, message: Outgoing) -> Request:
        body = orjson.dumps(told(message))
        return Request(self._url, body, signed(self._key, message.ref, message.at, body))


def check(message: Outgoing) -> None:
    """ValueError for what no system behind this one could send."""
    if message.channel == "email":
        mime.check_address(message.to)
        mime.check_header(message.content.subject)
    elif not message.to:
        raise ValueError("there is no address")


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    return judged(reply, message.at, lambda answer: Accepted(message.ref), lambda answer: "")


def told(message: Outgoing) -> dict[str, object]:
    """What the other side gets to know."""
    content = message.content
    shown: dict[str, dict[str, object]] = {
        "email": {"subject": content.subject, "html": content.html, "text": content.text},
        "push": {"title": content.title, "body": content.body, "url": content.url},
        "whatsapp": {"text": content.text, "content": content.template_id, "variables": dict(content.variables)},
    }
    return {
        "type": f"message.{message.channel}",
        "timestamp": message.at.isoformat(),
        "data": {
            "id": message.ref,
            "to": message.to,
            "name": message.to_name,
            "topic": message.topic,
            "transactional": message.transactional,
            "unsubscribe_url": message.unsubscribe_url,
            **shown.get(message.channel, {"text": content.text}),
        },
    }


def signed(key: bytes, ref: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """The three headers of a signed webhook."""
    seconds = str(int(at.timestamp()))
    mac = hmac.digest(key, b".".join((ref.encode(), seconds.encode(), body)), "sha256")
    return {
        "webhook-id": ref,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def key_of(secret: str) -> bytes:
    """The key in a secret like whsec_…, base64. Raises ConfigurationError."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= 64:
        raise ConfigurationError(
            f"KARIBU_WEBHOOK_SECRET must be whsec_ and {_SHORTEST} to 64 bytes by chance in base64: "
            "echo whsec_$(openssl rand -base64 32)"
        )
    return key
