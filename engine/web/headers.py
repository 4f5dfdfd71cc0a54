"""A header as it came, read from the list itself: Starlette's mapping takes longer over one that isn't there than the
rest of a small event takes, and every event asks for four of those."""

from __future__ import annotations

from starlette.requests import Request


def header(request: Request, name: bytes) -> str | None:
    """The first header of this name, written small; None without one."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None
