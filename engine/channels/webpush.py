"""Push messages to browsers: encrypted for the one browser, and signed by the shop, as the standards have it.

Requests: https://www.rfc-editor.org/rfc/rfc8030
Encryption: https://www.rfc-editor.org/rfc/rfc8291 (aes128gcm of RFC 8188)
Who sends (VAPID): https://www.rfc-editor.org/rfc/rfc8292

A customer's push token is the subscription that the browser gives, as JSON: {"endpoint": …, "keys": {"p256dh": …,
"auth": …}}. It comes from outside, so only the push services that are known are ever asked.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, Self
from urllib.parse import urlsplit

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field

from engine.channels import jwt
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
)
from engine.channels.posting import Answer, Poster, Reply, Request, judged
from engine.language.registry import channel

_SERVICES = (
    "fcm.googleapis.com",
    ".push.services.mozilla.com",
    ".notify.windows.com",
    ".push.apple.com",
)
_LARGEST = 3_000
"""Bytes of a message: every push service takes 4,096 with what encryption adds."""
_RECORD = 4_096
_LASTS = timedelta(hours=12)


class WebPushOptions(ChannelOptions):
    """What project.yaml may say beside `provider: webpush`."""

    timeout: float = Field(default=10, gt=0, le=60, description="Seconds to wait for their answer.")
    at_once: int = Field(default=32, ge=1, le=500, description="How many requests are under way at the same time.")
    keep: int = Field(
        default=86_400, ge=0, le=2_419_200, description="Seconds that a push service keeps a message for a browser."
    )


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser is reached, and the keys that it alone can read with."""

    endpoint: str
    public: bytes
    auth: bytes

    @classmethod
    def read(cls, text: str) -> Subscription:
        """ValueError for a push token that is no subscription."""
        try:
            said = orjson.loads(text)
            public, auth = jwt.read(said["keys"]["p256dh"]), jwt.read(said["keys"]["auth"])
            found = cls(str(said["endpoint"]), public, auth)
        except (KeyError, TypeError, AttributeError):
            raise ValueError("this is no subscription of a browser") from None
        if len(found.public) != 65 or len(found.auth) != 16:
            raise ValueError("these are no keys of a browser")
        return found


@channel("webpush")
class WebPush:
    """Sends push messages to browsers."""

    carries: ClassVar[frozenset[str]] = frozenset({"push"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(size=_LARGEST, at_once=32)
    Options: ClassVar[type[ChannelOptions]] = WebPushOptions

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, contact: str, own: str = "", options: WebPushOptions | None = None
    ) -> None:
        self._options = options or WebPushOptions()
        self._key, self._contact, self._own = key, contact, own.rstrip("/")
        self._public = jwt.written(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        self._poster = Poster({}, timeout=self._options.timeout, at_once=self._options.at_once)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, WebPushOptions)
        contact = surroundings.setting("vapid_contact") or ""
        if not contact.startswith(("mailto:", "https://")):
            raise ConfigurationError("web push tells whom to write to: set KARIBU_VAPID_CONTACT, like mailto:it@…")
        key = key_of(surroundings.secret("vapid_private_key") or "")
        return cls(key, contact, surroundings.setting("webpush_service") or "", options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit: list[tuple[int, Subscription]] = []
        for at, message in enumerate(messages):
            try:
                subscription = Subscription.read(message.to)
                ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), subscription.public)
            except ValueError:
                settle(at, Refused("bad_address"))
                continue
            if not self._permitted(subscription.endpoint):
                settle(at, Refused("bad_address: no push service that is known"))
            elif len(_said(message)) > _LARGEST:
                settle(at, Refused("too_large"))
            else:
                fit.append((at, subscription))

        def answered(turn: int, reply: Reply) -> None:
            at, _ = fit[turn]
            settle(at, _result(reply, messages[at]))

        self._poster.post_all([partial(self._request, messages[at], to) for at, to in fit], fresh, answered)

    def close(self) -> None:
        self._poster.close()

    def _permitted(self, endpoint: str) -> bool:
        parts = urlsplit(endpoint)
        if self._own and _origin(endpoint) == self._own:
            return True
        host = parts.hostname or ""
        known = any(host == one or (one.startswith(".") and host.endswith(one)) for one in _SERVICES)
        return parts.scheme == "https" and known and parts.netloc == host

    def _request(self, message: Outgoing, to: Subscription) -> Request:
        headers = {
            "Authorization": f"vapid t={self._token(_origin(to.endpoint), message.at)}, k={self._public}",
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(self._options.keep),
            "Urgency": "high" if message.transactional else "normal",
        }
        # The one place where chance is not a stable hash: a key and a salt that could be guessed would hide nothing.
        return Request(
            to.endpoint, sealed(_said(message), to, ec.generate_private_key(ec.SECP256R1()), os.urandom(16)), headers
        )

    def _token(self, origin: str, now: datetime) -> str:
        until = int((now + _LASTS).timestamp())
        return jwt.token({"aud": origin, "exp": until, "sub": self._contact}, self._key)


def sealed(said: bytes, to: Subscription, ours: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """A message that only this browser can read: the body of the request, one record of aes128gcm."""
    public = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to.public)
    shared = ours.exchange(ec.ECDH(), theirs)
    secret = _derived(to.auth, shared, b"WebPush: info\0" + to.public + public, 32)
    key = _derived(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(salt, secret, b"Content-Encoding: nonce\0", 12)
    head = salt + _RECORD.to_bytes(4, "big") + bytes([len(public)]) + public
    return head + AESGCM(key).encrypt(nonce, said + b"\x02", None)


def key_of(secret: str) -> ec.EllipticCurvePrivateKey:
    """The shop's key: 32 bytes in base64url, as every tool for VAPID writes it. Raises ConfigurationError."""
    try:
        raw = jwt.read(secret)
        if len(raw) != 32:
            raise ValueError
        return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())
    except ValueError:
        raise ConfigurationError(
            "web push needs the private key of the shop: set KARIBU_VAPID_PRIVATE_KEY (32 bytes in base64url)"
        ) from None


def _derived(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def _said(message: Outgoing) -> bytes:
    content = message.content
    return orjson.dumps({"title": content.title, "body": content.body, "url": content.url, "ref": message.ref})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    if reply.status in (404, 410):
        return Refused("gone", ends="gone")
    return judged(
        reply, message.at, lambda answer: Accepted(answer.headers.get("location") or message.ref), lambda _: ""
    )
