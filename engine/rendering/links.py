"""Unsubscribe links: who, which channel and which topic, signed, so that a link needs no login and nobody can make one.

A link doesn't expire: a mail is opened when it is opened, and a way out that has closed is no way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

PATH = "/u/"
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a link ends: this customer's (external id) consent for this topic on this channel; `locale` is for the
    page that says so."""

    customer: str
    channel: str
    topic: str
    locale: str = ""


class Subscriptions:
    """Makes and reads links. `keys`: the secrets, oldest first; the last one signs, all are accepted, so that keys
    can change.

    `url` is where the engine's web side is reached from outside. ValueError without a key, or with one that is too
    short.
    """

    def __init__(self, keys: Sequence[str], url: str) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("links are signed with a key of at least 16 characters")
        self._url = url.rstrip("/")
        self._signed = URLSafeSerializer(
            list(keys), salt="karibu.unsubscribe", signer_kwargs={"key_derivation": "hmac", "digest_method": sha256}
        )

    def link(self, subscription: Subscription) -> str:
        one = subscription
        token = self._signed.dumps([one.customer, one.channel, one.topic, one.locale])
        return f"{self._url}{PATH}{token.decode() if isinstance(token, bytes) else token}"

    def read(self, token: str) -> Subscription | None:
        """What a token says; None for one that was not made here, or not exactly like this."""
        match loaded(self._signed, token, _LONGEST):
            case [str(customer), str(channel), str(topic), str(locale)]:
                return Subscription(customer, channel, topic, locale)
        return None


def loaded(signed: URLSafeSerializer, token: str, longest: int) -> Any:
    """What a token of at most so many characters says; None for one that was not made with this, or not exactly like
    this."""
    if len(token) > longest or not token.isascii():
        return None
    signature = token.rpartition(".")[2]
    try:
        # The last character of base64 has spare bits: a token altered there would still verify.
        if base64_encode(base64_decode(signature)).decode() != signature:
            return None
        return signed.loads(token)
    except BadData:
        return None
