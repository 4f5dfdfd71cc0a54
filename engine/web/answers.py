"""Reading a bounded body, and answering JSON."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import HTTPException, Request, Response


async def body_of(request: Request, most: int) -> bytes:
    """The raw body, at most `most` bytes of it: 413 for a longer one, as soon as that is known."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise HTTPException(413, f"a request may have {most} bytes")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"a request may have {most} bytes")
    return bytes(body)


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")
