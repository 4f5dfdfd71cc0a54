"""What becomes of a message at the fake provider: who gets it, opens it, clicks, or answers.

Addresses that begin with `bounce`, `full`, `spam`, `unsubscribe` or `drop`, and numbers that end in 0000 (nobody has
it) or 7867 (answers STOP), do what they say. So do chats; one that ends in 7867 blocks the bot besides, and one that
ends in 4030 has done so before. Everybody else does what chance says: the same for the same message.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from engine.fake.behaviour import Behaviour
from engine.fake.mails import Recipient

Deed = tuple[float, str, dict[str, Any]]
"""How many paces later, the event's name, and what is told besides."""


def of_mail(mail: Recipient, how: Behaviour) -> Iterator[Deed]:
    """What SendGrid tells of a mail, in the order in which it happens."""
    yield 0, "processed", {}
    match mail.email.partition("@")[0].rstrip("0123456789-_"):
        case "bounce":
            yield 1, "bounce", {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no such user"}
            return
        case "full":
            yield 1, "deferred", {"status": "4.2.2", "attempt": "1"}
            yield 2, "bounce", {"type": "blocked", "status": "5.2.2", "reason": "552 5.2.2 mailbox full"}
            return
        case "drop":
            yield 1, "dropped", {"reason": "Bounced Address"}
            return
        case "spam":
            yield 1, "delivered", {}
            yield 2, "spamreport", {}
            return
        case "unsubscribe":
            yield 1, "delivered", {}
            yield 2, "group_unsubscribe", {"asm_group_id": 1}
            return
    yield 1, "delivered", {"response": "250 OK"}
    if _chance(mail.name, "machine") < how.machines:
        yield 1, "open", {"sg_machine_open": True}
    if _chance(mail.name, "open") < how.opens:
        yield 2, "open", {"sg_machine_open": False}
        if mail.links and _chance(mail.name, "click") < how.clicks:
            link = mail.links[int(_chance(mail.name, "link") * len(mail.links))]
            yield 3, "click", {"url": link, "url_offset": {"index": 0, "type": "html"}}


def of_text(number: str) -> Iterator[Deed]:
    """What Twilio tells of a message to this number: MessageStatus, with the parameters besides; `received` is an
    answer."""
    yield 0, "sent", {}
    if number.endswith("0000"):
        yield 1, "undelivered", {"ErrorCode": "30005"}
        return
    yield 1, "delivered", {}
    if number.endswith("7867"):
        yield 2, "received", {"Body": "STOP"}


def of_chat(chat: str) -> Iterator[Deed]:
    """What somebody does who got a message in this chat; Telegram tells nothing else of it."""
    if chat.endswith("7867"):
        yield 1, "written", {"text": "/stop"}
        yield 2, "kicked", {}


def _chance(name: str, what: str) -> float:
    """From 0 to 1, the same for the same."""
    return int.from_bytes(sha256(f"{what}\0{name}".encode()).digest()[:6]) / 2**48
