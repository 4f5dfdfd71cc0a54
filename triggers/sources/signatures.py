"""Signatures on a raw body, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence


def signed(secrets: Sequence[str], body: bytes, shown: bytes | None, digest: str = "sha256") -> bool:
    """Whether `shown` is the HMAC of the body under one of the secrets. An empty secret signs nothing."""
    if not shown:
        return False
    # Every secret is tried, so that the time it takes doesn't tell which one fits.
    found = [hmac.compare_digest(hmac.new(one.encode(), body, digest).digest(), shown) for one in secrets if one]
    return any(found)


def shown_token(secrets: Sequence[str], token: str) -> bool:
    """Whether the token is one of the secrets."""
    given = hashlib.sha256(token.encode()).digest()
    found = [hmac.compare_digest(hashlib.sha256(one.encode()).digest(), given) for one in secrets if one]
    return any(found)


def from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None


def from_hex(text: str) -> bytes | None:
    try:
        return binascii.unhexlify(text.encode("ascii"))
    except (binascii.Error, ValueError):
        return None
