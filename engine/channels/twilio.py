"""SMS and WhatsApp through Twilio: one form a message, over connections that are kept open.

Shape of the request and of the answers: https://www.twilio.com/docs/messaging/api/message-resource
Templates of WhatsApp: https://www.twilio.com/docs/content/send-templates-created-with-the-content-template-builder
Error codes: https://www.twilio.com/docs/api/errors

Twilio keeps no arguments of ours, so our message id stands in the query of the URL that it calls back.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self
from urllib.parse import quote, urlencode

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
from engine.channels.posting import SOON, Answer, Poster, Reply, Request, judged
from engine.channels.sms_parts import parts
from engine.language.registry import channel

_API = "https://api.twilio.com"
_BACK = "/hooks/twilio/events"
"""Where they call back; what they say is verified and read there."""
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_SID = re.compile(r"[A-Z]{2}[0-9A-Za-z]{1,64}")
_LONGEST = 1600

_STOP = frozenset({21610, 63032})
_NOBODY = frozenset({21211, 21614, 21217, 63003})
"""No such number, a landline, not on WhatsApp."""
_BUSY = frozenset({14107, 20429, 21611, 30001, 63018})
"""Their queue of ours is full, or we are too fast."""


class TwilioOptions(ChannelOptions):
    """What project.yaml may say beside `provider: twilio`."""

    sender: str = Field(
        default="",
        alias="from",
        description="A number of yours (+254…), or the name that is shown. Default: KARIBU_TWILIO_FROM.",
    )
    timeout: float = Field(default=10, gt=0, le=60, description="Seconds to wait for their answer.")
    at_once: int = Field(default=16, ge=1, le=200, description="How many requests are under way at the same time.")
    parts: int = Field(default=6, ge=1, le=10, description="A longer SMS is refused: each part is paid for.")


@dataclass(frozen=True, slots=True)
class Account:
    """Who sends: the account and its token, the number or messaging service it sends from, and the base of the URL
    that is called back (empty: none)."""

    sid: str
    token: str
    sender: str
    back: str = ""

    def __repr__(self) -> str:
        return f"Account({self.sid!r})"


@channel("twilio")
class Twilio:
    """Sends texts and WhatsApp messages. WhatsApp wants a template that was approved there, but for answers."""

    carries: ClassVar[frozenset[str]] = frozenset({"sms", "whatsapp"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(size=_LONGEST, at_once=16)
    Options: ClassVar[type[ChannelOptions]] = TwilioOptions

    def __init__(self, account: Account, url: str = _API, options: TwilioOptions | None = None) -> None:
        self._account = account
        self._options = options or TwilioOptions()
        self._url = f"{url.rstrip('/')}/2010-04-01/Accounts/{account.sid}/Messages.json"
        key = base64.b64encode(f"{account.sid}:{account.token}".encode()).decode()
        headers = {"Authorization": f"Basic {key}", "Content-Type": "application/x-www-form-urlencoded"}
        self._poster = Poster(headers, timeout=self._options.timeout, at_once=self._options.at_once)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, TwilioOptions)
        setting = surroundings.setting
        sid, token = setting("twilio_account_sid") or "", surroundings.secret("twilio_auth_token") or ""
        if not _SID.fullmatch(sid) or not token:
            raise ConfigurationError(
                "Twilio needs an account: set KARIBU_TWILIO_ACCOUNT_SID and KARIBU_TWILIO_AUTH_TOKEN"
            )
        sender = options.sender or setting("twilio_from") or ""
        if not sender:
            raise ConfigurationError("Twilio needs a number or messaging service to send from: set KARIBU_TWILIO_FROM")
        # They refuse an address that they can't reach, so this machine's own name goes to a provider of ours only.
        theirs = setting("twilio_base_url")
        back = setting("base_url") or (setting("public_url") if theirs and theirs != _API else None)
        return cls(Account(sid, token, sender, (back or "").rstrip("/")), theirs or _API, options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit = []
        for at, message in enumerate(messages):
            if (fault := self._fault(message)) is None:
                fit.append(at)
            else:
                settle(at, Refused(fault))

        def answered(turn: int, reply: Reply) -> None:
            settle(fit[turn], _result(reply, messages[fit[turn]]))

        self._poster.post_all([partial(self._request, messages[at]) for at in fit], fresh, answered)

    def close(self) -> None:
        self._poster.close()

    def _fault(self, message: Outgoing) -> str | None:
        if not _NUMBER.fullmatch(message.to):
            return "bad_address"
        content = message.content
        if not content.text and not content.template_id:
            return "content: there is no text"
        too_long = len(content.text) > _LONGEST or (
            message.channel == "sms" and parts(content.text) > self._options.parts
        )
        return "content: the text is too long" if too_long and not content.template_id else None

    def _request(self, message: Outgoing) -> Request:
        return Request(self._url, urlencode(self._form(message)).encode())

    def _form(self, message: Outgoing) -> dict[str, str]:
        account, content = self._account, message.content
        before = "whatsapp:" if message.channel == "whatsapp" else ""
        form = {"To": before + message.to}
        if account.sender.startswith("MG"):
            form["MessagingServiceSid"] = account.sender
        else:
            form["From"] = before + account.sender
        if content.template_id:
            form["ContentSid"] = content.template_id
            form["ContentVariables"] = orjson.dumps(dict(content.variables)).decode()
        else:
            form["Body"] = content.text
        if account.back:
            form["StatusCallback"] = f"{account.back}{_BACK}?ref={quote(message.ref)}"
        return form


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    code = _number(reply, "code")
    if 400 <= reply.status < 500 and code in _STOP:
        return Refused("stop", ends="stop")
    if 400 <= reply.status < 500 and code in _NOBODY:
        return Refused("bad_address", ends="bounced")
    if 400 <= reply.status < 500 and code in _BUSY:
        return Refused("rate_limited", retry_after=SOON)
    return judged(reply, message.at, _accepted, lambda answer: str(code or ""))


def _accepted(answer: Answer) -> Result:
    sid = _read(answer).get("sid")
    return Accepted(sid) if isinstance(sid, str) and sid else InDoubt("provider: an answer without an id")


def _number(answer: Answer, name: str) -> int | None:
    found = _read(answer).get(name)
    return found if isinstance(found, int) else None


def _read(answer: Answer) -> Mapping[str, object]:
    try:
        found = orjson.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
