"""Every route denies by default: each route × each kind of key has its line here, or the test fails."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, compile_path

from engine.app import App
from engine.rendering.links import Confirmation, Preferences, Question, Subscription
from engine.runtime import keys
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented
from engine.service import Service
from engine.store.tables import customer, message
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.site import Site
from engine.web.tracking import SHORT
from tests.promises import figures
from tests.scenarios.shop import FILES, PROJECT
from tests.web.asking import ask
from tests.web.conftest import JOURNEYS, app_of
from tests.web.test_keys import made
from triggers.sources.segment_spec import CALLS

IN = "let in"
"""Any answer but 401 and 403: who is let in, is told what is wrong with an empty request."""

OPEN, WRITE, SECRET, READ, ADMIN = "open", "write", "write, and kept secret", "read", "admin"
TRACK = "write, and the key may stand in the body"

_NOBODY: dict[str, object] = {"none": 401, "wrong": 401, "cut": 401, "revoked": 401}
ANSWERS: dict[str, dict[str, object]] = {
    OPEN: dict.fromkeys([*_NOBODY, "write", "read", "admin", "browser", "settings"], IN),
    WRITE: _NOBODY | {"write": IN, "read": 403, "admin": IN, "browser": IN, "settings": IN},
    TRACK: _NOBODY | {"write": IN, "read": 403, "admin": IN, "browser": IN, "settings": IN},
    SECRET: _NOBODY | {"write": IN, "read": 403, "admin": IN, "browser": 403, "settings": IN},
    READ: _NOBODY | {"write": 403, "read": IN, "admin": IN, "browser": 403, "settings": IN},
    ADMIN: _NOBODY | {"write": 403, "read": 403, "admin": IN, "browser": 403, "settings": IN},
}

TABLE = {
    ("POST", "/v1/events"): WRITE,
    ("GET", "/v1/status"): READ,
    **{("POST", f"/v1/{call}"): TRACK for call in (*CALLS, "batch", *SHORT)},
    ("POST", "/hooks/{name}"): OPEN,
    ("OPTIONS", "/hooks/{name}"): OPEN,
    ("POST", "/hooks/{provider}/events"): OPEN,
    **{(method, f"/{kind}/{{token}}"): OPEN for kind in "ocl" for method in ("GET", "HEAD")},
    ("GET", "/v1/openapi.json"): OPEN,
    ("PUT", "/v1/customers/{name:anything}"): SECRET,
    ("GET", "/v1/customers/{name:anything}"): READ,
    ("POST", "/v1/customers/merge"): SECRET,
    ("POST", "/v1/journeys/{journey}/enter"): ADMIN,
    ("GET", "/healthz"): OPEN,
    ("HEAD", "/healthz"): OPEN,
    ("GET", "/u/{token}"): OPEN,
    ("HEAD", "/u/{token}"): OPEN,
    ("POST", "/u/{token}"): OPEN,
    **{
        (method, f"/{page}/{{token}}"): OPEN
        for method in ("GET", "HEAD", "POST")
        for page in ("preferences", "confirm", "survey")
    },
}
"""A new route gets its line here. Open is only what proves itself otherwise: a signed link, a signed hook."""


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def routes_of(web: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that the application answers."""
    found = set()
    for one in iter_route_contexts(web.routes):
        assert one.methods and one.path, f"{one} is of a kind that this test can't look into"
        found |= {(method, one.path) for method in one.methods}
    return found


@pytest.fixture
def app(project: Callable[..., Path], sqlite_url: str) -> Iterator[App]:
    shop = PROJECT.replace("memory", "maildir") + "surveys: {nps: {kind: nps}}\n"
    made = app_of(project({"workflows/project.yaml": shop, **FILES, **JOURNEYS}), sqlite_url)
    yield made
    made.close()


@pytest.fixture
def web(app: App) -> Iterator[FastAPI]:
    """The service's own application, without the rest of the service."""
    with socket.socket() as sock:
        service = Service(app, sock, lambda text: None)
        service.intake = Intake(app.runtime, lambda *names: None)
        service.intake.start()
        yield build(Site(lambda: app, service.intake, service.report, service.healthy))
        service.intake.close()


@pytest.fixture
def shown(app: App) -> dict[str, str | None]:
    """A key of each kind."""
    revoked = made(app.database, "admin")
    with app.database.write() as connection:
        keys.revoke(connection, revoked.prefix, app.clock.now())
    write = made(app.database, "write")
    return {
        "none": None,
        "wrong": keys.mint().text,
        "cut": made(app.database, "admin").text[:-1],
        "revoked": revoked.text,
        "write": write.text,
        "read": made(app.database, "read").text,
        "admin": made(app.database, "admin").text,
        "browser": made(app.database, "write", browser=True).text,
        "settings": app.settings.key,
    }


def test_every_route_answers_every_kind_of_key_as_the_table_says(web: FastAPI, shown: dict[str, str | None]) -> None:
    assert routes_of(web) == set(TABLE), "a route that isn't in the table, or a line without its route"
    found, meant = {}, {}
    for (method, path), kind in TABLE.items():
        for who, key in shown.items():
            answer = ask(
                web, method, re.sub(r"\{.*?\}", "x", path), {"Authorization": f"Bearer {key}"} if key else None
            )
            refused = answer.status in (401, 403)
            unread = kind != TRACK or key is not None
            assert not (refused and answer.read and unread), (
                f"{method} {path} read the body of somebody it refused ({who})"
            )
            assert answer.status < 500, (method, path, who, answer)
            found[method, path, who] = answer.status if refused else IN
            meant[method, path, who] = ANSWERS[kind][who]
    wrongly = [asked for asked, told in found.items() if told == IN != meant[asked]]
    figures("whoever has no key for it gets nothing", requests=len(found), let_in_wrongly=len(wrongly))
    assert found == meant


def links(app: App, who: str) -> list[str]:
    """A customer's own links of every page, as they stand in their mails."""
    with app.database.read() as connection:
        mine = customer.c.external_id == who
        sent = customer.join(message, message.c.customer_id == customer.c.id)
        row = connection.execute(
            select(customer.c.email_hash, message.c.enrolment_id).select_from(sent).where(mine)
        ).one()
    pages, now = app.pages, app.clock.now()
    made = [
        pages.confirm(Confirmation(who, "email", "news", row.email_hash, now)),
        pages.survey(Question(f"{row.enrolment_id}-1", "nps", now)),
        app.subscriptions.link(Subscription(who, "email", "offers")),
        pages.preferences(Preferences(who, "email", row.email_hash)),
    ]
    return [urlsplit(link).path for link in made]


def spliced(one: str, other: str) -> str:
    """What one link says, with the signature of another."""
    return f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}"


def test_what_one_customer_holds_gives_nothing_of_another(web: FastAPI, app: App, shown: dict[str, str | None]) -> None:
    app.runtime.publish()
    for who in ("amina", "baraka"):
        told = {"first_name": f"{who} by name", "email": f"{who}@shop.example", "consent": ["email/offers"]}
        profile = app.door.profile(told, Problems())
        profile = replace(profile, consents=(*profile.consents, Consented("email", "news", "pending")))
        app.runtime.ingest([Incoming(who, "signed_up", who, app.clock.now(), {}, profile)])
    app.runtime.advance()

    def known(who: str) -> Any:
        answer = ask(web, "GET", f"/v1/customers/{who}", {"Authorization": f"Bearer {shown['read']}"})
        assert answer.status == 200
        return answer.json()

    hers, his = links(app, "amina"), links(app, "baraka")
    before, other = known("amina"), known("baraka")
    form = b"customer=amina&id=amina&email=amina@shop.example&shown=email/offers&nothing=yes&confirm=yes&score=3&unsubscribe=yes"
    tries: list[tuple[str, str, str | None, bytes, set[int]]] = []
    for one, own in zip(hers, his, strict=True):
        tries += [(method, spliced(one, own), None, form, {404}) for method in ("GET", "HEAD", "POST")]
        tries += [(method, own, None, form, {200}) for method in ("GET", "HEAD", "POST")]
    for name in ("amina", "amina@shop.example"):
        tries += [("GET", f"/v1/customers/{name}", key, b"", {403}) for key in ("browser", "write")]
    tries += [
        ("PUT", "/v1/customers/amina", "browser", b'{"first_name": "Another"}', {403}),
        ("POST", "/v1/customers/merge", "browser", b'{"from": "amina", "into": "baraka"}', {403}),
    ]
    leaks = []
    for method, path, key, body, meant in tries:
        answer = ask(web, method, path, {"Authorization": f"Bearer {shown[key]}"} if key else FORM, body, "id=amina")
        assert answer.status in meant, (method, path, answer)
        if b"amina" in answer.body.lower() or known("amina") != before:
            leaks.append((method, path))
    figures("what one customer holds gives nothing of another", requests=len(tries), leaks=len(leaks))
    assert leaks == []
    assert known("baraka") != other, "his own links work"


def test_the_table_has_a_line_for_each_kind_of_key(shown: dict[str, str | None]) -> None:
    for kind, line in ANSWERS.items():
        assert line.keys() == shown.keys(), kind


def test_methods_and_paths_that_nobody_serves_are_not_let_in_either(web: FastAPI, shown: dict[str, str | None]) -> None:
    for path in (
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/events/",
        "/v1/events/x",
        "//v1/events",
        "/V1/EVENTS",
        "/docs",
        "/openapi.json",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            assert ask(web, method, path).status in (307, 401, 404, 405), (method, path)
    for method, path in TABLE:
        one = re.sub(r"\{.*?\}", "x", path)
        for other in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {known for known, same in TABLE if _names(same, one)}:
            assert ask(web, other, one).status == 405, (other, path)


def _names(route: str, path: str) -> bool:
    """Whether a route's path names this one: `merge` can be a customer's id, too."""
    return compile_path(route)[0].match(path) is not None


def test_the_walk_finds_routes_however_they_were_added() -> None:
    async def endpoint(request: Request) -> Response:
        return Response()

    web = FastAPI(openapi_url=None)
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")
    inner.add_api_route("/one/{id}", endpoint, methods=["PUT"])
    outer.include_router(inner)
    web.include_router(outer, prefix="/v1")
    web.add_route("/plain", endpoint, methods=["POST"])
    web.router.routes.append(Route("/starlette", endpoint, methods=["DELETE"]))
    assert routes_of(web) == {("PUT", "/v1/outer/inner/one/{id}"), ("POST", "/plain"), ("DELETE", "/starlette")}
    web.router.routes.append(Mount("/mounted", routes=[Route("/x", endpoint)]))
    with pytest.raises(AssertionError, match="can't look into"):
        routes_of(web)
