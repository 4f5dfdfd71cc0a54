"""SendGrid's Event Webhook: what became of the mails it took.

A batch of events as JSON, signed with ECDSA over the timestamp's header and the body's own bytes:
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event

Our message id was sent as a custom argument, and stands in each event. Their `sg_event_id` may change when a batch is
sent again, so an event is known by its message, kind, time and link.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, ClassVar

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from engine.channels.returns import Called, Kind, Returned, Unreadable
from engine.channels.sendgrid import REF
from engine.language.registry import returns

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

OLDEST = timedelta(hours=26)
"""They repeat a batch for a day, and don't say whether it is signed anew. What is older was kept by somebody else."""

AHEAD = timedelta(minutes=10)
"""Their clock and ours may differ by so much."""

SECOND = timedelta(microseconds=999_999)
"""They tell whole seconds. At the end of its second nothing comes before what it follows: a mail is opened after it was
sent, and after its reader began to be waited for. (What would be in the future is now.)"""

KINDS: Mapping[str, Kind] = {
    "processed": "processed",
    "deferred": "deferred",
    "delivered": "delivered",
    "dropped": "dropped",
    "bounce": "bounced",
    "open": "opened",
    "click": "clicked",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
}

BECAUSE = {
    "Bounced Address": "bounced",
    "Spam Reporting Address": "complained",
    "Unsubscribed Address": "unsubscribed",
}
"""Why they drop a mail, where that is a reason for us, too, to send nothing more there."""

LONGEST_URL = 2_000


@returns("sendgrid")
class SendGridReturns:
    """The Event Webhook. Its verification key is the one that SendGrid's page shows under Signed Event Webhook."""

    secret: ClassVar[str] = "sendgrid_webhook_key"
    opens: ClassVar[bool] = True
    answer: ClassVar[tuple[bytes, str]] = (b"{}", "application/json")

    def verify(self, secret: str, called: Called, now: datetime) -> bool:
        said = called.headers.get(TIMESTAMP, "")
        if not (said.isascii() and said.isdigit() and len(said) < 12):
            return False
        age = now - datetime.fromtimestamp(int(said), UTC)
        if not -AHEAD <= age <= OLDEST:
            return False
        try:
            signature = base64.b64decode(called.headers.get(SIGNATURE, ""), validate=True)
            _key(secret).verify(signature, said.encode() + called.body, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, binascii.Error, ValueError, UnsupportedAlgorithm):
            return False
        return True

    def read(self, called: Called) -> Sequence[Returned]:
        try:
            batch = orjson.loads(called.body)
        except orjson.JSONDecodeError:
            raise Unreadable("the body is no JSON") from None
        if not isinstance(batch, list):
            raise Unreadable("the body is no list of events")
        return [one for said in batch if isinstance(said, dict) and (one := _read(said)) is not None]


@lru_cache(8)
def _key(secret: str) -> ec.EllipticCurvePublicKey:
    """Their key, as they show it: base64 of DER. ValueError for any other."""
    key = load_der_public_key(base64.b64decode(secret, validate=True))
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("this is no key of an elliptic curve")
    return key


def _read(said: Mapping[str, Any]) -> Returned | None:
    """One event; None for one about no message of ours, or that says nothing of it."""
    name, ref, at, address = (said.get(field) for field in ("event", REF, "timestamp", "email"))
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(ref, str) or isinstance(at, bool) or not isinstance(at, int):
        return None
    if not 0 <= at < 2**36:
        return None
    if kind == "opened" and said.get("sg_machine_open") is True:
        kind = "machine_opened"
    key, detail = str(at), _detail(name, said)
    if "url" in detail:
        key += ":" + sha256(str(said["url"]).encode(errors="replace")).hexdigest()[:16]
    moment = datetime.fromtimestamp(at, UTC) + SECOND
    return Returned(ref, kind, moment, key, address if isinstance(address, str) else None, detail)


def _detail(name: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth keeping. Not their texts, which quote addresses, nor where somebody read their mail."""
    detail: dict[str, Any] = {}
    url, status, why = (said.get(field) for field in ("url", "status", "reason"))
    if name == "click" and isinstance(url, str):
        detail["url"] = url[:LONGEST_URL].replace("\0", "")
    if name == "bounce" and said.get("type") == "blocked":
        detail["soft"] = True
    if name == "dropped" and isinstance(why, str) and why in BECAUSE:
        detail["because"] = BECAUSE[why]
    if name == "unsubscribe":
        detail["all"] = True
    if name in ("bounce", "deferred") and isinstance(status, str) and _is_status(status):
        detail["status"] = status
    return detail


def _is_status(text: str) -> bool:
    """Whether it is an enhanced status code, like 5.1.1 (RFC 3463)."""
    return len(text) <= 12 and text.isascii() and text.replace(".", "").isdigit()
