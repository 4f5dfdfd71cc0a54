"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): a page of any shop may read the answer to its browser key.

Only a browser key's answers may be read, so a secret key that got into a page stands out at once. A preflight shows no
key: it is answered for every POST below /v1, and what comes after it is decided by its key. There are no cookies here,
so another site can do nothing in its visitor's name.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.web.access import CALLER, Caller

BELOW = "/v1/"
PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    # X-Retry-Count: Segment's SDK says with it that it tries again, which it could not do otherwise. AnonymousId is in
    # all that RudderStack's sends, and the Rsa- ones when it tries again.
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Encoding, Content-Type, Idempotency-Key, X-API-Key, X-Retry-Count, AnonymousId, "
        "Rsa-Recovered, Rsa-Retry-Attempt, Rsa-Retry-Reason, Rsa-Since-First-Attempt, Rsa-Since-Last-Attempt"
    ),
    "Access-Control-Max-Age": "3600",
}


class Cors:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(BELOW):
            await self._app(scope, receive, send)
            return
        if _preflight(scope):
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send)
            return
        # The routes see copies of the scope, but all of them the same state.
        state = scope.setdefault("state", {})

        async def told(message: Message) -> None:
            caller = state.get(CALLER)
            if message["type"] == "http.response.start" and isinstance(caller, Caller) and caller.browser:
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = "*"
                headers["Access-Control-Expose-Headers"] = "Retry-After"
            await send(message)

        await self._app(scope, receive, told)


def _preflight(scope: Scope) -> bool:
    """Whether a browser asks if it may POST here, and there is something to POST to."""
    if scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    if "origin" not in headers:
        return False
    if headers.get("access-control-request-method") != "POST":
        return False
    posted = {**scope, "method": "POST"}
    return any(route.matches(posted)[0] is Match.FULL for route in scope["app"].routes)
