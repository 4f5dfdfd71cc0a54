"""Customers over HTTP: set one, read one, make two one.

    PUT  /v1/customers/{id}      what is known of them, as in an event's `customer`; scope write    201 new, 200
    GET  /v1/customers/{id}      all we know of them; scope read                                    200, 404
    POST /v1/customers/merge     {"from": "asha", "into": "amina"}; scope write                     200

A browser key may do none of it: everybody can read it, and what it set or merged would be other people's.
An id that was merged away is the other one's, in all of them. While more events wait than will be taken soon, who is
set or merged has no place among them either: 429.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from engine.app import App
from engine.language.errors import did_you_mean
from engine.runtime.bounds import id_of
from engine.runtime.customers import Told, strangers
from engine.runtime.door import Problems, who_of
from engine.runtime.explain import UnknownCustomer
from engine.runtime.portrait import portrait
from engine.web import bodies
from engine.web.access import Caller, Reader, needs
from engine.web.answers import answer
from engine.web.asked import Wrong, an_id, answered, object_of
from engine.web.intake import Full
from engine.web.reading import LARGEST_EVENT
from engine.web.site import Site

LIKE = '{"first_name": "Amina"}'

FULL = "too many events are waiting; nothing was changed, send it again"

Secret = Annotated[Caller, Depends(needs("write", browser=False))]


class _Anything(Convertor[str]):
    """The rest of an address, slashes and ends of lines too: Starlette's own `path` stops at those, and answers that
    there is no such route."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


def routes(site: Site) -> APIRouter:
    """The routes. The site's app is asked anew at each request."""
    made = APIRouter(prefix="/v1/customers")

    @made.post("/merge")
    async def merge(request: Request, caller: Secret) -> Response:
        return await _written(site, request, _merge)

    @made.put("/{name:anything}")
    async def put(name: str, request: Request, caller: Secret) -> Response:
        return await _written(site, request, _put, name)

    @made.get("/{name:anything}")
    async def get(name: str, caller: Reader) -> Response:
        return await answered(_get, site.app(), name)

    return made


async def _written(site: Site, request: Request, does: Callable[..., tuple[int, Any]], *names: str) -> Response:
    """Does what wants the writer, as one more who waits for it."""
    if site.intake.full():
        return _full()
    body = await bodies.whole(request, LARGEST_EVENT)
    try:
        with site.intake.room(1):
            return await answered(does, site.app(), *names, body)
    except Full:
        return _full()


def _full() -> Response:
    return answer(429, {"error": FULL}, {"Retry-After": "2"})


def _merge(app: App, body: bytes) -> tuple[int, Any]:
    given = object_of(body, LIKE)
    for name in given.keys() - {"from", "into"}:
        raise Wrong(422, name, f'a merge has no "{name}"', did_you_mean(name, ("from", "into")))
    loser, winner = (an_id(name, given.get(name)) for name in ("from", "into"))
    told = app.runtime.people().merge(loser, winner)
    return 200, {"customer": told.customer, "merged": bool(told.merged)}


def _put(app: App, name: str, body: bytes) -> tuple[int, Any]:
    name = an_id("id", name)
    given = object_of(body, LIKE)
    if given.get("id") is not None and id_of(given["id"]) != name:
        raise Wrong(422, "id", "the address names another customer", "leave it out: an id never changes")
    for one, kinds in (("consent", (list, dict)), ("tags", (list, str))):
        if given.get(one) is not None and not isinstance(given[one], kinds):
            raise Wrong(422, one, f"{one} is a list of texts")
    if given.get("anonymous_id") is not None:
        given["anonymous_id"] = an_id("anonymous_id", given["anonymous_id"])
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
