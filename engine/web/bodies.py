"""The body of a request, within bounds: as a whole or piece by piece, packed with gzip or not.

What is unpacked comes in pieces of a fixed size, and the bounds are those of the unpacked body: a small one that would
unpack to gigabytes ends at the bound, and never stands in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from engine.web.headers import header

PIECE = 64 * 1024
"""Bytes of one piece, at most."""

_GZIP = 16 + zlib.MAX_WBITS


class Gunzip:
    """Unpacks a gzip stream of one or several members (RFC 1952). Raises HTTPException when it is none."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """What these bytes unpack to, in pieces."""
        while packed:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            try:
                piece = self._member.decompress(packed, PIECE)
            except zlib.error:
                raise HTTPException(400, "the body says it is gzip, and it is not") from None
            packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> None:
        """The body is at its end, and so must be the last member."""
        if self._begun and not self._member.eof:
            raise HTTPException(400, "the gzip body breaks off in the middle")


async def pieces(request: Request, most: int) -> AsyncIterator[bytes]:
    """The unpacked body, piece by piece, up to `most` bytes. Raises HTTPException: 400, 413, 415."""
    gunzip, taken = _opened(request, most), 0
    async for chunk in request.stream():
        for piece in (chunk,) if gunzip is None else gunzip.feed(chunk):
            taken += len(piece)
            if taken > most:
                raise _too_large(most)
            yield piece
    if gunzip is not None:
        gunzip.end()


async def whole(request: Request, most: int) -> bytes:
    """The unpacked body, at most `most` bytes of it. Raises HTTPException as `pieces` does."""
    if header(request, b"content-encoding") is not None:
        return b"".join([piece async for piece in pieces(request, most)])
    _opened(request, most)
    body, more = b"", True
    while more:  # as Starlette's stream does, without two generators between the body and who waits for it
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body = body + message["body"] if body else message["body"]
        more = message.get("more_body", False)
        if len(body) > most:
            raise _too_large(most)
    return body


def _opened(request: Request, most: int) -> Gunzip | None:
    """What unpacks the body; None where it comes as it is. Raises HTTPException: 413, 415."""
    coding = (header(request, b"content-encoding") or "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise HTTPException(415, "a body may be packed with gzip, or not at all", {"Accept-Encoding": "gzip"})
    declared = header(request, b"content-length") or ""
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    return Gunzip() if coding.endswith("gzip") else None


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"a body may have {most} bytes, unpacked")
