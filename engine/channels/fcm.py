"""Push messages through Firebase Cloud Messaging, to apps that have given the customer's device token.

Requests and errors of its HTTP v1 API: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
The service account's token: https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import ClassVar, Self
from urllib.parse import urlencode

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field

from engine.channels import jwt
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
from engine.channels.posting import Answer, Poster, Reply, Request, judged
from engine.language.registry import channel

_API = "https://fcm.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GONE = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})
_LARGEST = 4_000
_EARLY = timedelta(minutes=5)


class FcmOptions(ChannelOptions):
    """What project.yaml may say beside `provider: fcm`."""

    timeout: float = Field(default=10, gt=0, le=60, description="Seconds to wait for their answer.")
    at_once: int = Field(default=32, ge=1, le=500, description="How many requests are under way at the same time.")


@dataclass(frozen=True)
class Account:
    """A service account, as its file has it."""

    project: str
    email: str
    key: RSAPrivateKey
    token_url: str

    @classmethod
    def read(cls, text: str) -> Account:
        """The account in the JSON of its file. Raises ConfigurationError."""
        try:
            said = orjson.loads(text)
            key = load_pem_private_key(said["private_key"].encode(), None)
            if not isinstance(key, RSAPrivateKey):
                raise ValueError
            return cls(str(said["project_id"]), str(said["client_email"]), key, str(said["token_uri"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(
                "KARIBU_FCM_CREDENTIALS is no file of a service account, as Firebase gives it out"
            ) from None


@channel("fcm")
class Fcm:
    """Sends push messages to apps."""

    carries: ClassVar[frozenset[str]] = frozenset({"push"})
    idempotent: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(size=_LARGEST, at_once=32)
    Options: ClassVar[type[ChannelOptions]] = FcmOptions

    def __init__(self, account: Account, url: str = _API, options: FcmOptions | None = None) -> None:
        options = options or FcmOptions()
        self._account = account
        self._url = f"{url.rstrip('/')}/v1/projects/{account.project}/messages:send"
        self._poster = Poster({}, timeout=options.timeout, at_once=options.at_once)
        self._token, self._until = "", datetime.min.replace(tzinfo=UTC)
        self._lock = Lock()

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        assert isinstance(options, FcmOptions)
        given = (surroundings.secret("fcm_credentials") or "").strip()
        if not given:
            raise ConfigurationError("Firebase needs a service account: set KARIBU_FCM_CREDENTIALS to its file")
        try:
            text = given if given.startswith("{") else Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"KARIBU_FCM_CREDENTIALS can't be read: {error.strerror}") from None
        return cls(Account.read(text), surroundings.setting("fcm_base_url") or _API, options)

    def send(self, message: Outgoing) -> Result:
        return alone(self, message)

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        fit = []
        for at, message in enumerate(messages):
            if not message.to:
                settle(at, Refused("bad_address"))
            elif len(body := _body(message)) > _LARGEST:
                settle(at, Refused("too_large"))
            else:
                fit.append((at, body))
        if not fit:
            return
        access = self._access(messages[0].at)
        if not isinstance(access, str):
            for at, _ in fit:
                settle(at, access)
            return
        headers = {"Authorization": f"Bearer {access}", "Content-Type": "application/json"}

        def answered(turn: int, reply: Reply) -> None:
            at, _ = fit[turn]
            if isinstance(reply, Answer) and reply.status == 401:
                self._token = ""
            settle(at, _result(reply, messages[at]))

        self._poster.post_all([partial(Request, self._url, body, headers) for _, body in fit], fresh, answered)

    def close(self) -> None:
        self._poster.close()

    def _access(self, now: datetime) -> str | Refused:
        """The token that lets us send, got anew some minutes before its end; what came instead of it."""
        with self._lock:
            if self._token and now < self._until:
                return self._token
            account, seconds = self._account, int(now.timestamp())
            claims = {"iss": account.email, "scope": _SCOPE, "aud": account.token_url}
            asked = jwt.token({**claims, "iat": seconds, "exp": seconds + 3600}, account.key)
            form = urlencode({"grant_type": _GRANT, "assertion": asked}).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = self._poster.post(Request(account.token_url, form, kind))
            try:
                if not isinstance(reply, Answer) or reply.status != 200:
                    raise ValueError
                said = orjson.loads(reply.body)
                self._token, lasts = str(said["access_token"]), timedelta(seconds=int(said["expires_in"]))
            except (ValueError, KeyError, TypeError):
                # Nothing has left: not even the token that it takes.
                return Refused("provider_key: no token", retry_after=timedelta(minutes=1))
            self._until = now + lasts - _EARLY
            return self._token


def _body(message: Outgoing) -> bytes:
    content = message.content
    said: dict[str, object] = {
        "token": message.to,
        "notification": {"title": content.title, "body": content.body},
        "data": {"karibu_ref": message.ref, **({"url": content.url} if content.url else {})},
    }
    return orjson.dumps({"message": said})


def _result(reply: Reply, message: Outgoing) -> Result:
    if not isinstance(reply, Answer):
        return reply
    fault = _fault(reply)
    if 400 <= reply.status < 500 and fault in _GONE:
        return Refused("gone", ends="gone")
    return judged(reply, message.at, _accepted, lambda _: fault)


def _accepted(answer: Answer) -> Result:
    try:
        return Accepted(str(orjson.loads(answer.body)["name"]))
    except (ValueError, KeyError, TypeError):
        return InDoubt("provider: an answer without an id")


def _fault(answer: Answer) -> str:
    """Their code of what is wrong, or nothing."""
    try:
        error = orjson.loads(answer.body)["error"]
        codes = [detail["errorCode"] for detail in error.get("details", ()) if "errorCode" in detail]
        said = str(codes[0] if codes else error.get("status", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return said if said.isascii() and said.replace("_", "").isalpha() else ""
