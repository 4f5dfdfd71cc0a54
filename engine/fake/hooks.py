"""The webhooks of the fake provider: proved as SendGrid, Twilio and Telegram prove them, and lost, doubled or late by
its behaviour.

Told again a few times when nobody answers, as all do for longer. Only to this machine.
"""

from __future__ import annotations

import base64
import heapq
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from engine.channels.sendgrid_back import SIGNATURE, TIMESTAMP
from engine.channels.telegram_back import PROOF
from engine.channels.twilio_back import SIGNATURE as TWILIO_SIGNATURE
from engine.channels.twilio_back import signature
from engine.fake.behaviour import Behaviour, local

KEY_FILE = "webhook-key.pem"
TRIES = 6
"""Posts of one webhook, at most; each waits twice as long as the one before."""


def key_of(directory: Path) -> ec.EllipticCurvePrivateKey:
    """The key that SendGrid's events are signed with, made once."""
    file = directory / KEY_FILE
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.touch(0o600)
        file.write_bytes(pem)
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def shown(key: ec.EllipticCurvePrivateKey) -> str:
    """The public half, as SendGrid's page shows it."""
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def signed(key: ec.EllipticCurvePrivateKey, body: bytes, at: int) -> dict[str, str]:
    """The headers of a batch of SendGrid's events."""
    made = key.sign(str(at).encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        TIMESTAMP: str(at),
        SIGNATURE: base64.b64encode(made).decode(),
        "content-type": "application/json",
    }


class Postman:
    """Posts webhooks at their time, one after the other, in a thread of its own."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, behaviour: Callable[[], Behaviour]) -> None:
        self._key, self._behaviour = key, behaviour
        self._chance = random.Random()
        self._waiting: list[tuple[float, int, int, Callable[[], tuple[str, dict[str, str], bytes]]]] = []
        self._numbers = count()
        self._changed = threading.Condition()
        self._client = httpx2.Client(timeout=10, trust_env=False, follow_redirects=False)
        threading.Thread(target=self._work, daemon=True).start()

    def events(self, batch: list[dict[str, Any]], after: float) -> None:
        """SendGrid's events, so many seconds from now; nothing if there is nowhere to post them."""

        def make() -> tuple[str, dict[str, str], bytes]:
            body = json.dumps(batch).encode()
            return self._behaviour().hook or "", signed(self._key, body, int(time.time())), body

        if self._behaviour().hook:
            self._post(make, after)

    def form(self, url: str, given: Mapping[str, str], after: float) -> None:
        """A form of Twilio's to this address."""
        body = urlencode(given).encode()
        headers = {
            TWILIO_SIGNATURE: signature(self._behaviour().twilio_token, url, body),
            "content-type": "application/x-www-form-urlencoded",
        }
        if local(url):
            self._post(lambda: (url, headers, body), after)

    def update(self, url: str, given: Mapping[str, Any], after: float) -> None:
        """An update of Telegram's to this address."""
        body = json.dumps(given).encode()
        headers = {PROOF: self._behaviour().telegram_secret, "content-type": "application/json"}
        if local(url):
            self._post(lambda: (url, headers, body), after)

    def _post(self, make: Callable[[], tuple[str, dict[str, str], bytes]], after: float) -> None:
        how = self._behaviour()
        if self._chance.random() < how.lost:
            return
        if self._chance.random() < how.late:
            after += how.late_s
        for _ in range(2 if self._chance.random() < how.twice else 1):
            self._wait(time.monotonic() + after, 1, make)

    def _wait(self, at: float, tries: int, make: Callable[[], tuple[str, dict[str, str], bytes]]) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (at, next(self._numbers), tries, make))
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting or self._waiting[0][0] > time.monotonic():
                    soon = self._waiting[0][0] - time.monotonic() if self._waiting else None
                    self._changed.wait(soon)
                _, _, tries, make = heapq.heappop(self._waiting)
            if not self._told(*make()) and tries < TRIES:
                self._wait(time.monotonic() + 2**tries / 2, tries + 1, make)

    def _told(self, url: str, headers: dict[str, str], body: bytes) -> bool:
        """Whether it was taken, or certainly never will be."""
        try:
            status = self._client.post(url, content=body, headers=headers).status_code
        except httpx2.HTTPError:
            return False
        return status < 500 and status not in (408, 429)
