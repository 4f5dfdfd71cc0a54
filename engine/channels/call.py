"""Asks other systems for the step `call`, through the guarded client.

What they say, in our words: 2xx is taken; 3xx and 4xx certainly nothing was done, and of these 401, 403, 408, 425 and
429 may be tried again; 5xx, a timeout and a connection that broke off: nobody knows, unless the method may be repeated.
A call carries the same Idempotency-Key in any repeat
(https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header), and a signature by Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) when there is a secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from engine.channels.base import (
    Accepted,
    ConfigurationError,
    InDoubt,
    Outgoing,
    Refused,
    Request,
    Result,
    Secret,
    is_here,
)
from engine.guarded.client import Answer, Guarded, NotSent, Unsure
from engine.guarded.target import Forbidden, read

_SOON = timedelta(seconds=30)
_MENDED = timedelta(minutes=10)
"""So long somebody may need to set a secret right."""
_LONGEST_WAIT = timedelta(hours=1)


class HttpCaller:
    """Safe to use from several threads. `secret`: of a name in a header; `signing`: `whsec_…`, if requests are signed.
    Raises ConfigurationError for one that is no such secret."""

    def __init__(self, guard: Guarded, secret: Callable[[str], str | None], signing: str | None = None) -> None:
        self._guard = guard
        self._secret = secret
        self._signing = None if signing is None else _key(signing)

    def send(self, message: Outgoing) -> Result:
        request = message.request
        assert request is not None
        headers: list[tuple[str, str]] = []
        for name, parts in request.headers:
            value = ""
            for part in parts:
                given = self._secret(part.name) if isinstance(part, Secret) else part
                if given is None or not given.isascii() or not given.isprintable():
                    return Refused(f"no secret {part.name if isinstance(part, Secret) else name}", retry_after=_MENDED)
                value += given
            headers.append((name, value))
        headers += self._ours(request, message.at)
        try:
            answer = self._guard.request(request.method, request.url, headers, request.body)
        except NotSent as error:
            return Refused(error.reason, None if error.for_good else _SOON)
        except Unsure as error:
            return _unsure(error.reason, request)
        return judged(answer, request, message.at)

    def _ours(self, request: Request, now: datetime) -> list[tuple[str, str]]:
        headers = [("User-Agent", "Karibu"), ("Accept", "application/json"), ("Idempotency-Key", f'"{request.key}"')]
        if request.body is not None:
            headers.append(("Content-Type", "application/json"))
        if self._signing is not None:
            at = str(int(now.timestamp()))
            signed = f"{request.key}.{at}.".encode() + (request.body or b"")
            signature = base64.b64encode(hmac.digest(self._signing, signed, "sha256")).decode()
            headers += [
                ("webhook-id", request.key),
                ("webhook-timestamp", at),
                ("webhook-signature", f"v1,{signature}"),
            ]
        return headers


class HereOnly:
    """Asks this machine only: nothing that a journey does to try things out leaves the house."""

    def __init__(self, caller: HttpCaller) -> None:
        self._caller = caller

    def send(self, message: Outgoing) -> Result:
        assert message.request is not None
        try:
            host = read(message.request.url).origin.host
        except Forbidden as error:
            return Refused(str(error))
        return self._caller.send(message) if is_here(host) else Refused("fake provider: only this machine is asked")


def judged(answer: Answer, request: Request, now: datetime) -> Result:
    """What an answer means for the call."""
    status = answer.status
    if 200 <= status < 300:
        return Accepted("", answer.body)
    reason = f"answer: {status}"
    if status >= 500:
        return _unsure(reason, request)
    if status in (401, 403):
        return Refused(reason, retry_after=_MENDED)
    return Refused(reason, retry_after=_wait(answer, now) if status in (408, 425, 429) else None)


def _unsure(reason: str, request: Request) -> Result:
    return Refused(reason, retry_after=_SOON) if request.repeatable else InDoubt(reason)


def _wait(answer: Answer, now: datetime) -> timedelta:
    """How long they ask us to wait: Retry-After as seconds or a date."""
    said = answer.headers.get("retry-after", "").strip()
    try:
        wait = timedelta(seconds=int(said)) if said.isdigit() else parsedate_to_datetime(said).astimezone(UTC) - now
    except (ValueError, OverflowError):
        wait = _SOON
    return min(max(wait, timedelta(seconds=1)), _LONGEST_WAIT)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ConfigurationError("KARIBU_OUTGOING_SECRET is whsec_ and 24 to 64 bytes in base64")
    return key
