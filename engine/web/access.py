"""Who may do what: the one place that decides about API keys. A route without a line from here is open to everybody.

    @routes.post("/events")
    async def events(request: Request, caller: Writer) -> Response: ...   # or Reader, Admin

    APIRouter(dependencies=[Depends(needs("read"))])                       # the same for a whole router

    caller = await admit(request, "write")                                # in a plain Starlette endpoint

    async def track(request: Request, shown: Annotated[Caller | None, Depends(may("write"))]) -> Response:
        ...                                                               # Segment's SDKs: the key may be in the body
        caller = shown or await check(request, body.get("writeKey"), "write")

`needs` and `admit` answer 401 (no key, or none that lives), 403 (not with this key) or 429 (too fast) by raising
HTTPException, before the body is read. `may` does so too, but gives None when no key is shown at all; then `check` must
be called with the key of the body before anything else is done with it. `browser=False` refuses browser keys where
`write` alone would let them in.

Ask once a request: each time it is asked counts against the key's rate. **A route declares no body parameter, it takes
the Request**: FastAPI reads a declared body before it asks any dependency.

A key is shown as `X-API-Key: KEY`, `Authorization: Bearer KEY`, or HTTP Basic with the key as the user's name and no
password, as Segment's SDKs send a write key (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import Request

from engine.runtime import keys
from engine.runtime.keys import Key, Scope
from engine.store.database import Database
from engine.web.bucket import Bucket
from engine.web.headers import header
from engine.web.keyring import Keyring, KeysAway

CHOSEN = "bootstrap"
"""Stands for a prefix at the key of the settings. (A real prefix is shorter.)"""

CALLER = "caller"
"""Where a request's state names who asks, once that is known: CORS depends on it."""

_COVERED = {"write": "write or admin", "read": "read or admin", "admin": "admin"}


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's name and public prefix; nothing of it is secret. `rate`: requests per second, None for any."""

    name: str
    prefix: str
    scope: Scope
    browser: bool = False
    rate: int | None = None

    @classmethod
    def of(cls, key: Key) -> Caller:
        return cls(key.name, key.prefix, key.scope, key.browser, key.rate)

    def may(self, scope: Scope) -> bool:
        return self.scope in (scope, "admin")


class Access:
    """Stands as `access` in the web application's state. `chosen` is the key of the settings: it may do everything.

    Lives in the event loop's thread. `seconds` is a clock that never goes back."""

    def __init__(self, chosen: str, database: Database, seconds: Callable[[], float] = time.monotonic) -> None:
        self._chosen = keys.hashed(chosen)
        self._chooser = Caller("the key of the settings", CHOSEN, "admin")
        self._keyring = Keyring(database, seconds)
        self._seconds = seconds
        self._buckets: dict[str, Bucket] = {}

    async def decide(self, request: Request, shown: str, scope: Scope, *, browser: bool = True) -> Caller:
        """Who shows this key, if they may do this now. Raises HTTPException: 401, 403, 429, or 503 when the database
        that knows the keys is away."""
        caller = await self._who(shown)
        if caller is None:
            raise HTTPException(401, "an API key is needed", {"WWW-Authenticate": "Bearer"})
        setattr(request.state, CALLER, caller)
        if not caller.may(scope):
            kind = "a browser key" if caller.browser else f"a key of scope {caller.scope}"
            raise HTTPException(403, f"{kind} may not do this: it needs one of scope {_COVERED[scope]}")
        if caller.browser and not browser:
            raise HTTPException(403, "a browser key may not do this: it needs one that is kept secret")
        if wait := self._wait(caller):
            told = f"this key may make {caller.rate} requests per second"
            raise HTTPException(429, told, {"Retry-After": str(math.ceil(wait))})
        return caller

    async def _who(self, shown: str) -> Caller | None:
        if not shown:  # not even when the chosen one is empty, as a file cut short is
            return None
        # Compared to the end, so that the time it takes tells nothing.
        if hmac.compare_digest(keys.hashed(shown), self._chosen):
            return self._chooser
        if keys.parts(shown) is None:  # can't be one of ours, whatever the database says
            return None
        try:
            key = keys.matching(await self._keyring.live(), shown)
        except KeysAway:
            told = "the API key can't be looked up now; send the request again"
            raise HTTPException(503, told, {"Retry-After": "5"}) from None
        return Caller.of(key) if key else None

    def _wait(self, caller: Caller) -> float:
        if caller.rate is None:
            return 0.0
        now = self._seconds()
        bucket = self._buckets.setdefault(caller.prefix, Bucket.full(caller.rate, now))
        return bucket.take(now)


def needs(scope: Scope, *, browser: bool = True) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: who asks, with a key that covers this scope."""

    async def allowed(request: Request) -> Caller:
        return await admit(request, scope, browser=browser)

    return allowed


def may(scope: Scope, *, browser: bool = True) -> Callable[[Request], Awaitable[Caller | None]]:
    """A dependency for routes whose key may be in the body: who asks, or None when the headers show no key at all."""

    async def allowed(request: Request) -> Caller | None:
        shown = _shown(request)
        return None if shown is None else await _decide(request, shown, scope, browser)

    return allowed


async def admit(request: Request, scope: Scope, *, browser: bool = True) -> Caller:
    """Who asks, by the request's headers. Raises HTTPException."""
    return await _decide(request, _shown(request) or "", scope, browser)


async def check(request: Request, key: object, scope: Scope, *, browser: bool = True) -> Caller:
    """Who asks, by a key that stood in the body: whatever stood there may be given. Raises HTTPException."""
    return await _decide(request, key if isinstance(key, str) else "", scope, browser)


Writer = Annotated[Caller, Depends(needs("write"))]
Reader = Annotated[Caller, Depends(needs("read"))]
Admin = Annotated[Caller, Depends(needs("admin"))]


async def _decide(request: Request, shown: str, scope: Scope, browser: bool) -> Caller:
    access = request.app.state.access
    assert isinstance(access, Access)
    return await access.decide(request, shown, scope, browser=browser)


def _shown(request: Request) -> str | None:
    """The key that the headers show, None when they show none. One that can't be read is shown, and wrong."""
    if key := header(request, b"x-api-key"):
        return key
    scheme, _, token = (header(request, b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return _user(token) if scheme.lower() == "basic" else None


def _user(token: str) -> str:
    """The user's name in HTTP Basic (RFC 7617), when the password is empty; a name with a colon is fine then."""
    try:
        pair = base64.b64decode(token.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair[:-1] if pair.endswith(":") else ""
