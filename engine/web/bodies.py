"""The body of a request, within bounds: as a whole or piece by piece, packed with gzip or not.

What is unpacked comes in pieces of a fixed size, and the bounds are those of the unpacked body: a small one that would
unpack to gigabytes ends at the bound, and never stands in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

from fastapi import HTTPException, Request

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
    coding = (header(request, b"content-encoding") or "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip"):
        raise HTTPException(415, "a body may be packed with gzip, or not at all", {"Accept-Encoding": "gzip"})
    gunzip = Gunzip() if coding.endswith("gzip") else None
    declared = header(request, b"content-length") or ""
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    taken = 0
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
    found = [piece async for piece in pieces(request, most)]
    return found[0] if len(found) == 1 else b"".join(found)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"a body may have {most} bytes, unpacked")
