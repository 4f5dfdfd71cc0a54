"""`POST /hooks/NAME`: webhooks of the sources that project.yaml names.

    202  durable: the events have found their journeys, and what is no event is kept
    400  genuine, and no JSON          401  not signed with the source's secret
    404  there is no such source       413  too large
    429, 503  nothing was taken; the shop sends it again

The signature is looked at before anything else, on the body as it came.
"""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App, Opened
from engine.web import bodies
from engine.web.answers import answer
from engine.web.events import LARGEST_BODY
from engine.web.offering import MOST, Refused
from engine.web.saying import Asked, Noted
from engine.web.site import Site
from engine.web.taking import take
from triggers.sources.base import Headers, Said

log = logging.getLogger("karibu.web")

TRY_AGAIN = "not all of this request was taken, send it again"


def router(site: Site) -> APIRouter:
    """The route of every source."""
    routes = APIRouter()

    @routes.post("/hooks/{name}")
    async def hook(name: str, request: Request) -> Response:
        app = site.app()
        opened = app.sources.get(name)
        if opened is None:
            return answer(404, {"error": "there is no such source"})
        body = await bodies.whole(request, LARGEST_BODY)
        headers = {key.lower(): value for key, value in request.headers.items()}
        if opened.source.greeting(headers, body):
            return answer(200, {"ok": True})
        if not opened.secrets:
            log.error("a webhook of %s came, and it has no secret: set %s", name, variables(opened))
            return answer(503, {"error": f"this source has no secret yet; {TRY_AGAIN}"}, {"Retry-After": "60"})
        read = await run_in_threadpool(_read, app, opened, headers, body)
        if isinstance(read, Response):
            return read
        said, asked = read
        taken = await take(site.intake, app, name, opened.source, said, asked=asked)
        if isinstance(taken, Refused):
            return _refused(taken)
        counts = {"accepted": taken.accepted, "duplicates": taken.duplicates}
        return answer(202, counts | ({"kept": taken.kept} if taken.kept else {}))

    @routes.options("/hooks/{name}")
    async def leave(name: str, request: Request) -> Response:
        """May they send? https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection

        Anybody may: what isn't theirs to send is refused when it comes."""
        opened = site.app().sources.get(name)
        origin = request.headers.get("webhook-request-origin")
        if opened is None or not opened.source.asks_leave or origin is None:
            return answer(404, {"error": "nobody is asked here"})
        return Response(None, 200, {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})

    return routes


def variables(opened: Opened) -> str:
    """The variables of a source's secrets."""
    return " or ".join(f"KARIBU_{name.upper()}" for name in opened.named)


def without_secret(app: App) -> dict[str, str]:
    """The sources that have no secret, with the variables that would hold it."""
    return {name: variables(opened) for name, opened in app.sources.items() if _mute(opened)}


def _mute(opened: Opened) -> bool:
    return opened.source.needs_secret and not opened.secrets


def _read(app: App, opened: Opened, headers: Headers, body: bytes) -> tuple[Said, Asked] | Response:
    if not opened.source.verify(opened.secrets, headers, body, app.clock.now()):
        return answer(401, {"error": "this is not signed with the secret of this source"})
    try:
        payload = opened.source.payload(headers, body)
    except ValueError:
        return answer(400, {"error": "the body is no JSON"})
    noted = Noted(headers)
    return opened.source.read(noted, payload), Asked(payload, noted)


def _refused(why: Refused) -> Response:
    match why:
        case Refused.LARGE:
            return answer(413, {"error": f"too many events in one request; at most {MOST}"})
        case Refused.FULL:
            return answer(429, {"error": f"too many events are waiting; {TRY_AGAIN}"}, {"Retry-After": "2"})
        case Refused.AWAY:
            return answer(503, {"error": f"the events could not be kept; {TRY_AGAIN}"}, {"Retry-After": "5"})
