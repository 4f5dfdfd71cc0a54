"""`POST /hooks/PROVIDER/events`: what the providers of messages call back about.

    200  durable: recorded, and journeys have heard of it (what was told before, or is about others, too)
    400  genuine, and unreadable       401  not signed by the provider
    404  there is no such provider     413  too large
    503  nothing was taken; the provider tells it again

The signature is looked at before anything else, on the body as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.channels.returns import Called, Reply, Returned, Returns, Unreadable
from engine.runtime import feedback
from engine.runtime.door import Problems
from engine.runtime.feedback import Feedback, Taken
from engine.runtime.identity import external_id_of
from engine.web import bodies
from engine.web.answers import answer
from engine.web.events import LARGEST_BODY
from engine.web.site import Site

log = logging.getLogger("karibu.web")


def router(site: Site) -> APIRouter:
    """The route of every provider."""
    routes = APIRouter()

    @routes.post("/hooks/{provider}/events")
    async def hook(provider: str, request: Request) -> Response:
        app = site.app()
        kind = app.registry.returns.get(provider)
        if kind is None:
            return answer(404, {"error": "there is no such provider"})
        theirs: Returns = kind()
        secret = app.settings.secret_of(theirs.secret)
        if secret is None:
            variable = f"KARIBU_{theirs.secret.upper()}"
            log.error("%s has called back, and nothing is set to verify it with: %s", provider, variable)
            return answer(503, {"error": f"set {variable} first, and send it again"}, {"Retry-After": "60"})
        body = await bodies.whole(request, LARGEST_BODY)
        query = f"?{request.url.query}" if request.url.query else ""
        headers = {key.lower(): value for key, value in request.headers.items()}
        called = Called(f"{app.settings.public_url}{request.url.path}{query}", headers, body)
        return await run_in_threadpool(_taken, app, provider, theirs, secret, called)

    return routes


def deaf(app: App) -> dict[str, str]:
    """The providers of the project that call back and can't be believed yet, with the variables that are to be set."""
    named = {provider.provider for provider in app.content.project.channels.values()}
    found = {name: kind.secret for name, kind in app.registry.returns.items() if name in named}
    return {
        name: f"KARIBU_{secret.upper()}" for name, secret in found.items() if app.settings.secret_of(secret) is None
    }


def _taken(app: App, provider: str, theirs: Returns, secret: str, called: Called) -> Response:
    now = app.clock.now()
    if not theirs.verify(secret, called, now):
        return answer(401, {"error": f"this is not signed by {provider}"})
    try:
        told = theirs.read(called)
    except Unreadable as error:
        return answer(400, {"error": str(error)})
    try:
        record(app, told, now)
    except Exception as error:  # its text may quote somebody
        log.error("what %s called back about could not be recorded: %s", provider, type(error).__name__)
        return answer(503, {"error": "this could not be recorded, send it again"}, {"Retry-After": "5"})
    body, media_type = theirs.answer
    return Response(body, 200, media_type=media_type)


def believed(app: App, told: Sequence[Returned]) -> list[Returned]:
    """Those whose message id bears our mark, and that name the address their message went to. For what comes without a
    proof of who says it: the mark is known to who has had the mail, or has seen it go by."""
    told = [replace(one, ref=ref) for one in told if (ref := app.seals.read(one.ref)) is not None]
    pairs = [(one.ref, app.door.hashed("email", one.address or "")) for one in told]
    with app.database.read() as connection:
        right = feedback.addressed(connection, pairs)
    return [one for one, pair in zip(told, pairs, strict=True) if pair in right]


def record(app: App, told: Sequence[Returned | Reply], now: datetime) -> Taken:
    """Write down what came back, in the words of the door."""
    taken = app.runtime.hear([_feedback(app, one, now) for one in told if isinstance(one, Returned)])
    for one in told:
        if isinstance(one, Reply) and (address_hash := app.door.hashed(one.channel, one.address)) is not None:
            if one.carried:
                _introduce(app, one)
            app.runtime.answered(one.channel, address_hash, one.text, one.key, one.at, written=one.written)
    return taken


def _introduce(app: App, one: Reply) -> None:
    """Who came through a link of ours is reached where they write from. Whatever else a link carries is no word of
    ours."""
    if app.chats is None:
        return
    with app.database.read() as connection:
        who = app.chats.read(one.carried, partial(external_id_of, connection))
    if who is not None:
        profile = app.door.profile({one.channel: one.address}, Problems())
        app.runtime.people().describe(who, replace(profile, at=one.at))


def _feedback(app: App, one: Returned, now: datetime) -> Feedback:
    hashed = None
    if one.address:
        hashed = app.door.hashed("email" if "@" in one.address else "sms", one.address)
    return Feedback(one.ref, one.kind, one.at or now, one.detail, hashed, one.key)
