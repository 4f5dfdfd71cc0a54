"""Twilio's side: which messages it would take, and how it answers.

https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PATH = re.compile(r"/2010-04-01/Accounts/([A-Za-z0-9]+)/Messages\.json")
_NUMBER = re.compile(r"(?:whatsapp:)?\+[1-9][0-9]{6,14}")
LONGEST = 1600


def fault(form: Mapping[str, str]) -> tuple[int, str] | None:
    """The error code and text of what their documentation would refuse, None for a message in order."""
    if not form.get("To"):
        return 21604, "A 'To' phone number is required."
    if not _NUMBER.fullmatch(form["To"]):
        return 21211, "Invalid 'To' Phone Number"
    if not (form.get("From") or form.get("MessagingServiceSid")):
        return 21603, "A 'From' phone number is required."
    if not (form.get("Body") or form.get("ContentSid") or form.get("MediaUrl")):
        return 21602, "Message body is required."
    if len(form.get("Body", "")) > LONGEST:
        return 21617, "The concatenated message body exceeds the 1600 character limit"
    return None


def refusal(code: int, text: str, status: int = 400) -> dict[str, Any]:
    """How they tell an error."""
    return {
        "code": code,
        "message": text,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }


def sid(number: int) -> str:
    """The id of the message of this number."""
    return f"SM{number:032x}"


def resource(form: Mapping[str, str], account: str, number: int) -> dict[str, Any]:
    """A message that was taken, as they answer with it."""
    return {
        "sid": sid(number),
        "account_sid": account,
        "status": "queued",
        "to": form["To"],
        "from": form.get("From"),
        "messaging_service_sid": form.get("MessagingServiceSid"),
        "body": form.get("Body"),
        "num_segments": "1",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
    }
