"""What providers call back about, as they document it, and how each signs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec

from engine.channels import sendgrid_back, telegram_back, twilio_back
from engine.channels.returns import Called
from engine.fake import chats
from engine.fake.hooks import shown, signed

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
URL = "https://shop.example/hooks/{}/events"
KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
TOKEN = "an auth token of the account"
SECRET = "a-secret_token-of-setWebhook"
CHAT = "123456789"


def mail_event(name: str, ref: str = "1-1", at: int = AT, **more: Any) -> dict[str, Any]:
    """One of SendGrid's events."""
    common = {"email": "a@shop.example", "timestamp": at, "sg_event_id": f"e-{name}", "sg_message_id": "sg-1.filter"}
    return {**common, "event": name, "karibu_ref": ref, **more}


def mails(*events: Mapping[str, Any], key: ec.EllipticCurvePrivateKey = KEY, at: int = AT) -> Called:
    body = json.dumps(events).encode()
    return Called(URL.format("sendgrid"), signed(key, body, at), body)


def text(ref: str = "1-2", token: str = TOKEN, **given: str) -> Called:
    """One of Twilio's forms."""
    url = URL.format("twilio") + (f"?ref={ref}" if ref else "")
    form = {"MessageSid": "SM1", "AccountSid": "AC1", "From": "+15550001111", "To": "+254712345678", **given}
    body = urlencode(form).encode()
    return Called(url, {twilio_back.SIGNATURE: twilio_back.signature(token, url, body)}, body)


def wrote(said: str, at: int = AT, number: int = 7, **more: Any) -> dict[str, Any]:
    """One of Telegram's updates: somebody has written to the bot."""
    return {"update_id": number, "message": chats.written(CHAT, number, said, at)["message"] | more}


def stands(status: str, at: int = AT, number: int = 8) -> dict[str, Any]:
    """Another: somebody has blocked the bot, or let it in."""
    return chats.standing(CHAT, number, status, at)


def update(given: Any, secret: str = SECRET) -> Called:
    return Called(URL.format("telegram"), {telegram_back.PROOF: secret}, json.dumps(given).encode())


@dataclass(frozen=True)
class Sample:
    """A provider's hook: a genuine request about the message 1-1, with what it says; the same from somebody else; the
    headers that prove it, and whether the moment is one of the things that were signed."""

    secret: str
    genuine: Callable[[], Called]
    forged: Callable[[], Called]
    kinds: tuple[str, ...]
    proofs: tuple[str, ...]
    dated: bool
    signed: bool = True
    """Whether the body is one of them, too."""


SAMPLES: dict[str, Sample] = {
    "sendgrid": Sample(
        shown(KEY),
        lambda: mails(mail_event("delivered"), mail_event("open")),
        lambda: mails(mail_event("delivered"), mail_event("open"), key=OTHER_KEY),
        ("delivered", "opened"),
        (sendgrid_back.SIGNATURE, sendgrid_back.TIMESTAMP),
        True,
    ),
    "twilio": Sample(
        TOKEN,
        lambda: text("1-1", MessageStatus="delivered"),
        lambda: text("1-1", "another token", MessageStatus="delivered"),
        ("delivered",),
        (twilio_back.SIGNATURE,),
        False,
    ),
    "telegram": Sample(
        SECRET,
        lambda: update(wrote("Is it open?")),
        lambda: update(wrote("Is it open?"), "another secret"),
        (),
        (telegram_back.PROOF,),
        False,
        signed=False,
    ),
}
"""A provider's hook gets its line here, or the test of every return fails."""
