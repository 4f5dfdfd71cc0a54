"""Our own open pixel and click links, where the provider tells neither: `GET /o/TOKEN`, `GET /c/TOKEN`, and of texts
`GET /l/CODE`.

A click always leads on, whether or not it can be recorded: its reader has nothing to do with our database. (A short
one is kept there; while that is away, its reader is asked to come again.) What a mail
program or a scanner fetches by itself is marked as a machine's. HEAD records nothing.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from engine.app import App
from engine.channels.returns import Kind
from engine.rendering.short import CODE, SHORT
from engine.rendering.tracking import CLICKS, OPENS
from engine.runtime.feedback import Feedback
from engine.store.failures import DatabaseError
from engine.web.site import Site

log = logging.getLogger("karibu.web")

PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A GIF of one transparent pixel."""

MACHINES = (
    "bot", "crawler", "spider", "preview", "scanner", "barracuda", "proofpoint", "mimecast", "externalhit", "whatsapp/",
)  # fmt: skip
"""Parts of the names that programs give themselves which follow the links of mails for nobody."""

KINDS: Mapping[tuple[str, bool], Kind] = {
    ("opened", False): "opened",
    ("opened", True): "machine_opened",
    ("clicked", False): "clicked",
    ("clicked", True): "machine_clicked",
}
"""What is recorded, by what happened and whether a machine did it."""

_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def router(site: Site) -> APIRouter:
    """The three routes."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route(OPENS + "{token}", methods=["GET", "HEAD"])
    async def opened(token: str, request: Request) -> Response:
        app = site.app()
        ref = app.tracking.opened(token)
        if ref is not None:
            await run_in_threadpool(_record, app, request, ref, "opened")
        return Response(PIXEL, 404 if ref is None else 200, _HEADERS, "image/gif")

    @routes.api_route(CLICKS + "{token}", methods=["GET", "HEAD"])
    async def clicked(token: str, request: Request) -> Response:
        app = site.app()
        return await run_in_threadpool(_leads, app, request, app.tracking.clicked(token))

    @routes.api_route(SHORT + "{token}", methods=["GET", "HEAD"])
    async def short(token: str, request: Request) -> Response:
        app = site.app()
        try:
            found = await run_in_threadpool(app.runtime.leads, token) if CODE.fullmatch(token) else None
        except DatabaseError as error:
            log.error("a short link could not be looked up: %s", type(error).__name__)
            again = "This link doesn't work at the moment. Please try it again in a minute."
            return Response(again, 503, _HEADERS | {"Retry-After": "60"}, "text/plain")
        return await run_in_threadpool(_leads, app, request, found)

    return routes


def _leads(app: App, request: Request, found: tuple[str, str] | None) -> Response:
    """The answer to a click: it was recorded, and leads on."""
    if found is None:
        return Response("This link doesn't work. It may have been cut off on its way.", 404, _HEADERS, "text/plain")
    ref, url = found
    _record(app, request, ref, "clicked", url)
    return RedirectResponse(url, 302, _HEADERS)


def machine(headers: Mapping[str, str]) -> bool:
    """Whether a program asks that nobody sits at: it says so, fetches ahead, or is Apple's mail privacy, which opens
    every mail and calls itself nothing but Mozilla."""
    ahead = ("purpose", "sec-purpose", "x-purpose", "x-moz")
    if any(word in headers.get(name, "").lower() for name in ahead for word in ("prefetch", "preview")):
        return True
    agent = headers.get("user-agent", "").strip().lower()
    return agent in ("", "mozilla/5.0") or any(name in agent for name in MACHINES)


def _record(app: App, request: Request, ref: str, verb: str, url: str | None = None) -> None:
    """Once an hour at most, for each link: whoever has it may fetch it as often as they like."""
    if request.method == "HEAD":
        return
    now = app.clock.now()
    kind = KINDS[verb, machine(request.headers)]
    key = f"{now:%Y-%m-%dT%H}" + ("" if url is None else ":" + sha256(url.encode()).hexdigest()[:16])
    one = Feedback(ref, kind, now, {} if url is None else {"url": url}, key=key)
    try:
        app.runtime.hear([one])
    except Exception as error:  # its text may name somebody
        log.error("that a message was %s could not be recorded: %s", verb, type(error).__name__)
