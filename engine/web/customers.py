"""Customers over HTTP: set one, read one, make two one.

    PUT  /v1/customers/{id}      what is known of them, as in an event's `customer`; scope write    201 new, 200
    GET  /v1/customers/{id}      all we know of them; scope read                                    200, 404
    POST /v1/customers/merge     {"from": "asha", "into": "amina"}; scope write                     200

A browser key may do none of it: everybody can read it, and what it set or merged would be other people's.
An id that was merged away is the other one's, in all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor

from engine.app import App
from engine.language.errors import did_you_mean
from engine.runtime.customers import Told, strangers
from engine.runtime.door import Problems, who_of
from engine.runtime.explain import UnknownCustomer
from engine.runtime.portrait import portrait
from engine.store.database import DatabaseError
from engine.web import bodies
from engine.web.access import Caller, Reader, needs
from engine.web.answers import answer
from engine.web.reading import AN_ID, DEEPEST, LARGEST_EVENT, depth, id_of

log = logging.getLogger("karibu.web")

Secret = Annotated[Caller, Depends(needs("write", browser=False))]


class Wrong(Exception):
    """What is wrong with a request: the status, and where, what, and what to do."""

    def __init__(self, status: int, path: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        told = {"path": path, "message": message}
        self.status, self.told = status, told if hint is None else told | {"hint": hint}


class _Anything(Convertor[str]):
    """The rest of an address, slashes and ends of lines too: Starlette's own `path` stops at those, and answers that
    there is no such route."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


def routes(app: Callable[[], App]) -> APIRouter:
    """The routes. `app` is asked anew at each request."""
    made = APIRouter(prefix="/v1/customers")

    @made.post("/merge")
    async def merge(request: Request, caller: Secret) -> Response:
        return await _answered(_merge, app(), await bodies.whole(request, LARGEST_EVENT))

    @made.put("/{name:anything}")
    async def put(name: str, request: Request, caller: Secret) -> Response:
        return await _answered(_put, app(), name, await bodies.whole(request, LARGEST_EVENT))

    @made.get("/{name:anything}")
    async def get(name: str, caller: Reader) -> Response:
        return await _answered(_get, app(), name)

    return made


async def _answered(does: Callable[..., tuple[int, Any]], *given: Any) -> Response:
    try:
        status, told = await run_in_threadpool(does, *given)
    except Wrong as wrong:
        return answer(wrong.status, {"errors": [wrong.told]})
    except DatabaseError as error:
        log.error("a customer could not be kept or read: %s", type(error).__name__)
        return answer(
            503, {"error": "this can't be done now; nothing was changed, send it again"}, {"Retry-After": "5"}
        )
    return answer(status, told)


def _merge(app: App, body: bytes) -> tuple[int, Any]:
    given = _object(body)
    for name in given.keys() - {"from", "into"}:
        raise Wrong(422, name, f'a merge has no "{name}"', did_you_mean(name, ("from", "into")))
    loser, winner = (_id(name, given.get(name)) for name in ("from", "into"))
    told = app.runtime.people().merge(loser, winner)
    return 200, {"customer": told.customer, "merged": bool(told.merged)}


def _put(app: App, name: str, body: bytes) -> tuple[int, Any]:
    name = _id("id", name)
    given = _object(body)
    if given.get("id") is not None and id_of(given["id"]) != name:
        raise Wrong(422, "id", "the address names another customer", "leave it out: an id never changes")
    for one, kinds in (("consent", (list, dict)), ("tags", (list, str))):
        if given.get(one) is not None and not isinstance(given[one], kinds):
            raise Wrong(422, one, f"{one} is a list of texts")
    if given.get("anonymous_id") is not None:
        given["anonymous_id"] = _id("anonymous_id", given["anonymous_id"])
    problems = Problems()
    profile = app.door.profile(given, problems)
    introduced = Told(name)
    who = who_of({**given, "id": name}, profile)
    with app.database.read() as connection:
        strange = bool(strangers(connection, [who]))
    people = app.runtime.people()
    if strange:
        introduced = people.introduce(who)
    told = people.describe(name, profile)
    answer: dict[str, Any] = {"customer": told.customer}
    if problems.found:
        answer["warnings"] = [{"path": path, "message": message} for path, message in problems.found.items()]
    return 201 if told.created or introduced.created else 200, answer


def _get(app: App, name: str) -> tuple[int, Any]:
    try:
        if "\0" in name:  # PostgreSQL can't even be asked
            raise UnknownCustomer(name)
        with app.database.read() as connection:
            return 200, portrait(connection, app.content, app.registry, name, app.clock.now())
    except UnknownCustomer:
        raise Wrong(404, "id", "nobody has this id", "their first event, or PUT, makes them known") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Wrong(400, "", f"the body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise Wrong(422, "", "the body is an object", 'like {"first_name": "Amina"}')
    if depth(given) > DEEPEST:
        raise Wrong(422, "", f"the body is nested deeper than {DEEPEST}")
    if b"\\u0000" in orjson.dumps(given):
        raise Wrong(422, "", "the character U+0000 can't be kept", "leave it out")
    return given


def _id(path: str, given: Any) -> str:
    if text := id_of(given):
        return text
    raise Wrong(422, path, "this can't be an id" if given is not None else "the id is missing", AN_ID)
