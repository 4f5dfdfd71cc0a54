"""The service's HTTP side: events in, how it is, and the way out of a topic.

    POST /v1/events   engine/web/events.py; scope write      202 once they are durable
    POST /v1/track …  Segment's tracking API (engine/web/tracking.py); scope write
    POST /hooks/NAME  webhooks of shops (engine/web/hooks.py); signed
    POST /hooks/PROVIDER/events   what providers of messages call back about (engine/web/returns.py); signed
    …    /v1/customers/…  engine/web/customers.py; set and merge want scope write, a look scope read
    POST /v1/journeys/{journey}/enter   engine/web/journeys.py; scope admin
    GET  /v1/status   journeys and what waits; scope read
    GET  /v1/openapi.json   what /v1/events, /v1/customers, /v1/journeys and /v1/status take and answer
    GET  /healthz     whether it works                        200 or 503
    /o/…, /c/…, /l/…  our own open pixel and click links (engine/web/seen.py); signed, or not to be guessed
    /u/…              the unsubscribe page and its one click
    /preferences/…    what a customer chooses to get         /confirm/…   the second yes of a double opt-in
    /survey/…         the page of a survey

Every other route under /v1 wants an API key of a scope, before its body is read: engine.web.access decides.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cached_property

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.app import App
from engine.rendering.links import Subscription
from engine.runtime import feedback
from engine.web import (
    confirm,
    customers,
    hooks,
    journeys,
    openapi,
    preferences,
    returns,
    seen,
    survey,
    tracking,
    unsubscribe,
)
from engine.web import events as posted
from engine.web.access import Access, Reader, admit
from engine.web.answers import answer
from engine.web.cors import Cors
from engine.web.paper import Shop
from engine.web.site import Site

log = logging.getLogger("karibu.web")

EVENTS = "/v1/events"

Endpoint = Callable[[Request], Awaitable[Response]]


class Web(FastAPI):
    """The web application. Events go past FastAPI and its router, whose way to a handler costs more than to read an
    event; what else is asked at their path FastAPI answers."""

    straight: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == EVENTS and scope["method"] == "POST":
            scope["app"] = self
            await self._past(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @cached_property
    def _past(self) -> ASGIApp:
        async def asked(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            try:
                response = await self.straight(request)
            except ClientDisconnect:
                return
            except HTTPException as refused:
                response = await _told(request, refused)
            except Exception as error:
                response = await _ours(request, error)
            await response(scope, receive, send)

        return Cors(asked)


def build(site: Site) -> Web:
    """The web application."""
    web = Web(title="Karibu", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    web.add_exception_handler(Exception, _ours)
    web.add_exception_handler(HTTPException, _told)
    app = site.app()
    web.state.access = Access(app.settings.key, app.database)
    web.add_middleware(Cors)
    web.straight = _events(site)
    web.router.routes.append(Route(EVENTS, web.straight, methods=["POST"]))
    web.include_router(tracking.router(site))
    web.include_router(hooks.router(site))
    web.include_router(returns.router(site))
    web.include_router(seen.router(site))
    web.include_router(customers.routes(site))
    web.include_router(journeys.routes(site))
    web.include_router(_status(site))
    web.include_router(_open(site))
    shop = Shop.of(app.content.project)
    web.include_router(unsubscribe.router(app.subscriptions, shop, _opt_out(app)))
    web.include_router(preferences.router(site.app))
    web.include_router(confirm.router(site.app))
    web.include_router(survey.router(site.app))
    return web


def _events(site: Site) -> Endpoint:
    async def events(request: Request) -> Response:
        caller = await admit(request, "write")
        return await posted.take(request, site.intake, site.app(), page=caller.browser)

    return events


def _status(site: Site) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/status")
    def status(caller: Reader) -> Response:
        return answer(200, site.report())

    return routes


def _open(site: Site) -> APIRouter:
    routes = APIRouter()

    described = orjson.dumps(openapi.document())

    @routes.get(openapi.PATH)
    def document() -> Response:
        return Response(described, 200, media_type="application/json")

    @routes.api_route("/healthz", methods=["GET", "HEAD"])
    def health() -> Response:
        healthy = site.healthy()
        return answer(200 if healthy else 503, {"ok": healthy})

    return routes


def _opt_out(app: App) -> unsubscribe.OptOut:
    def end(one: Subscription) -> None:
        now, source = app.clock.now(), "unsubscribe link"
        app.database.written(
            lambda connection: feedback.opt_out(connection, one.customer, one.channel, one.topic, now, source)
        )
        app.runtime.hear(feedback.left(one.ref, "link", now))

    return end


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer(error.status_code, {"error": error.detail}, dict(error.headers or {}))


async def _ours(request: Request, error: Exception) -> Response:
    """Our own fault. The text of the error may hold somebody's data, so it stays here."""
    log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    return answer(500, {"error": "this failed, and it is our fault"})
