"""How a key is shown, what it opens, how fast, and how soon it is dead; with the clock handed in."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Connection
from sqlalchemy import event as alchemy
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.runtime import keys
from engine.store.database import Database
from engine.web.access import Access, Admin, Caller, Reader, Writer, admit, check, may, needs
from engine.web.cors import Cors
from engine.web.keyring import HELD
from tests.listening import before_statements
from tests.web.asking import Answer, ask, asked, basic
from tests.web.test_keys import made, revoked

CHOSEN = "chosen by somebody: long enough"
NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
ORIGIN = {"Origin": "https://duka.example"}


@dataclass
class Seconds:
    """A clock that stands until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def site(database: Database, seconds: Seconds) -> FastAPI:
    """An application with a route of each kind."""
    web = FastAPI(openapi_url=None)
    web.state.access = Access(CHOSEN, database, seconds)
    web.add_middleware(Cors)

    def who(caller: Caller) -> Response:
        return JSONResponse({"name": caller.name, "prefix": caller.prefix})

    @web.post("/v1/write")
    async def write(caller: Writer) -> Response:
        return who(caller)

    @web.get("/v1/read")
    async def read(caller: Reader) -> Response:
        return who(caller)

    @web.post("/v1/admin")
    async def admin(caller: Admin) -> Response:
        return who(caller)

    @web.put("/v1/secret")
    async def secret(caller: Annotated[Caller, Depends(needs("write", browser=False))]) -> Response:
        return who(caller)

    @web.post("/v1/track")
    async def track(request: Request, shown: Annotated[Caller | None, Depends(may("write"))]) -> Response:
        body = json.loads(await request.body())
        return who(shown or await check(request, body.get("writeKey"), "write"))

    async def plain(request: Request) -> Response:
        return who(await admit(request, "write"))

    web.add_route("/v1/plain", plain, methods=["POST"])
    return web


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def web(database: Database, seconds: Seconds) -> FastAPI:
    return site(database, seconds)


def write(web: FastAPI, key: str, path: str = "/v1/write", **headers: str) -> Answer:
    return ask(web, "POST", path, {"X-API-Key": key, **headers})


def test_a_key_may_be_shown_in_three_ways_and_the_route_knows_whose_it_is(web: FastAPI, database: Database) -> None:
    key = made(database)
    for path in ("/v1/write", "/v1/plain"):
        for headers in (
            {"Authorization": f"Bearer {key.text}"},
            {"Authorization": f"bearer  {key.text} "},
            {"X-API-Key": key.text},
            {"X-API-Key": key.text, "Authorization": "Basic cHJveHk6cHJveHk="},
            basic(key.text),
        ):
            answer = ask(web, "POST", path, headers)
            assert (answer.status, answer.json()) == (200, {"name": "web shop", "prefix": key.prefix}), (path, headers)
    assert write(web, CHOSEN).json() == {"name": "the key of the settings", "prefix": "bootstrap"}
    assert ask(web, "POST", "/v1/write", basic(CHOSEN)).status == 200


def test_what_is_no_key_is_told_nothing_more(web: FastAPI, database: Database) -> None:
    key = made(database)
    for headers in (
        {},
        {"X-API-Key": ""},
        {"X-API-Key": key.prefix},
        {"X-API-Key": keys.mint().text},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": key.text},
        {"Authorization": f"Digest {key.text}"},
        {"Authorization": f"Basic {key.text}"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": "Basic"},
        basic(key.text, "password"),
        basic("", key.text),
        basic(""),
    ):
        answer = ask(web, "POST", "/v1/write", headers)
        assert (answer.status, answer.json()) == (401, {"detail": "an API key is needed"}), headers
        assert answer.headers["www-authenticate"] == "Bearer"
        assert not answer.read


def test_an_empty_key_opens_nothing_even_when_the_chosen_one_is_empty(sqlite_database: Database) -> None:
    web = FastAPI(openapi_url=None)
    web.state.access = Access("", sqlite_database, Seconds())

    @web.post("/v1/write")
    async def write(caller: Writer) -> Response:
        return Response()

    for headers in ({}, {"X-API-Key": ""}, {"Authorization": "Bearer "}, basic("")):
        assert ask(web, "POST", "/v1/write", headers).status == 401


def test_a_wrong_scope_is_told_which_one_it_takes(web: FastAPI, database: Database) -> None:
    write_, read, admin = made(database), made(database, "read"), made(database, "admin")
    page = made(database, browser=True)
    for method, path, key, said in (
        ("GET", "/v1/read", write_, "a key of scope write may not do this: it needs one of scope read or admin"),
        ("POST", "/v1/write", read, "a key of scope read may not do this: it needs one of scope write or admin"),
        ("POST", "/v1/admin", read, "a key of scope read may not do this: it needs one of scope admin"),
        ("POST", "/v1/admin", page, "a browser key may not do this: it needs one of scope admin"),
        ("PUT", "/v1/secret", page, "a browser key may not do this: it needs one that is kept secret"),
        ("PUT", "/v1/secret", write_, None),
        ("POST", "/v1/write", page, None),
        ("GET", "/v1/read", admin, None),
        ("POST", "/v1/write", admin, None),
        ("POST", "/v1/admin", admin, None),
    ):
        answer = ask(web, method, path, {"X-API-Key": key.text})
        assert not (answer.read and said), (path, said)
        if said is None:
            assert answer.status == 200, (path, answer)
        else:
            assert (answer.status, answer.json()["detail"]) == (403, said)


def test_a_key_in_the_body_counts_where_the_route_asks_for_it(web: FastAPI, database: Database) -> None:
    key, read = made(database), made(database, "read")

    def track(body: Any, headers: dict[str, str] | None = None) -> Answer:
        return ask(web, "POST", "/v1/track", headers, json.dumps(body).encode())

    assert track({"writeKey": key.text}).json()["prefix"] == key.prefix
    assert track({}, basic(key.text)).json()["prefix"] == key.prefix
    assert track({"writeKey": read.text}).status == 403
    for body in ({}, {"writeKey": ""}, {"writeKey": None}, {"writeKey": [key.text]}, {"writeKey": key.text[:-1]}):
        assert track(body).status == 401, body
    wrong = track({"writeKey": key.text}, basic(read.text))  # what the headers say is not overruled by the body
    assert (wrong.status, wrong.read) == (403, False)
    assert track({"writeKey": key.text}, {"Authorization": "Basic !"}).status == 401


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    said: list[str] = []

    def note(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if "api_key" in statement:
            said.append(statement)

    with before_statements(note, database._reader):
        yield said


def test_the_database_is_asked_once_in_a_while_whoever_comes(
    web: FastAPI, database: Database, seconds: Seconds
) -> None:
    some = [made(database) for _ in range(3)]
    with statements(database) as asked:
        for _ in range(5):
            assert [write(web, key.text).status for key in some] == [200, 200, 200]
            assert write(web, keys.mint().text).status == 401
            assert write(web, "nothing like a key").status == 401
        seconds.now += HELD
        assert write(web, some[0].text).status == 200
        assert len(asked) == 1
        seconds.now += HELD / 2
        assert write(web, some[0].text).status == 200
        assert len(asked) == 2
    with statements(database) as asked:
        seconds.now += 60
        assert write(web, CHOSEN).status == 200
        assert write(web, "nothing like a key").status == 401
        assert asked == []


def test_many_who_come_at_once_share_one_look(web: FastAPI, database: Database) -> None:
    key = made(database)

    async def all_at_once() -> list[int]:
        answers = await asyncio.gather(*(asked(web, "POST", "/v1/write", {"X-API-Key": key.text}) for _ in range(50)))
        return [answer.status for answer in answers]

    with statements(database) as said:
        assert asyncio.run(all_at_once()) == [200] * 50
    assert len(said) == 1


def test_a_revoked_key_is_dead_and_a_new_one_alive_within_a_second(
    web: FastAPI, database: Database, seconds: Seconds
) -> None:
    assert HELD < 1
    old = made(database)
    assert write(web, old.text).status == 200
    other = Database(database.url.render_as_string(hide_password=False))  # as another process would
    new = made(other)
    assert revoked(other, old.prefix)
    other.dispose()
    seconds.now += HELD + 0.01
    assert write(web, old.text).status == 401
    assert write(web, new.text).status == 200


def test_two_keys_live_at_once_and_each_ends_alone(web: FastAPI, database: Database, seconds: Seconds) -> None:
    old, new = made(database), made(database)
    assert (write(web, old.text).status, write(web, new.text).status) == (200, 200)
    revoked(database, old.prefix)
    seconds.now += 1
    assert (write(web, old.text).status, write(web, new.text).status) == (401, 200)


def test_a_look_that_began_too_long_ago_does_not_count(sqlite_database: Database, seconds: Seconds) -> None:
    """A database that answers slowly must not hand out what it knew before the revocation."""
    database = sqlite_database
    key = made(database)
    web = site(database, seconds)
    began, go_on = threading.Event(), threading.Event()

    def slowly(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if "api_key" in statement and not began.is_set():
            began.set()
            go_on.wait(30)

    async def story() -> tuple[int, int]:
        early = asyncio.create_task(asked(web, "POST", "/v1/write", {"X-API-Key": key.text}))
        await asyncio.to_thread(began.wait, 30)
        await asyncio.to_thread(revoked, database, key.prefix)
        seconds.now += 1
        late = asyncio.create_task(asked(web, "POST", "/v1/write", {"X-API-Key": key.text}))
        await asyncio.sleep(0)
        go_on.set()
        return (await early).status, (await late).status

    alchemy.listen(database._reader, "after_cursor_execute", slowly)
    try:
        assert asyncio.run(story())[1] == 401
    finally:
        alchemy.remove(database._reader, "after_cursor_execute", slowly)


def test_a_database_that_is_away_lets_nobody_in_but_who_needs_none(seconds: Seconds) -> None:
    away = Database("postgresql://nobody@127.0.0.1:9/nowhere")
    web = site(away, seconds)
    answer = write(web, keys.mint().text)
    assert (answer.status, answer.headers["retry-after"], answer.read) == (503, "5", False)
    assert "nowhere" not in answer.body.decode()
    assert write(web, CHOSEN).status == 200
    assert write(web, "nothing like a key").status == 401
    away.dispose()


def test_a_key_has_its_own_rate(web: FastAPI, database: Database, seconds: Seconds) -> None:
    slow, other, free = made(database, rate=2), made(database, rate=2), made(database)
    assert [write(web, slow.text).status for _ in range(3)] == [200, 200, 429]
    answer = write(web, slow.text)
    assert (answer.headers["retry-after"], answer.read) == ("1", False)
    assert answer.json()["detail"] == "this key may make 2 requests per second"
    assert write(web, other.text).status == 200
    assert {write(web, free.text).status for _ in range(50)} == {200}
    assert {write(web, CHOSEN).status for _ in range(50)} == {200}
    seconds.now += 0.5
    assert [write(web, slow.text).status for _ in range(2)] == [200, 429]
    seconds.now += 60
    assert [write(web, slow.text).status for _ in range(3)] == [200, 200, 429]
    revoked(database, slow.prefix)
    seconds.now += 1
    assert write(web, slow.text).status == 401


def test_who_may_not_do_it_uses_up_nothing(web: FastAPI, database: Database) -> None:
    key = made(database, rate=1)
    for _ in range(3):
        assert ask(web, "GET", "/v1/read", {"X-API-Key": key.text}).status == 403
        assert write(web, key.text[:-1]).status == 401
    assert write(web, key.text).status == 200


# CORS


def test_only_a_browser_key_s_answers_may_be_read_by_a_page(web: FastAPI, database: Database) -> None:
    page, other = made(database, browser=True, rate=1), made(database, browser=True)
    secret = [made(database).text, made(database, "admin").text, CHOSEN, keys.mint().text, ""]
    first = write(web, page.text, **ORIGIN)
    assert (first.status, first.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in first.headers
    fast = write(web, page.text, **ORIGIN)
    assert (fast.status, fast.headers["access-control-allow-origin"]) == (429, "*")
    assert fast.headers["access-control-expose-headers"] == "Retry-After"
    body = json.dumps({"writeKey": other.text}).encode()
    assert ask(web, "POST", "/v1/track", ORIGIN, body).headers["access-control-allow-origin"] == "*"
    for key in secret:
        assert not any(name.startswith("access-control") for name in write(web, key, **ORIGIN).headers), key


def test_a_preflight_is_answered_where_a_page_may_post(web: FastAPI) -> None:
    wanted = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for path in ("/v1/write", "/v1/plain", "/v1/track"):
        answer = ask(web, "OPTIONS", path, wanted)
        assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "POST"), path
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "X-API-Key" in answer.headers["access-control-allow-headers"]
        assert not answer.read
    for path, asking in (
        ("/v1/read", wanted),
        ("/v1/secret", wanted),
        ("/v1/nothing", wanted),
        ("/nothing", wanted),
        ("/v1/secret", wanted | {"Access-Control-Request-Method": "PUT"}),
        ("/v1/write", wanted | {"Access-Control-Request-Method": "DELETE"}),
        ("/v1/write", ORIGIN),
        ("/v1/write", {"Access-Control-Request-Method": "POST"}),
    ):
        answer = ask(web, "OPTIONS", path, asking)
        assert answer.status in (404, 405), (path, asking)
        assert not any(name.startswith("access-control") for name in answer.headers), (path, asking)
