"""Mail through SendGrid's v3 API: their SDK builds and checks the mail, a pool of kept connections carries it.

The SDK's own client opens a connection for each call, has no timeout, and can't tell "never reached them" from "they
went silent", so the request is ours. Our message id rides in `custom_args.karibu_ref` and comes back with every
webhook. Mails of one skeleton share a request, and if that is refused for good each goes alone, so that one mail that
they dislike costs the others nothing. Source for its shape and limits:
https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import orjson
from pydantic import Field
from sendgrid.helpers import mail as sg

from engine.channels import mime
from engine.channels.base import (
    Accepted,
    ChannelOptions,
    ConfigurationError,
    Fresh,
    Limits,
    Outgoing,
    Refused,
    Result,
    Settle,
    Surroundings,
    alone,
)
from engine.channels.posting import Answer, Poster, Reply, Request, judged
from engine.channels.shared import Parcel, parcels
from engine.language.registry import channel

REF = "karibu_ref"
_API = "https://api.sendgrid.com"


class SendGridOptions(ChannelOptions):
    """What project.yaml may say beside `provider: sendgrid`."""

    timeout: float = Field(default=10, gt=0, le=60, description="Seconds to wait for their answer.")
    sandbox: bool = Field(default=False, description="They check each mail and send none.")
    at_once: int = Field(default=32, ge=1, le=500, description="How many requests are under way at the same time.")
    share: int = Field(
        default=1000, ge=1, le=1000, description="How many mails that differ in values only may share a request."
    )


@channel("sendgrid")
class SendGrid:
    """Sends mails over connections that are kept open; mails that differ in values only share a request."""

    carries: ClassVar[frozenset[str]] = frozenset({"email"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(batch=1000, at_once=32, size=20_000_000)
    Options: ClassVar[type[ChannelOptions]] = SendGridOptions

    def __init__(self, key: str, url: str = _API, options: SendGridOptions | None = None) -> None:
        self._options = options or SendGridOptions()
        self._url = f"{url.rstrip('/')}/v3/mail/send"
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._poster = Poster(headers, timeout=self._options.timeout, at_once=self._options.at_once)

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, SendGridOptions)
        key = surroundings.secret("sendgrid_api_key")
        if not key:
            raise ConfigurationError("SendGrid needs an API key: set KARIBU_SENDGRID_API_KEY")
        return cls(key, surroundings.setting("sendgrid_base_url") or _API, options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit = []
        for at, message in enumerate(messages):
            if (fault := _fault(message)) is None:
                fit.append(at)
            else:
                settle(at, Refused(f"content: {fault}"))
        refused = self._post(messages, fit, self._options.share, fresh, settle)
        # They refuse a whole request for one mail in it. Nothing of it was sent, so each may go again, alone.
        self._post(messages, refused, 1, fresh, settle)

    def _post(
        self, messages: Sequence[Outgoing], places: Sequence[int], most: int, fresh: Fresh, settle: Settle
    ) -> list[int]:
        """Post the mails in these places, at most so many in a request; the places of those that were refused for good
        together with others, of which nothing is told."""
        shared = parcels([messages[at] for at in places], most)
        refused: list[int] = []

        def answered(turn: int, reply: Reply) -> None:
            mine = [places[at] for at in shared[turn].at]
            if len(mine) > 1 and _for_good(reply):
                refused.extend(mine)
                return
            for at in mine:
                settle(at, _result(reply, messages[at]))

        self._poster.post_all([partial(self._request, parcel) for parcel in shared], fresh, answered)
        return refused

    def close(self) -> None:
        self._poster.close()

    def _request(self, parcel: Parcel) -> Request:
        return Request(self._url, orjson.dumps(self._body(parcel)))

    def _body(self, parcel: Parcel) -> Any:
        """The request as their SDK builds it: what is the same once, and a personalization for each person."""
        one = parcel.messages[0]
        mail = sg.Mail()
        mail.from_email = sg.From(one.sender.email, one.sender.name or None)
        mail.subject = sg.Subject(parcel.subject)
        # They want plain text first.
        if parcel.text:
            mail.add_content(sg.Content(sg.MimeType.text, parcel.text))
        if parcel.html:
            mail.add_content(sg.Content(sg.MimeType.html, parcel.html))
        if one.sender.reply_to:
            mail.reply_to = sg.ReplyTo(one.sender.reply_to)
        if one.unsubscribe_url:
            mail.add_header(sg.Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        # Our link is in the mail; theirs would end a list of theirs that we never hear of. Our links must stay ours.
        tracking = sg.TrackingSettings()
        tracking.subscription_tracking = sg.SubscriptionTracking(enable=False)
        mail.tracking_settings = tracking
        if self._options.sandbox:
            mail.mail_settings = sg.MailSettings(sandbox_mode=sg.SandBoxMode(enable=True))
        built = mail.get()
        # Their Personalization looks through all it has for each value that is added: a person is plain data here.
        built["personalizations"] = [
            _person(message, substitutions)
            for message, substitutions in zip(parcel.messages, parcel.substitutions, strict=True)
        ]
        return built


def _person(message: Outgoing, substitutions: dict[str, str]) -> dict[str, Any]:
    to = {"email": message.to, "name": message.to_name} if message.to_name else {"email": message.to}
    headers = {"Message-ID": f"<{message.ref}@{message.sender.email.rpartition('@')[2]}>"}
    if message.unsubscribe_url:
        headers["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
    person: dict[str, Any] = {"to": [to], "headers": headers, "custom_args": {REF: message.ref}}
    if substitutions:
        person["substitutions"] = substitutions
    return person


def _fault(message: Outgoing) -> ValueError | None:
    """What in a mail can't be in one: it must not cost the others of its request theirs."""
    content = message.content
    try:
        mime.check_address(message.to)
        mime.check_address(message.sender.email)
        mime.check_header(content.subject)
        mime.check_header(message.to_name)
        mime.check_header(message.unsubscribe_url or "")
        if not content.subject or not (content.text or content.html):
            raise ValueError("a mail needs a subject and a text")
        if len(content.text) + len(content.html) > SendGrid.limits.size:
            raise ValueError("the mail is too large")
    except ValueError as error:
        return error
    return None


def _for_good(reply: Reply) -> bool:
    """Whether they object to the request itself: not to our key or our haste."""
    return isinstance(reply, Answer) and 400 <= reply.status < 500 and reply.status not in (401, 403, 429)


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    return judged(reply, message.at, lambda answer: Accepted(answer.headers.get("x-message-id", "")), _field)


def _field(answer: Answer) -> str:
    """Which field they object to; their own words may quote an address."""
    try:
        fields = [str(error.get("field")) for error in orjson.loads(answer.body)["errors"] if error.get("field")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ", ".join(fields)[:200]
