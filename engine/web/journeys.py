"""`POST /v1/journeys/{journey}/enter`: customers into a journey with `enter: {manual: true}`, as by `karibu enter`.

    {"customer": "amina"}   or   {"customers": ["amina", "baraka"]}     scope admin      200, 404, 409, 422

The scope is admin: an event is a fact, and which messages come of it the journeys decide; here people get messages on
the sender's word alone.

All who are named are let in by one transaction, so a request that failed (429, 503) has let nobody in.
`Idempotency-Key` names the cause of the entries: for one cause nobody enters twice, and who has been named for it
before is told what came of it then. So it may come with another list, too: those who are new in it are let in.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Request, Response

from engine.app import App
from engine.cohort.program import Program
from engine.language.errors import did_you_mean
from engine.runtime import byhand
from engine.store.database import DatabaseError
from engine.web import bodies
from engine.web.access import Admin
from engine.web.asked import Wrong, an_id, answered, object_of
from engine.web.events import LARGEST_BODY, idempotency_key
from engine.web.headers import header
from engine.web.intake import Full, Intake
from engine.web.room import LEAST
from engine.web.site import Site

MOST = 10_000
"""Customers of one request."""

AN_EVENT = MOST // LEAST
"""So many customers take the room of one event: then as many as may be named find room on the slowest machine."""

TOLD = 100
"""Of those who were turned away, so many are told in words: that is a look of its own for each."""

LIKE = '{"customer": "amina"} or {"customers": ["amina", "baraka"]}'
KEYS = ("customer", "customers")


def routes(site: Site) -> APIRouter:
    """The route."""
    made = APIRouter(prefix="/v1/journeys")

    @made.post("/{journey}/enter")
    async def enter(journey: str, request: Request, caller: Admin) -> Response:
        key = idempotency_key(header(request, b"idempotency-key"))
        if site.intake.full():
            raise _full()
        body = await bodies.whole(request, LARGEST_BODY)
        return await answered(_enter, site.app(), site.intake, journey, body, key)

    return made


def _enter(app: App, intake: Intake, journey: str, body: bytes, key: str | None) -> tuple[int, Any]:
    names = _named(object_of(body, LIKE))
    program = _open(app, journey)
    cause = f"manual:{uuid4().hex}" if key is None else f"manual:key:{key}"
    entering = partial(byhand.enter, program=program, names=names, cause=cause, now=app.clock.now())
    try:
        with intake.reading(-(-len(names) // AN_EVENT)):
            found = app.database.written(entering)
    except Full:
        raise _full() from None
    entered = sum(one.outcome == "entered" for one in found.values())
    if entered:
        intake.wake(journey)
    others = {name: one for name, one in found.items() if one.outcome != "entered"}
    words = _words(app, program, others)
    told = [
        {"customer": name, "outcome": one.outcome, "reason": one.reason}
        | ({"words": words[name]} if name in words else {})
        for name, one in others.items()
    ]
    return 200, {"journey": journey, "entered": entered, "others": told}


def _words(app: App, program: Program, others: dict[str, byhand.ByHand]) -> dict[str, str]:
    """What came of them, for people. They are in or out by now: a database that is away just now leaves words out."""
    words: dict[str, str] = {}
    refused = 0
    with suppress(DatabaseError), app.database.read() as connection:
        for name, one in others.items():
            refused += one.outcome == "refused"
            if one.outcome != "refused" or refused <= TOLD:
                words[name] = byhand.in_words(connection, app.content, program, one)
    return words


def _named(given: dict[str, Any]) -> list[str]:
    """The ids that a body names, each once. Raises Wrong."""
    for name in given.keys() - set(KEYS):
        raise Wrong(422, name, f'this has no "{name}"', did_you_mean(name, KEYS) or f"like {LIKE}")
    if len(given) != 1:
        raise Wrong(422, "", "whom to let in is said by customer or by customers", f"like {LIKE}")
    if "customer" in given:
        return [an_id("customer", given["customer"])]
    many = given["customers"]
    if not isinstance(many, list) or not many:
        raise Wrong(422, "customers", "customers is a list of ids", f"like {LIKE}")
    if len(many) > MOST:
        raise Wrong(422, "customers", f"a request may name {MOST} customers", "name the others in another one")
    return list(dict.fromkeys(an_id(f"customers.{place}", one) for place, one in enumerate(many)))


def _open(app: App, journey: str) -> Program:
    """The version that they are let into. Raises Wrong."""
    programs = app.runtime.programs().values()
    there = {*app.content.journeys, *(program.name for program in programs if program.takes_entries)}
    if journey not in there:
        raise Wrong(404, "journey", f'there is no journey "{journey}"', did_you_mean(journey, sorted(there)))
    try:
        return byhand.by_hand(app.content, programs, journey)
    except byhand.NotByHand as why:
        raise Wrong(409, "journey", str(why), why.hint) from None


def _full() -> HTTPException:
    told = "too many events are waiting; nobody was let in, send it again"
    return HTTPException(429, told, {"Retry-After": "2"})
