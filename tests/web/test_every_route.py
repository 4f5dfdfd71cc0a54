"""Every route denies by default: each route × each kind of key has its line here, or the test fails."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, compile_path

from engine.app import App
from engine.runtime import keys
from engine.service import Service
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


def routes_of(web: FastAPI) -> set[tuple[str, str]]:
    """Every method and path that the application answers."""
    found = set()
    for one in iter_route_contexts(web.routes):
        assert one.methods and one.path, f"{one} is of a kind that this test can't look into"
        found |= {(method, one.path) for method in one.methods}
    return found


@pytest.fixture
def app(project: Callable[..., Path], sqlite_url: str) -> Iterator[App]:
    made = app_of(
        project({"workflows/project.yaml": PROJECT.replace("memory", "maildir"), **FILES, **JOURNEYS}), sqlite_url
    )
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
