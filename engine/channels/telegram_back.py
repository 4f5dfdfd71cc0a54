"""Telegram's updates: what people write to the shop's bot, and that they block it or let it in again.

Updates, and the header that proves them: https://core.telegram.org/bots/api#setwebhook and #update
Start, with what the link to the bot carried: https://core.telegram.org/bots/features#deep-linking

Nothing is told of what became of a message. Each update says when it happened, so one that is told again changes
nothing, whatever was said since.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import orjson

from engine.channels.returns import Called, Reply, Returned, Unreadable
from engine.language.registry import returns

PROOF = "x-telegram-bot-api-secret-token"

_STANDINGS: Mapping[str, str] = {"kicked": "stop", "member": "start"}
"""What the bot is in a chat with a person, as a word of theirs: they have blocked it, or let it in again."""

_COMMANDS = ("/start", "/stop")


@returns("telegram")
class TelegramReturns:
    """The updates of the bot. Verified with the secret that was given to setWebhook."""

    secret: ClassVar[str] = "telegram_webhook_secret"
    opens: ClassVar[bool] = False
    answer: ClassVar[tuple[bytes, str]] = (b"{}", "application/json")

    def verify(self, secret: str, called: Called, now: datetime) -> bool:
        shown = called.headers.get(PROOF, "").encode(errors="replace")
        return bool(secret) and hmac.compare_digest(shown, secret.encode())

    def read(self, called: Called) -> Sequence[Returned | Reply]:
        try:
            given = orjson.loads(called.body)
        except ValueError:
            raise Unreadable("the body is no JSON") from None
        if not isinstance(given, dict) or not isinstance(number := given.get("update_id"), int):
            raise Unreadable("the body is no update")
        told = _message(given.get("message"), str(number)) or _standing(given.get("my_chat_member"), str(number))
        return [told] if told is not None else []


def _message(said: Any, key: str) -> Reply | None:
    """What somebody wrote; a photo or the like is an answer without a text."""
    found = _where(said)
    if found is None:
        return None
    text = said.get("text") or said.get("caption") or ""
    word, carried = _word(text) if isinstance(text, str) else ("", "")
    return Reply("telegram", found[0], word, key, found[1], carried=carried)


def _standing(changed: Any, key: str) -> Reply | None:
    """That somebody has blocked the bot, or lets it write again."""
    found = _where(changed)
    new = changed.get("new_chat_member") if found is not None else None
    word = _STANDINGS.get(str(new.get("status"))) if isinstance(new, dict) else None
    return None if found is None or word is None else Reply("telegram", found[0], word, key, found[1], written=False)


def _where(said: Any) -> tuple[str, datetime] | None:
    """In which chat with a person, and when; None for groups and channels, which are no customers."""
    chat = said.get("chat") if isinstance(said, dict) else None
    if not isinstance(chat, dict) or chat.get("type") != "private":
        return None
    number, at = chat.get("id"), said.get("date")
    if type(number) is not int or type(at) is not int or not 0 <= at < 2**33:
        return None
    return str(number), datetime.fromtimestamp(at, UTC)


def _word(text: str) -> tuple[str, str]:
    """The text; of the commands that everybody has, the command alone, and what a link gave along."""
    first, _, rest = text.strip().partition(" ")
    command = first.partition("@")[0].lower()
    return (command, rest.strip()) if command in _COMMANDS else (text, "")
