"""`POST /hooks/NAME`: webhooks of the sources that project.yaml names.

    202  durable: the events have found their journeys, and what is no event is kept
    400  genuine, and no JSON          401  not signed with the source's secret
    404  there is no such source       413  too large
    429, 503  nothing was taken; the shop sends it again

The signature is looked at before anything else, on the body as it came.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App, Opened
from engine.runtime import kept
from engine.runtime.kept import Kept
from engine.web import bodies
from engine.web.answers import answer
from engine.web.events import LARGEST_BODY
from engine.web.intake import Full, Verdict
from engine.web.reading import MOST_EVENTS
from engine.web.saying import Heard, hear, text_of
from engine.web.site import Site
from engine.web.who import earlier
from triggers.sources.base import Headers, Said, Source

log = logging.getLogger("karibu.web")

MOST = 10_000
"""Events of one request."""

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
        taken = await take(site, app, name, opened.source, read)
        if isinstance(taken, Response):
            return taken
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


def _read(app: App, opened: Opened, headers: Headers, body: bytes) -> Said | Response:
    if not opened.source.verify(opened.secrets, headers, body, app.clock.now()):
        return answer(401, {"error": "this is not signed with the secret of this source"})
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return answer(400, {"error": "the body is no JSON"})
    return opened.source.read(headers, payload)


@dataclass(frozen=True)
class Taken:
    """What became of a request: events that are new, that had come before, and parts that are kept as no events."""

    accepted: int
    duplicates: int
    kept: int


async def take(site: Site, app: App, name: str, source: Source, said: Said) -> Taken | Response:
    """Take the events and keep the rest, until both are durable; an answer if nothing, or only a part, could be."""
    if len(said) > MOST:
        return answer(413, {"error": f"{len(said)} events in one request; at most {MOST}"})
    try:
        heard = await run_in_threadpool(_hear, app, name, source, said)
        verdicts: list[Verdict] = []
        if heard.whos:
            await run_in_threadpool(app.runtime.introduce, heard.whos)
        for start in range(0, len(heard.events), MOST_EVENTS):  # as many as one transaction takes
            part = [event for event, _ in heard.events[start : start + MOST_EVENTS]]
            dated = frozenset(place - start for place in heard.dated if start <= place < start + len(part))
            found = await site.intake.submit(part, dated)
            verdicts += found
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
        log.error("a request of %s could not be taken: %s", name, type(error).__name__)
        return answer(503, {"error": f"the events could not be kept; {TRY_AGAIN}"}, {"Retry-After": "5"})
    return Taken(verdicts.count("accepted"), verdicts.count("duplicate"), len(left))


def _hear(app: App, name: str, source: Source, said: Said) -> Heard:
    project = app.content.project
    wanted = source.options.consent
    topics = tuple(project.topics) if wanted is None else wanted
    with app.database.read() as connection:
        return hear(said, name, topics, app.door, app.clock.now(), lambda keys: earlier(connection, name, keys))


def _keep(app: App, name: str, left: list[Kept]) -> None:
    with app.database.write() as connection:
        kept.keep(connection, name, left, app.clock.now())
