"""Segment's tracking API, as its SDKs and RudderStack's speak it.

    POST /v1/identify, track, page, screen, group, alias     one call, up to 32 KB
    POST /v1/batch                                           {"batch": [call, …]}, up to 500 KB
    POST /v1/i, t, p, g, a, b                                the same, short, as browsers write them

The write key is shown as the user of Basic auth, or as `writeKey` in the body. A body may be gzip, and of any content
type: a browser that sends text/plain asks no permission first. Any page may call it, none may read anything with it.

    200 {"success": true}   durable, as everywhere; the SDKs want this number
    400, 401, 413           they don't send it again
    429, 503                nothing, or not all, was taken: they send it again
"""

from __future__ import annotations

import base64
import binascii
import hmac
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.web.answers import answer, body_of
from engine.web.api import Site
from engine.web.hooks import take
from triggers.sources.base import Said, Untold
from triggers.sources.segment_spec import CALLS, LARGEST_BATCH, LARGEST_CALL, Segment, SegmentOptions

NAME = "segment"
"""Whose keys messageIds are, if project.yaml doesn't name a source of the kind otherwise."""

SHORT = {"i": "identify", "t": "track", "p": "page", "g": "group", "a": "alias", "b": "batch"}

ANY_PAGE = {"Access-Control-Allow-Origin": "*"}
PERMISSION = {
    **ANY_PAGE,
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding",
    "Access-Control-Max-Age": "86400",
}

MayWrite = Callable[[App, str, Segment], bool]


def may_write(app: App, key: str, segment: Segment) -> bool:
    """Whether this key may send calls: the API key, or a write key, which is public and can do nothing else."""
    assert isinstance(segment.options, SegmentOptions)
    named = segment.options.write_key or ("segment_write_key",)
    keys = [app.settings.key, *filter(None, map(app.settings.secret_of, named))]
    return any([hmac.compare_digest(key.encode(), one.encode()) for one in keys if one])  # noqa: C419  all of them


def router(site: Site, allowed: MayWrite = may_write) -> APIRouter:
    """The routes of every call, long and short."""
    routes = APIRouter(prefix="/v1")
    for path, kind in ({name: name for name in (*CALLS, "batch")} | SHORT).items():
        routes.add_api_route(f"/{path}", _permission, methods=["OPTIONS"])
        routes.add_api_route(f"/{path}", _route(site, kind, allowed), methods=["POST"])
    return routes


async def _permission() -> Response:
    return Response(None, 204, PERMISSION)


def _route(site: Site, kind: str, allowed: MayWrite) -> Callable[[Request], Any]:
    most = LARGEST_BATCH if kind == "batch" else LARGEST_CALL

    async def call(request: Request) -> Response:
        try:
            body = _unpacked(await body_of(request, most), request.headers.get("content-encoding", ""), most)
        except HTTPException as refused:
            return _no(refused.status_code, str(refused.detail))
        app = site.app()
        name, segment = of(app)
        said = await run_in_threadpool(_read, app, segment, kind, body, _shown(request), allowed)
        if isinstance(said, Response):
            return said
        taken = await take(site, app, name, segment, said)
        if isinstance(taken, Response):
            again = taken.headers.get("retry-after")
            return _no(taken.status_code, "not all of this was taken", {"Retry-After": again} if again else {})
        return answer(200, {"success": True}, ANY_PAGE)

    return call


def of(app: App) -> tuple[str, Segment]:
    """The source that the calls are of: the one that project.yaml names, or one of its own."""
    for name, opened in app.sources.items():
        if isinstance(opened.source, Segment):
            return name, opened.source
    return NAME, Segment(SegmentOptions())


def _read(app: App, segment: Segment, kind: str, body: bytes, shown: str | None, allowed: MayWrite) -> Said | Response:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Without a key nobody is told what is wrong with their JSON.
        mine = shown is not None and allowed(app, shown, segment)
        return _no(400, "the body is no JSON") if mine else _no(401, "a write key is needed")
    if not isinstance(payload, dict):
        payload = {}
    key = shown or payload.pop("writeKey", None)
    if not isinstance(key, str) or not allowed(app, key, segment):
        return _no(401, "a write key is needed")
    if kind == "batch" and not isinstance(payload.get("batch"), list):
        return _no(400, "a batch has a list of calls")
    said = segment.calls(kind, payload, app.clock.now())
    if kind != "batch" and (wrong := _wrong(said)):
        return _no(400, wrong)
    return said


def _wrong(said: Said) -> str | None:
    return next((one.reason for one in said if isinstance(one, Untold)), None)


def _shown(request: Request) -> str | None:
    """The user of Basic auth, or None."""
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(told.strip(), validate=True).decode().partition(":")[0] or None
    except (binascii.Error, ValueError):
        return None


def _unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before gzip; never more than `most` bytes of it, however small it came."""
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() != "gzip":
        raise HTTPException(415, "only gzip is understood")
    unpack = zlib.decompressobj(wbits=31)
    try:
        plain = unpack.decompress(body, most + 1)
    except zlib.error:
        raise HTTPException(400, "this is not gzip") from None
    if len(plain) > most:
        raise HTTPException(413, f"a request may have {most} bytes")
    if not unpack.eof:
        raise HTTPException(400, "this gzip has no end")
    return plain


def _no(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    told: dict[str, Sequence[str] | bool | str] = {"success": False, "code": str(status), "message": message}
    return answer(status, told, {**ANY_PAGE, **(headers or {})})
