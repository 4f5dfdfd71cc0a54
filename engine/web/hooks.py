"""`POST /hooks/NAME`: webhooks of the sources that project.yaml names.

    202  durable: the events have found their journeys, and what is no event is kept
    400  genuine, and no JSON          401  not signed with the source's secret
    404  there is no such source       413  too large
    429, 503  nothing was taken; the shop sends it again

The signature is looked at before anything else, on the body as it came.
"""

from __future__ import annotations

import asyncio
import logging

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App, Opened
from engine.runtime import kept
from engine.runtime.kept import Kept
from engine.web.answers import answer, body_of
from engine.web.api import Site
from engine.web.events import LARGEST_BODY
from engine.web.intake import Full, Verdict
from engine.web.saying import Heard, hear, text_of
from engine.web.who import customer_of
from triggers.sources.base import Headers, Said

log = logging.getLogger("karibu.web")

TRY_AGAIN = "nothing of this request was taken, send it again"


def router(site: Site) -> APIRouter:
    """The route of every source."""
    routes = APIRouter()

    @routes.post("/hooks/{name}")
    async def hook(name: str, request: Request) -> Response:
        app = site.app()
        opened = app.sources.get(name)
        if opened is None:
            return answer(404, {"error": "there is no such source"})
        body = await body_of(request, LARGEST_BODY)
        headers = {key.lower(): value for key, value in request.headers.items()}
        if opened.source.greeting(headers, body):
            return answer(200, {"ok": True})
        if not opened.secrets:
            log.error("a webhook of %s came, and it has no secret: set %s", name, variables(opened))
            return answer(503, {"error": f"this source has no secret yet; {TRY_AGAIN}"}, {"Retry-After": "60"})
        read = await run_in_threadpool(_read, app, opened, headers, body)
        if isinstance(read, Response):
            return read
        return await take(site, app, name, opened, read)

    return routes


def variables(opened: Opened) -> str:
    """The variables of a source's secrets."""
    return " or ".join(f"KARIBU_{name.upper()}" for name in opened.named)


def without_secret(app: App) -> dict[str, str]:
    """The sources that have no secret, with the variables that would hold it."""
    return {name: variables(opened) for name, opened in app.sources.items() if not opened.secrets}


def _read(app: App, opened: Opened, headers: Headers, body: bytes) -> Said | Response:
    if not opened.source.verify(opened.secrets, headers, body, app.clock.now()):
        return answer(401, {"error": "this is not signed with the secret of this source"})
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return answer(400, {"error": "the body is no JSON"})
    return opened.source.read(headers, payload)


async def take(site: Site, app: App, name: str, opened: Opened, said: Said) -> Response:
    """Take the events and keep the rest, and answer when both are durable."""
    try:
        heard = await run_in_threadpool(_hear, app, name, opened, said)
        verdicts: list[Verdict] = []
        if heard.events:
            incoming = [event for event, _ in heard.events]
            verdicts = await asyncio.wrap_future(site.intake.submit(incoming, frozenset(heard.dated)))
        left = list(heard.kept)
        for place, verdict in enumerate(verdicts):
            told = heard.events[place][1]
            if verdict == "conflict" and told.first:
                verdicts[place] = "duplicate"
            elif verdict == "conflict":
                left.append(Kept(told.event, "another event has this key", text_of(told)))
        if left:
            await run_in_threadpool(_keep, app, name, left)
    except Full:
        return answer(429, {"error": f"too many events are waiting; {TRY_AGAIN}"}, {"Retry-After": "2"})
    except Exception as error:
        log.error("a webhook of %s could not be taken: %s", name, type(error).__name__)
        return answer(503, {"error": f"the events could not be kept; {TRY_AGAIN}"}, {"Retry-After": "5"})
    counts = {"accepted": verdicts.count("accepted"), "duplicates": verdicts.count("duplicate")}
    return answer(202, counts | ({"kept": len(left)} if left else {}))


def _hear(app: App, name: str, opened: Opened, said: Said) -> Heard:
    project = app.content.project
    wanted = opened.source.options.consent
    topics = tuple(project.topics) if wanted is None else wanted
    with app.database.read() as connection:
        return hear(said, name, topics, app.door, app.clock.now(), lambda who: customer_of(connection, name, who))


def _keep(app: App, name: str, left: list[Kept]) -> None:
    with app.database.write() as connection:
        kept.keep(connection, name, left, app.clock.now())
