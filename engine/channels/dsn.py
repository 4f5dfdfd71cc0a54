"""Mails that come back: delivery reports (RFC 3464) and complaints (RFC 5965), in our words. Pure.

Our message id, with our mark, is the left part of the Message-ID, which a report quotes with the mail's headers.
Anybody can write such a report, so it is believed only where the mark is ours, and it names the address that the
message went to (engine/web/returns.py).

https://www.rfc-editor.org/rfc/rfc3464 · https://www.rfc-editor.org/rfc/rfc5965 · codes: RFC 3463, RFC 5248
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from email.utils import parseaddr, parsedate_to_datetime

from engine.channels.returns import Kind, Returned

LARGEST = 10_000_000
"""Bytes of a report that are read; the mail that came back may hang on it."""

_MESSAGE_ID = re.compile(r"<\s*([A-Za-z0-9_.-]{1,200})@")
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")
_MOST_PARTS = 200

GONE = re.compile(r"5\.(1\.(0|1|2|3|4|6|10)|2\.1)")
"""Status codes of addresses that take no mail, now or later. All others (full, too large, refused for its content, a
server in trouble) may pass."""


def read(raw: bytes) -> Sequence[Returned]:
    """What a mail reports of messages of ours; nothing for any other mail. Never raises."""
    try:
        whole = message_from_bytes(raw, policy=compat32)
        if whole.get_content_type() != "multipart/report":
            return []
        parts = [part for part, _ in zip(whole.walk(), range(_MOST_PARTS), strict=False)]
        ref = next(filter(None, map(_ref, parts)), None)
        if ref is None:
            return []
        return list({(one.kind, one.address): one for one in _told(parts, ref, _at(whole))}.values())
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # the parser of odd mails has odd faults
        return []


def _told(parts: Sequence[Message], ref: str, at: datetime | None) -> Iterator[Returned]:
    for part in parts:
        match part.get_content_type():
            case "message/delivery-status":
                for one in _blocks(part):
                    yield from _recipient(one, ref, at)
            case "message/feedback-report":
                for one in _blocks(part):
                    if str(one.get("Feedback-Type", "")).strip().lower() == "abuse":
                        address = _address(one.get("Original-Rcpt-To")) or _original_to(parts)
                        yield Returned(ref, "complained", at, "report", address)


def _recipient(block: Message, ref: str, at: datetime | None) -> Iterator[Returned]:
    """What a report tells of one recipient."""
    action = str(block.get("Action", "")).strip().lower()
    status = _status(block.get("Status"))
    if status.endswith(".0.0"):  # says nothing; what the other server answered may say more
        status = _status(block.get("Diagnostic-Code")) or status
    kinds: dict[str, Kind] = {"failed": "bounced", "delayed": "deferred", "delivered": "delivered"}
    kind = kinds.get(action)
    address = _address(block.get("Original-Recipient")) or _address(block.get("Final-Recipient"))
    if kind is None or address is None:
        return
    detail: dict[str, object] = {"status": status} if status else {}
    if kind == "bounced" and not GONE.fullmatch(status):
        detail["soft"] = True
    yield Returned(ref, kind, at, f"{action}:{status}", address, detail)


def _status(written: object) -> str:
    found = _STATUS.search(str(written or ""))
    return found[0] if found else ""


def _blocks(part: Message) -> Iterator[Message]:
    """The groups of fields of a report; the parser takes each for a message."""
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (one for one in payload if isinstance(one, Message))
    else:
        yield message_from_bytes(str(payload).encode("utf-8", "replace"), policy=compat32)


def _ref(part: Message) -> str | None:
    """The id of the message that a part quotes."""
    if part.get_content_type() == "message/rfc822":
        payload = part.get_payload()
        quoted = payload[0] if isinstance(payload, list) and payload else None
    elif part.get_content_type() == "text/rfc822-headers":
        body = part.get_payload(decode=True)
        quoted = message_from_bytes(body, policy=compat32) if isinstance(body, bytes) else None
    else:
        return None
    found = _MESSAGE_ID.search(str(quoted.get("Message-ID", ""))) if isinstance(quoted, Message) else None
    return found[1] if found else None


def _original_to(parts: Sequence[Message]) -> str | None:
    """Whom the mail that is complained about was to."""
    for part in parts:
        payload = part.get_payload()
        if part.get_content_type() == "message/rfc822" and isinstance(payload, list) and payload:
            first = payload[0]
            return parseaddr(str(first.get("To", "")))[1] or None if isinstance(first, Message) else None
    return None


def _address(written: object) -> str | None:
    """`rfc822; amina@shop.example` as the address."""
    if written is None:
        return None
    kind, semicolon, address = str(written).partition(";")
    address = parseaddr((address if semicolon else kind).strip())[1]
    return address if "@" in address else None


def _at(whole: Message) -> datetime | None:
    """When the report was written; None when it doesn't say so with its zone."""
    try:
        at = parsedate_to_datetime(str(whole.get("Date", "")))
    except (ValueError, TypeError):
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None
