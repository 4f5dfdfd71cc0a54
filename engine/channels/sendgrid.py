"""Mail through SendGrid's v3 API: their SDK builds and checks the mail, one request carries it.

The SDK's own client opens a connection for each call, has no timeout, and can't tell "never reached them" from "they
went silent", so the request is ours. Our message id rides in `custom_args.karibu_ref` and comes back with every
webhook.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Self

import httpx2
import orjson
from pydantic import Field
from sendgrid.helpers import mail as sg

from engine.channels import mime
from engine.channels.base import (
    Accepted,
    ChannelOptions,
    ConfigurationError,
    InDoubt,
    Outgoing,
    Refused,
    Result,
    Surroundings,
)
from engine.language.registry import channel

REF = "karibu_ref"
_API = "https://api.sendgrid.com"
_SOON = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=24)


class SendGridOptions(ChannelOptions):
    """`timeout`: seconds to wait for their answer. `sandbox: true` lets them check each mail and send none."""

    timeout: float = Field(default=10, gt=0, le=60)
    sandbox: bool = False


@channel("sendgrid")
class SendGrid:
    """Sends one mail a request, over connections that are kept open."""

    carries: ClassVar[frozenset[str]] = frozenset({"email"})
    idempotent: ClassVar[bool] = False
    Options: ClassVar[type[ChannelOptions]] = SendGridOptions

    def __init__(self, key: str, url: str = _API, *, timeout: float = 10, sandbox: bool = False) -> None:
        self._sandbox = sandbox
        self._client = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 5)),
        )

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, SendGridOptions)
        key = surroundings.secret("sendgrid_api_key")
        if not key:
            raise ConfigurationError("SendGrid needs an API key: set KARIBU_SENDGRID_API_KEY")
        url = surroundings.setting("sendgrid_base_url") or _API
        return cls(key, url, timeout=options.timeout, sandbox=options.sandbox)

    def send(self, message: Outgoing) -> Result:
        try:
            body = orjson.dumps(self._body(message))
        except (ValueError, TypeError) as error:
            return Refused(f"content: {error}")
        try:
            answer = self._client.post("/v3/mail/send", content=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol):
            return Refused("unreachable", retry_after=_SOON)
        except httpx2.TimeoutException:
            return InDoubt("timeout")
        except httpx2.HTTPError as error:
            return InDoubt(f"connection: {type(error).__name__}")
        return _judged(answer, message.at)

    def close(self) -> None:
        self._client.close()

    def _body(self, message: Outgoing) -> Any:
        """The request as their SDK builds it. ValueError or TypeError when a part of the mail is not one."""
        content, sender = message.content, message.sender
        mime.check_address(message.to)
        mail = sg.Mail()
        mail.from_email = sg.From(sender.email, sender.name or None)
        to = sg.To(message.to, message.to_name or None)
        personal = sg.Personalization()
        personal.add_to(to)
        personal.add_custom_arg(sg.CustomArg(REF, message.ref))
        mail.add_personalization(personal)
        mail.subject = sg.Subject(mime.check_header(content.subject))
        # They want plain text first.
        if content.text:
            mail.add_content(sg.Content(sg.MimeType.text, content.text))
        if content.html:
            mail.add_content(sg.Content(sg.MimeType.html, content.html))
        if sender.reply_to:
            mail.reply_to = sg.ReplyTo(sender.reply_to)
        mail.add_header(sg.Header("Message-ID", f"<{message.ref}@{sender.email.rpartition('@')[2]}>"))
        if message.unsubscribe_url:
            mail.add_header(sg.Header("List-Unsubscribe", f"<{mime.check_header(message.unsubscribe_url)}>"))
            mail.add_header(sg.Header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        # Our link is in the mail; theirs would end a list of theirs that we never hear of. Our links must stay ours.
        tracking = sg.TrackingSettings()
        tracking.subscription_tracking = sg.SubscriptionTracking(enable=False)
        mail.tracking_settings = tracking
        if self._sandbox:
            mail.mail_settings = sg.MailSettings(sandbox_mode=sg.SandBoxMode(enable=True))
        return mail.get()


def _judged(answer: httpx2.Response, now: datetime) -> Result:
    """Their answer in our words: 2xx is accepted, 429 and 4xx certainly nothing sent, 5xx nobody knows."""
    status = answer.status_code
    if 200 <= status < 300:
        return Accepted(answer.headers.get("X-Message-Id", ""))
    if status == 429:
        return Refused("rate_limited", retry_after=_wait(answer.headers, now))
    if status in (401, 403):
        # The key is wrong, not the message: it may go once somebody has mended that.
        return Refused(f"provider_key: {status}", retry_after=timedelta(minutes=10))
    if 400 <= status < 500:
        return Refused(f"provider: {status} {_field(answer)}".strip())
    return InDoubt(f"provider: {status}")


def _wait(headers: httpx2.Headers, now: datetime) -> timedelta:
    """How long they ask us to wait: Retry-After as seconds or a date, else their X-RateLimit-Reset (a Unix time)."""
    said = headers.get("Retry-After", "").strip()
    wait = _SOON
    if said.isdigit() and len(said) < 9:
        wait = timedelta(seconds=int(said))
    elif said:
        try:
            wait = parsedate_to_datetime(said).astimezone(UTC) - now
        except ValueError:
            wait = _SOON
    elif (reset := headers.get("X-RateLimit-Reset", "")).isdigit() and len(reset) < 12:
        wait = datetime.fromtimestamp(int(reset), UTC) - now
    return min(max(wait, timedelta(seconds=1)), _LONGEST_WAIT)


def _field(answer: httpx2.Response) -> str:
    """Which field they object to; their own words may quote an address."""
    try:
        fields = [str(error.get("field")) for error in orjson.loads(answer.content)["errors"] if error.get("field")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ", ".join(fields)[:200]
