"""A header as it came, read from the list itself: Starlette's mapping raises and catches an error for one that isn't
there, and every event asks for several of those."""

from __future__ import annotations

from starlette.requests import Request


def header(request: Request, name: bytes) -> str | None:
    """The first header of this name, written small as ASGI gives them; None without one."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None
