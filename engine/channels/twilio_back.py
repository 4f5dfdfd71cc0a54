"""Twilio's callbacks: what became of an SMS or WhatsApp message, and what people write to the shop's number.

Forms, signed with HMAC-SHA1 over the URL and the sorted parameters: https://www.twilio.com/docs/usage/security
Status words: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
Answers: https://www.twilio.com/docs/messaging/guides/webhook-request
Error codes: https://www.twilio.com/docs/api/errors

Twilio keeps no arguments of ours, so our message id stands in the query of the callback's URL, which is signed with the
rest. A callback says no time, so a message has one row of each kind, whenever and however often it comes.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlsplit

from engine.channels.returns import Called, Kind, Reply, Returned, Unreadable
from engine.language.registry import returns

SIGNATURE = "x-twilio-signature"
REF = "ref"
"""Under which our message id stands in the query of a StatusCallback."""

KINDS: Mapping[str, Kind] = {
    "accepted": "processed",
    "scheduled": "processed",
    "queued": "processed",
    "sending": "processed",
    "sent": "processed",
    "delivered": "delivered",
    "read": "opened",
    "undelivered": "bounced",
    "failed": "bounced",
    "canceled": "dropped",
}

NOBODY = frozenset({"21211", "21614", "30005", "30006", "63003", "63024"})
"""Error codes of numbers that can get no message: no such number, a landline, not on WhatsApp. All others may pass."""

STOPPED = "21610"
"""They have answered STOP, and Twilio sends them nothing."""

MOST_FIELDS = 200


@returns("twilio")
class TwilioReturns:
    """Status callbacks and incoming messages, both at one address. Verified with the account's auth token."""

    secret: ClassVar[str] = "twilio_auth_token"
    opens: ClassVar[bool] = False
    answer: ClassVar[tuple[bytes, str]] = (b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>', "text/xml")

    def verify(self, secret: str, called: Called, now: datetime) -> bool:
        shown = called.headers.get(SIGNATURE, "")
        try:
            return hmac.compare_digest(shown.encode(), signature(secret, called.url, called.body).encode())
        except ValueError:
            return False

    def read(self, called: Called) -> Sequence[Returned | Reply]:
        try:
            given = dict(_fields(called.body))
        except ValueError:
            raise Unreadable("the body is no form") from None
        sid = given.get("MessageSid") or given.get("SmsSid") or ""
        status = given.get("MessageStatus") or given.get("SmsStatus") or ""
        if status == "received" or ("Body" in given and status not in KINDS):
            channel, address = _address(given.get("From", ""))
            return [Reply(channel, address, given.get("OptOutType") or given.get("Body", ""), sid)] if address else []
        ref = parse_qs(urlsplit(called.url).query).get(REF, [""])[0]
        kind = KINDS.get(status)
        if kind is None or not ref:
            return []
        code = given.get("ErrorCode", "")
        detail: dict[str, object] = {"code": code} if code.isascii() and code.isdigit() and len(code) < 8 else {}
        if kind == "bounced" and code == STOPPED:
            kind, detail = "dropped", {**detail, "because": "stop"}
        elif kind == "bounced" and code not in NOBODY:
            detail["soft"] = True
        return [Returned(ref, kind, None, sid, _address(given.get("To", ""))[1] or None, detail)]


def signature(token: str, url: str, body: bytes) -> str:
    """What Twilio puts into X-Twilio-Signature for a form posted to this URL. ValueError: the body is no form."""
    signed = url + "".join(f"{name}{value}" for name, value in sorted(set(_fields(body))))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


def _fields(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)


def _address(written: str) -> tuple[str, str]:
    """Channel and number: `whatsapp:+254…` or `+254…`."""
    before, colon, number = written.rpartition(":")
    return ("whatsapp" if colon and before == "whatsapp" else "sms"), number.strip()
