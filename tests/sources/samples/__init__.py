"""A genuine request of each source: its payload, what makes its headers genuine, and the event it is.

A source that is registered and has no sample here fails the suite: `<name>.json`, and its signature in `SIGNED`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.builtins import registry

SECRET = "the secret of the tests"
HERE = Path(__file__).parent

Sign = Callable[[bytes, str, datetime], dict[str, str]]


def _mac(body: bytes, secret: str, digest: Any = hashlib.sha256) -> bytes:
    return hmac.new(secret.encode(), body, digest).digest()


SIGNED: Mapping[str, Sign] = {
    "shopify": lambda body, secret, now: {"X-Shopify-Hmac-SHA256": base64.b64encode(_mac(body, secret)).decode()},
    "woocommerce": lambda body, secret, now: {"X-WC-Webhook-Signature": base64.b64encode(_mac(body, secret)).decode()},
    "stripe": lambda body, secret, now: {
        "Stripe-Signature": (
            f"t={now.timestamp():.0f},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39,"
            f"v1={_mac(f'{now.timestamp():.0f}.'.encode() + body, secret).hex()}"
        )
    },
    "cloudevents": lambda body, secret, now: {"Authorization": f"Bearer {secret}"},
    "segment": lambda body, secret, now: {"X-Signature": _mac(body, secret, hashlib.sha1).hex()},
    "generic": lambda body, secret, now: {"X-Hub-Signature-256": f"sha256={_mac(body, secret).hex()}"},
}
"""Each source's signature, written out here a second time."""


@dataclass(frozen=True)
class Sample:
    """`options`: what project.yaml says of the source; `again`: headers that another delivery of it has; `unknown`: a
    request of a topic nobody has named; `event`: what is kept of it."""

    name: str
    options: dict[str, Any]
    headers: dict[str, str]
    again: dict[str, str]
    unknown: dict[str, Any]
    payload: Any
    event: dict[str, Any]
    signs_body: bool = True

    @property
    def body(self) -> bytes:
        return json.dumps(self.payload).encode()

    def signed(self, body: bytes, now: datetime, secret: str = SECRET, **more: str) -> dict[str, str]:
        """The headers of a genuine request with this body."""
        return {**self.headers, **more, **SIGNED[self.name](body, secret, now)}


def sample(name: str) -> Sample:
    return Sample(name, **json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")))


NAMES = sorted(registry().sources)

__all__ = ["NAMES", "SECRET", "SIGNED", "Sample", "sample"]
