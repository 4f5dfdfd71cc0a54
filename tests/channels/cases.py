"""What the suite of every channel has to know of each: a provider on this machine, and how that one goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.channels.conftest import FakeProvider
from tests.channels.pushed import SECRET, VAPID, service_account

BUSY, BROKEN, MUTE = "too many requests", "an error of theirs", "closed without an answer"


@dataclass(frozen=True)
class Case:
    """`provider`: the fake that it sends to (a file of this directory); `settings`: those that lead there; `fails`: by
    which mode of the fake it goes wrong in one of the three ways; `sure`: whether the channel gets to know why, so that
    it can tell a no from a doubt."""

    provider: str
    settings: Callable[[FakeProvider], Mapping[str, str]]
    fails: Mapping[str, str] = field(
        default_factory=lambda: {
            BUSY: json.dumps({"status": 429}),
            BROKEN: json.dumps({"status": 503}),
            MUTE: "take-reset",
        }
    )
    sure: bool = True


INSIDE = frozenset({"maildir", "memory"})
"""The channels that ask nobody."""

CASES = {
    "sendgrid": Case(
        "sendgrid",
        lambda there: {"sendgrid_api_key": "SG.test", "sendgrid_base_url": there.url},
        {BUSY: "429", BROKEN: "500", MUTE: "accept-reset"},
    ),
    "smtp": Case(
        "fake_smtp",
        lambda there: {"smtp_host": "127.0.0.1", "smtp_port": str(there.port), "smtp_security": "none"},
        {BUSY: "greylist", MUTE: "take-reset"},  # a relay's 5xx is a plain no
    ),
    "twilio": Case(
        "fake_http",
        lambda there: {
            "twilio_account_sid": "AC123",
            "twilio_auth_token": "token",
            "twilio_from": "+254700000000",
            "twilio_base_url": there.url,
        },
    ),
    "telegram": Case("fake_http", lambda there: {"telegram_token": "123:token", "telegram_base_url": there.url}),
    "webhook": Case("fake_http", lambda there: {"webhook_url": f"{there.url}/inbox", "webhook_secret": SECRET}),
    "fcm": Case("fake_http", lambda there: {"fcm_credentials": service_account(there.url), "fcm_base_url": there.url}),
    "webpush": Case(
        "fake_http",
        lambda there: {
            "vapid_private_key": VAPID,
            "vapid_contact": "mailto:it@duka.example",
            "webpush_service": there.url,
        },
    ),
    "apprise": Case("fake_http", lambda there: {"team_ops": f"json://127.0.0.1:{there.port}/notices"}, sure=False),
}
