"""Messages to customers who chat with the shop's bot at Telegram: one request a message.

Requests and answers: https://core.telegram.org/bots/api#sendmessage and #making-requests
How fast a bot may write: https://core.telegram.org/bots/faq#broadcasting-to-users

The bot's token stands in the address of each request, so no word of ours may quote an address. Telegram knows no key
that makes a request count once, so a silence after one is in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Self

import orjson
from pydantic import Field

from engine.channels.base import (
    Accepted,
    ChannelOptions,
    ConfigurationError,
    Fresh,
    InDoubt,
    Limits,
    Outgoing,
    Refused,
    Result,
    Settle,
    Surroundings,
    alone,
)
from engine.channels.posting import MENDED, Answer, Poster, Reply, Request, asked_to_wait, judged
from engine.language.gate import Rate
from engine.language.registry import channel

_API = "https://api.telegram.org"
_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,200}")
_CHAT = re.compile(r"[1-9][0-9]{0,15}")
_LONGEST = 4_096
"""Characters of a text."""

_WAYS_OUT: Mapping[str, tuple[str, str]] = {
    "bot was blocked": ("stop", "stop"),
    "can't initiate conversation": ("stop", "stop"),
    "user is deactivated": ("gone", "gone"),
}
"""What a 403 says, why nothing was sent, and why nothing may be sent any more. Who presses Start ends a stop."""

_NOBODY = "chat not found"


class TelegramOptions(ChannelOptions):
    """What project.yaml may say beside `provider: telegram`."""

    timeout: float = Field(default=10, gt=0, le=60, description="Seconds to wait for their answer.")
    at_once: int = Field(default=16, ge=1, le=200, description="How many requests are under way at the same time.")
    preview: bool = Field(default=False, description="Show a picture of the page that a text links to.")


@channel("telegram")
class Telegram:
    """Sends texts to customers who have pressed Start at the shop's bot: 30 a second, unless `rate` says another."""

    carries: ClassVar[frozenset[str]] = frozenset({"telegram"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(size=_LONGEST * 4, at_once=16, rate=Rate(30, "s"))
    Options: ClassVar[type[ChannelOptions]] = TelegramOptions

    def __init__(self, token: str, url: str = _API, options: TelegramOptions | None = None) -> None:
        self._options = options or TelegramOptions()
        self._url = f"{url.rstrip('/')}/bot{token}/sendMessage"
        headers = {"Content-Type": "application/json"}
        self._poster = Poster(headers, timeout=self._options.timeout, at_once=self._options.at_once)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, TelegramOptions)
        token = surroundings.secret("telegram_token") or ""
        if not _TOKEN.fullmatch(token):
            raise ConfigurationError(
                "Telegram needs a bot's token, as BotFather gives it out: set KARIBU_TELEGRAM_TOKEN"
            )
        return cls(token, surroundings.setting("telegram_base_url") or _API, options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit = []
        for at, message in enumerate(messages):
            if (fault := _fault(message)) is None:
                fit.append(at)
            else:
                settle(at, Refused(fault))

        def answered(turn: int, reply: Reply) -> None:
            settle(fit[turn], _result(reply, messages[fit[turn]]))

        self._poster.post_all([partial(self._request, messages[at]) for at in fit], fresh, answered)

    def close(self) -> None:
        self._poster.close()

    def _request(self, message: Outgoing) -> Request:
        preview = {"is_disabled": not self._options.preview}
        said = {"chat_id": int(message.to), "text": message.content.text, "link_preview_options": preview}
        return Request(self._url, orjson.dumps(said))


def _fault(message: Outgoing) -> str | None:
    if not _CHAT.fullmatch(message.to):
        return "bad_address"
    text = message.content.text
    if not text.strip():
        return "content: there is no text"
    return "content: the text is too long" if len(text) > _LONGEST else None


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    said = _read(reply)
    why = str(said.get("description", ""))
    if reply.status == 403:
        return next((Refused(one, ends=ends) for words, (one, ends) in _WAYS_OUT.items() if words in why), _FORBIDDEN)
    if reply.status == 404:
        return Refused("provider_key: 404", retry_after=MENDED)  # there is no bot with this token
    if reply.status == 400 and _NOBODY in why:
        return Refused("bad_address")
    if reply.status == 429 and isinstance(asked := _inside(said, "parameters").get("retry_after"), int):
        headers = {**reply.headers, "retry-after": str(asked)}
        return Refused("rate_limited", retry_after=asked_to_wait(headers, message.at))
    return judged(reply, message.at, lambda _: _accepted(said), lambda _: "")


_FORBIDDEN = Refused("provider: 403")
"""Another bot, or somebody whom no bot may write to: the token is good."""


def _accepted(said: Mapping[str, object]) -> Result:
    number = _inside(said, "result").get("message_id")
    if said.get("ok") is not True or not isinstance(number, int):
        return InDoubt("provider: an answer without an id")
    return Accepted(str(number))


def _inside(said: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = said.get(name)
    return found if isinstance(found, dict) else {}


def _read(answer: Answer) -> Mapping[str, object]:
    try:
        found = orjson.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
