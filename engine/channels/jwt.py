"""Signed tokens that say who asks (RFC 7519), as Google and the push services of browsers want them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def token(claims: Mapping[str, object], key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """A token signed with RS256 or, by a P-256 key, with ES256."""
    way = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    said = f"{written(orjson.dumps({'alg': way, 'typ': 'JWT'}))}.{written(orjson.dumps(dict(claims)))}"
    if isinstance(key, rsa.RSAPrivateKey):
        mark = key.sign(said.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = decode_dss_signature(key.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
        mark = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{said}.{written(mark)}"


def written(raw: bytes) -> str:
    """Bytes in base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def read(text: str) -> bytes:
    """The other way round. ValueError."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
