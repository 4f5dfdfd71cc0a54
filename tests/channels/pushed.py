"""What it takes to be pushed to: a service account, a shop's key, and a browser that can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from engine.channels import jwt

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
VAPID = jwt.written(bytes(range(1, 33)))


@cache
def service_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def service_account(url: str) -> str:
    """The file of a service account whose tokens come from this server."""
    plain = service_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {"project_id": "duka", "client_email": "karibu@duka.example", "private_key": plain, "token_uri": f"{url}/token"}
    )


@dataclass(frozen=True)
class Browser:
    """A browser with its keys, subscribed at a push service."""

    key: ec.EllipticCurvePrivateKey
    auth: bytes
    endpoint: str

    @classmethod
    def of(cls, url: str) -> Browser:
        return cls(ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef", f"{url}/push/1")

    @property
    def subscription(self) -> str:
        public = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": jwt.written(public), "auth": jwt.written(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "keys": keys})

    def read(self, body: bytes) -> dict[str, str]:
        """What a message says, as the reference implementation of the encryption reads it."""
        said: dict[str, str] = json.loads(
            http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        )
        return said
