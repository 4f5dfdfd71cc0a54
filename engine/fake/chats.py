"""Telegram's side: which messages it would take, how it answers, and the updates that tell what people do.

https://core.telegram.org/bots/api#sendmessage
https://core.telegram.org/bots/api#update
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PATH = re.compile(r"/bot([^/]+)/sendMessage")
LONGEST = 4096


def fault(said: Any) -> tuple[int, str] | None:
    """The code and the words of what their documentation would refuse, None for a message in order."""
    if not isinstance(said, Mapping) or not str(said.get("chat_id") or "").strip():
        return 400, "Bad Request: chat_id is empty"
    if not str(said.get("text") or "").strip():
        return 400, "Bad Request: message text is empty"
    if len(str(said["text"])) > LONGEST:
        return 400, "Bad Request: message is too long"
    chat = str(said["chat_id"])
    if not chat.isdecimal() or chat.endswith("0000"):
        return 400, "Bad Request: chat not found"
    if chat.endswith("4030"):
        return 403, "Forbidden: bot was blocked by the user"
    return None


def refusal(code: int, words: str, **parameters: int) -> dict[str, Any]:
    """How they tell an error."""
    told: dict[str, Any] = {"ok": False, "error_code": code, "description": words}
    return {**told, "parameters": parameters} if parameters else told


def taken(said: Mapping[str, Any], number: int, at: int) -> dict[str, Any]:
    """How they answer to a message that they took."""
    bot = {"id": 1, "is_bot": True, "first_name": "Duka", "username": "duka_bot"}
    sent = {"message_id": number, "from": bot, "chat": _chat(said["chat_id"]), "date": at, "text": said["text"]}
    return {"ok": True, "result": sent}


def written(chat: Any, number: int, text: str, at: int) -> dict[str, Any]:
    """The update of what somebody wrote; its number is the same whenever it is told."""
    message = {"message_id": number, "from": _person(chat), "chat": _chat(chat), "date": at, "text": text}
    return {"update_id": number, "message": message}


def standing(chat: Any, number: int, status: str, at: int) -> dict[str, Any]:
    """The update of somebody who blocks the bot (`kicked`) or lets it in again (`member`)."""
    bot = {"id": 1, "is_bot": True, "first_name": "Duka", "username": "duka_bot"}
    before = "member" if status == "kicked" else "kicked"
    old, new = ({"user": bot, "status": one} for one in (before, status))
    changed = {"chat": _chat(chat), "from": _person(chat), "date": at}
    return {"update_id": number, "my_chat_member": {**changed, "old_chat_member": old, "new_chat_member": new}}


def _chat(number: Any) -> dict[str, Any]:
    return {"id": int(number), "type": "private", "first_name": "Amina"}


def _person(number: Any) -> dict[str, Any]:
    return {"id": int(number), "is_bot": False, "first_name": "Amina"}
