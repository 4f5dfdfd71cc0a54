"""What routes that are asked for something by one JSON object share: it is read, done, and what is wrong is told by its
path."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import Response
from fastapi.concurrency import run_in_threadpool

from engine.runtime.bounds import AN_ID, NO_ID, id_of
from engine.store.database import DatabaseError
from engine.web.answers import answer
from engine.web.reading import DEEPEST, depth

log = logging.getLogger("karibu.web")


class Wrong(Exception):
    """What is wrong with a request: the status, and where, what, and what to do."""

    def __init__(self, status: int, path: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        told = {"path": path, "message": message}
        self.status, self.told = status, told if hint is None else told | {"hint": hint}


async def answered(does: Callable[..., tuple[int, Any]], *given: Any) -> Response:
    """The answer of what is done, in a thread, in one transaction or more that may be done again."""
    try:
        status, told = await run_in_threadpool(does, *given)
    except Wrong as wrong:
        return answer(wrong.status, {"errors": [wrong.told]})
    except DatabaseError as error:
        log.error("what was asked for could not be kept or read: %s", type(error).__name__)
        return answer(
            503, {"error": "this can't be done now; nothing was changed, send it again"}, {"Retry-After": "5"}
        )
    return answer(status, told)


def object_of(body: bytes, like: str) -> dict[str, Any]:
    """The object that a body is. Raises Wrong."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Wrong(400, "", f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise Wrong(422, "", "the body is an object", f"like {like}")
    if depth(given) > DEEPEST:
        raise Wrong(422, "", f"the body is nested deeper than {DEEPEST}")
    if b"\\u0000" in orjson.dumps(given):
        raise Wrong(422, "", "the character U+0000 can't be kept", "leave it out")
    return given


def an_id(path: str, given: Any) -> str:
    """An id in the form it is kept in. Raises Wrong."""
    if text := id_of(given):
        return text
    raise Wrong(422, path, NO_ID if given is not None else "the id is missing", AN_ID)
