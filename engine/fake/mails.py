"""SendGrid's side: which mails it would take, and what its Event Webhook tells of them.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

_RESERVED = {"received", "to", "from", "subject", "content-type", "reply-to", "cc", "bcc", "dkim-signature"}
_LINK = re.compile(r"""<a\b[^>]*?\bhref\s*=\s*["'](https?://[^"']+)["']""", re.IGNORECASE)


def fault(mail: Any) -> str | None:
    """The field their documentation would refuse, None for a mail in order."""
    if not isinstance(mail, dict):
        return "body"
    personalizations = mail.get("personalizations")
    if not isinstance(personalizations, list) or not 1 <= len(personalizations) <= 1000:
        return "personalizations"
    for person in personalizations:
        to = person.get("to")
        if not isinstance(to, list) or not to or not all(map(_liked, to)):
            return "personalizations.0.to"
        if any(not isinstance(value, str) for value in person.get("custom_args", {}).values()):
            return "personalizations.0.custom_args"
        if sum(len(name) + len(value.encode()) for name, value in person.get("substitutions", {}).items()) > 10_000:
            return "personalizations.0.substitutions"
        if any(name.lower() in _RESERVED for name in person.get("headers", {})):
            return "personalizations.0.headers"
    if "@" not in mail.get("from", {}).get("email", ""):
        return "from"
    if not mail.get("subject") and any(not person.get("subject") for person in personalizations):
        return "subject"
    content = mail.get("content")
    if not isinstance(content, list) or not content or any(not part.get("value") for part in content):
        return "content"
    types = [part.get("type") for part in content]
    if "text/plain" in types and types[0] != "text/plain":
        return "content"
    if any(name.lower() in _RESERVED for name in mail.get("headers", {})):
        return "headers"
    return None


def _liked(to: Mapping[str, str]) -> bool:
    """Whether they would write to it; an address that begins with `refused` costs its whole request."""
    email = to.get("email", "")
    return "@" in email and not email.startswith("refused")


@dataclass(frozen=True)
class Recipient:
    """One mail of a request: `args` are its custom arguments, `links` what can be clicked in it."""

    email: str
    args: Mapping[str, str]
    links: tuple[str, ...]
    number: int
    place: int

    @property
    def name(self) -> str:
        """What chance is made of: the same for the same mail, whenever it is sent."""
        return ",".join(self.args.values()) or self.email

    def event(self, name: str, at: int, **more: Any) -> dict[str, Any]:
        """One event as their webhook tells it."""
        return {
            **self.args,
            "email": self.email,
            "timestamp": at,
            "event": name,
            "sg_event_id": f"event-{self.number}-{self.place}-{name}-{at}",
            "sg_message_id": f"sg-{self.number}.fake-{self.place}",
            **more,
        }


def recipients(mail: Mapping[str, Any], number: int) -> Iterator[Recipient]:
    """Whom a request goes to."""
    html = next((part["value"] for part in mail["content"] if part["type"] == "text/html"), "")
    for place, person in enumerate(mail["personalizations"]):
        headers = {**mail.get("headers", {}), **person.get("headers", {})}
        way_out = str(headers.get("List-Unsubscribe", "")).strip("<>")
        filled = html
        for mark, value in person.get("substitutions", {}).items():
            filled, way_out = filled.replace(mark, value), way_out.replace(mark, value)
        links = dict.fromkeys(unescape(link) for link in _LINK.findall(filled))
        args = {**mail.get("custom_args", {}), **person.get("custom_args", {})}
        found = tuple(link for link in links if link != way_out)
        yield Recipient(person["to"][0]["email"], args, found, number, place)
