"""Segment's tracking API, as its SDKs and RudderStack's speak it.

    POST /v1/identify, track, page, screen, group, alias     one call, up to 32 KB
    POST /v1/batch                                           {"batch": [call, …]}, up to 500 KB
    POST /v1/i, t, p, g, a, b                                the same, short, as browsers write them

The write key is an API key of scope write, in a page one that was made for browsers (engine.web.access). It is shown as
the user of Basic auth, or as `writeKey` in the body. A body may be gzip, and of any content type: a browser that sends
text/plain asks no permission first.

    200 {"success": true}   durable, as everywhere; the SDKs want this number
    400, 401, 403, 413      they don't send it again
    429, 503                nothing, or not all, was taken: they send it again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.web import bodies
from engine.web.access import check, may
from engine.web.answers import answer
from engine.web.offering import Refused
from engine.web.site import Site
from engine.web.taking import take
from triggers.sources.base import Said, SourceOptions, Untold
from triggers.sources.segment_spec import CALLS, LARGEST_BATCH, LARGEST_CALL, Segment

NAME = "segment"
"""Whose keys messageIds are, if project.yaml doesn't name a source of the kind otherwise."""

REFUSED: Mapping[Refused, tuple[int, str, dict[str, str]]] = {
    Refused.LARGE: (413, "too many calls in one request", {}),
    Refused.FULL: (429, "too many events are waiting; not all of this was taken", {"Retry-After": "2"}),
    Refused.AWAY: (503, "not all of this was taken", {"Retry-After": "5"}),
}

SHORT = {"i": "identify", "t": "track", "p": "page", "g": "group", "a": "alias", "b": "batch"}


def router(site: Site) -> APIRouter:
    """The routes of every call, long and short."""
    routes = APIRouter(prefix="/v1")
    for path, kind in ({name: name for name in (*CALLS, "batch")} | SHORT).items():
        routes.add_api_route(f"/{path}", _route(site, kind), methods=["POST"])
    return routes


def _route(site: Site, kind: str) -> Callable[[Request], Any]:
    most = LARGEST_BATCH if kind == "batch" else LARGEST_CALL

    async def call(request: Request) -> Response:
        try:
            caller = await may("write")(request)
            payload = await run_in_threadpool(_json, await bodies.whole(request, most))
            if caller is None:  # without a key nobody is told what is wrong with their JSON
                key = payload.get("writeKey") if isinstance(payload, dict) else None
                caller = await check(request, key, "write")
        except HTTPException as refused:
            return _no(refused.status_code, str(refused.detail), dict(refused.headers or {}))
        if not isinstance(payload, dict):
            return _no(400, "the body is no JSON object")
        payload.pop("writeKey", None)
        if kind == "batch" and not isinstance(payload.get("batch"), list):
            return _no(400, "a batch has a list of calls")
        app = site.app()
        name, segment = of(app)
        said = await run_in_threadpool(segment.calls, kind, payload, app.clock.now())
        if kind != "batch" and (wrong := _wrong(said)):
            return _no(400, wrong)
        taken = await take(site.intake, app, name, segment, said, page=caller.browser)
        if isinstance(taken, Refused):
            return _no(*REFUSED[taken])
        return answer(200, {"success": True})

    return call


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def of(app: App) -> tuple[str, Segment]:
    """The source that the calls are of: the one that project.yaml names, or one of its own."""
    for name, opened in app.sources.items():
        if isinstance(opened.source, Segment):
            return name, opened.source
    return NAME, Segment(SourceOptions())


def _wrong(said: Said) -> str | None:
    return next((one.reason for one in said if isinstance(one, Untold)), None)


def _no(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    told: dict[str, Sequence[str] | bool | str] = {"success": False, "code": str(status), "message": message}
    return answer(status, told, headers)
