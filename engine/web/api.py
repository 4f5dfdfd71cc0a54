"""The service's HTTP side: events in, how it is, and the way out of a topic.

    POST /v1/events   one event or a list; scope write        202 once they are durable
    GET  /v1/status   journeys and what waits; scope read
    GET  /healthz     whether it works                        200 or 503
    /u/…              the unsubscribe page and its one click

Every route under /v1 wants an API key of a scope, before its body is read: engine.web.access decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.runtime import feedback
from engine.web import unsubscribe
from engine.web.access import Access, Reader, Writer
from engine.web.cors import Cors
from engine.web.intake import Full, Intake
from engine.web.reading import Fault, Posted, Unreadable, read

log = logging.getLogger("karibu.web")

LARGEST_BODY = 2 * 1024 * 1024
SMALL_BODY = 8 * 1024
"""Up to so many bytes a body is read at once; a larger one in a thread, so that nobody waits for it."""


@dataclass(frozen=True)
class Site:
    """What the routes need. `app` is asked anew at each request: its content changes when journeys are published."""

    app: Callable[[], App]
    intake: Intake
    report: Callable[[], dict[str, Any]]
    healthy: Callable[[], bool]


def build(site: Site) -> FastAPI:
    """The web application."""
    web = FastAPI(title="Karibu", docs_url=None, redoc_url=None, openapi_url=None)
    web.add_exception_handler(Exception, _ours)
    web.add_exception_handler(HTTPException, _told)
    app = site.app()
    web.state.access = Access(app.settings.key, app.database)
    web.add_middleware(Cors)
    web.include_router(_events(site))
    web.include_router(_open(site))
    brand, topics = app.content.project.brand, app.content.project.topics
    shop = unsubscribe.Shop(brand.name, brand.address, brand.locale, {name: one.title for name, one in topics.items()})
    web.include_router(unsubscribe.router(app.subscriptions, shop, _opt_out(app)))
    return web


def _events(site: Site) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/events")
    async def events(request: Request, caller: Writer) -> Response:
        body = await _body(request)
        app = site.app()
        now = app.clock.now()
        try:
            posted = (
                read(body, app.door, now)
                if len(body) <= SMALL_BODY
                else (await run_in_threadpool(read, body, app.door, now))
            )
        except Unreadable as why:
            return _json(400, {"error": str(why)})
        return await _take(site.intake, posted)

    @routes.get("/status")
    def status(caller: Reader) -> Response:
        return _json(200, site.report())

    return routes


async def _take(intake: Intake, posted: Posted) -> Response:
    taken = [incoming for _, incoming in posted.events]
    dated = frozenset(place for place, (index, _) in enumerate(posted.events) if index in posted.dated)
    verdicts = []
    if taken:
        try:
            verdicts = await asyncio.wrap_future(intake.submit(taken, dated))
        except Full:
            told = {"error": "too many events are waiting; nothing of this request was taken, send it again"}
            return _json(429, told, {"Retry-After": "2"})
        except Exception:
            told = {"error": "the events could not be kept; nothing of this request was taken, send it again"}
            return _json(503, told, {"Retry-After": "5"})
    faults = list(posted.faults)
    conflicts = [index for (index, _), verdict in zip(posted.events, verdicts, strict=True) if verdict == "conflict"]
    for index in conflicts:
        hint = "a key names one event for ever"
        faults.append(Fault(index, "key", "another event has this key", hint))
    answer: dict[str, Any] = {
        "accepted": verdicts.count("accepted"),
        "duplicates": verdicts.count("duplicate"),
    }
    if faults:
        answer["errors"] = [one.plain() for one in sorted(faults, key=lambda one: one.index)]
    if posted.warnings:
        answer["warnings"] = [one.plain() for one in posted.warnings]
    if answer["accepted"] or answer["duplicates"]:
        return _json(202, answer)
    return _json(409 if len(conflicts) == posted.count else 422, answer)


def _open(site: Site) -> APIRouter:
    routes = APIRouter()

    @routes.api_route("/healthz", methods=["GET", "HEAD"])
    def health() -> Response:
        healthy = site.healthy()
        return _json(200 if healthy else 503, {"ok": healthy})

    return routes


async def _body(request: Request) -> bytes:
    """The body, at most LARGEST_BODY bytes of it."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise HTTPException(413, f"a request may have {LARGEST_BODY} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"a request may have {LARGEST_BODY} bytes")
    return bytes(body)


def _opt_out(app: App) -> unsubscribe.OptOut:
    def end(customer: str, channel: str, topic: str) -> None:
        with app.database.write() as connection:
            feedback.opt_out(connection, customer, channel, topic, app.clock.now(), "unsubscribe link")

    return end


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(error.status_code, {"error": error.detail}, dict(error.headers or {}))


async def _ours(request: Request, error: Exception) -> Response:
    """Our own fault. The text of the error may hold somebody's data, so it stays here."""
    log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    return _json(500, {"error": "this failed, and it is our fault"})
