"""The tracking API as a route: keys, forms of bodies, limits, other pages."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import timedelta
from typing import Any

import pytest

from engine.runtime.clock import VirtualClock
from engine.runtime.keys import create, mint
from tests.sources.conftest import NOW, Open, Shop
from triggers.sources.segment_spec import LARGEST_BATCH, LARGEST_CALL

MINTED = mint()
KEY = MINTED.text
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}
CALL = {"userId": "amina", "event": "Ping", "messageId": "m-1", "properties": {"n": 1}}
PATHS = ["identify", "track", "page", "screen", "group", "alias", "batch", *"itpgab"]


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({"segment": {"events": {"Order Completed": "purchase"}}})
    with here.app.database.write() as connection:
        create(connection, "a page", "write", here.app.clock.now(), browser=True, minting=lambda: MINTED)
    return here


def body(**more: Any) -> bytes:
    return json.dumps(CALL | more).encode()


@pytest.mark.parametrize("path", PATHS)
def test_every_call_is_taken_long_and_short(here: Shop, path: str) -> None:
    call = {"batch": [CALL | {"type": "track"}]} if path in ("batch", "b") else CALL
    answer = here.post(f"/v1/{path}", json.dumps(call).encode(), BASIC)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [(row.external_id, row.source, row.key) for row in here.events()] == [("amina", "segment:page", "m-1")]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_write_key_nothing_is_taken(here: Shop, path: str) -> None:
    wrong = {"Authorization": "Basic " + base64.b64encode(b"another:").decode()}
    empty, rubbish = {"Authorization": "Basic Og=="}, {"Authorization": "Basic %"}
    for headers in ({}, wrong, empty, rubbish):
        for content in (body(), body(writeKey="another"), body(writeKey=""), body(writeKey=[KEY]), b"{", b"[]"):
            assert here.post(f"/v1/{path}", content, headers).status_code == 401, (headers, content)
    assert not here.events() and not here.kept()


def test_a_key_that_may_only_read_writes_nothing(here: Shop) -> None:
    with here.app.database.write() as connection:
        reader = create(connection, "an analyst", "read", here.app.clock.now()).text
    assert here.post("/v1/track", body(writeKey=reader), {}).status_code == 403
    assert here.post("/v1/track", body(), {"X-API-Key": reader}).status_code == 403
    assert not here.events()


def test_a_browser_writes_plain_text_with_the_key_in_it(here: Shop) -> None:
    headers = {"Content-Type": "text/plain", "Origin": "https://duka.example"}
    answer = here.post("/v1/t", body(writeKey=KEY), headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert "writeKey" not in str(here.events())
    asked = here.client.options(
        "/v1/t", headers={"Origin": "https://duka.example", "Access-Control-Request-Method": "POST"}
    )
    assert asked.status_code == 204 and "POST" in asked.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in asked.headers


def test_a_page_may_send_the_headers_that_rudderstacks_sdk_writes(here: Shop) -> None:
    asked = here.client.options(
        "/v1/track", headers={"Origin": "https://duka.example", "Access-Control-Request-Method": "POST"}
    )
    allowed = {name.strip().lower() for name in asked.headers["access-control-allow-headers"].split(",")}
    retry = {f"rsa-{name}" for name in ("recovered", "retry-attempt", "retry-reason")}
    assert allowed >= {"authorization", "content-type", "anonymousid"} | retry
    assert allowed >= {"rsa-since-first-attempt", "rsa-since-last-attempt"}


def test_a_body_may_be_packed_and_its_size_is_that_of_what_is_in_it(here: Shop) -> None:
    packed = {**BASIC, "Content-Encoding": "gzip"}
    assert here.post("/v1/track", gzip.compress(body()), packed).status_code == 200
    bomb = gzip.compress(body(properties={"a": "x" * 50_000_000}))
    assert len(bomb) < LARGEST_BATCH
    assert here.post("/v1/b", bomb, packed).status_code == 413
    assert here.post("/v1/track", gzip.compress(body())[:-9], packed).status_code == 400
    assert here.post("/v1/track", body(), packed).status_code == 400
    assert here.post("/v1/track", body(), {**BASIC, "Content-Encoding": "br"}).status_code == 415
    assert len(here.events()) == 1


def test_a_call_and_a_batch_have_an_end(here: Shop) -> None:
    call = body(properties={"a": ""})
    fits = body(messageId="m-2", properties={"a": "x" * (LARGEST_CALL - len(call))})
    assert len(fits) == LARGEST_CALL
    assert here.post("/v1/track", fits, BASIC).status_code == 200
    assert here.post("/v1/track", fits + b" ", BASIC).status_code == 413
    many = [CALL | {"type": "track", "messageId": f"k-{n}"} for n in range(1, 3501)]
    whole = json.dumps({"batch": many}).encode()
    assert len(whole) < LARGEST_BATCH
    assert here.post("/v1/batch", whole, BASIC).status_code == 200
    assert len(here.events()) == 3501
    assert here.post("/v1/batch", whole + b" " * LARGEST_BATCH, BASIC).status_code == 413


def test_a_call_that_says_too_little_is_refused_and_in_a_batch_it_is_kept(here: Shop) -> None:
    nobody = {"event": "Ping", "messageId": "m-9"}
    answer = here.post("/v1/track", json.dumps(nobody).encode(), BASIC)
    assert (answer.status_code, answer.json()["message"]) == (400, "it names no customer")
    for content in (b"{", b"[]", b'{"batch": {}}'):
        assert here.post("/v1/batch", content, BASIC).status_code in (400, 401)
    batch = json.dumps({"batch": [CALL | {"type": "track"}, nobody | {"type": "track"}]}).encode()
    assert here.post("/v1/batch", batch, BASIC).status_code == 200
    assert len(here.events()) == 1 and here.kept()[0][2] == "it names no customer"


def test_a_call_that_is_too_large_costs_the_others_of_its_batch_nothing(here: Shop) -> None:
    large = CALL | {"type": "track", "messageId": "m-large", "properties": {"a": "x" * LARGEST_CALL}}
    batch = {"batch": [CALL | {"type": "track"}, large]}
    assert here.post("/v1/batch", json.dumps(batch).encode(), BASIC).status_code == 200
    assert [row.key for row in here.events()] == ["m-1"]
    assert [(row[2], row[3]) for row in here.kept()] == [("a call may have 32768 bytes", '{"messageId":"m-large"}')]


def test_a_message_that_comes_again_counts_once(here: Shop) -> None:
    for n in (1, 1, 2):
        assert here.post("/v1/track", body(properties={"n": n}), BASIC).status_code == 200
    assert [row.properties for row in here.events()] == [{"n": 1}]
    assert [row[2] for row in here.kept()] == ["another event has this key"]


@pytest.mark.parametrize("path", ["track", "batch"])
@pytest.mark.parametrize("more", [{"timestamp": (NOW - timedelta(hours=1)).isoformat()}, {}], ids=["dated", "undated"])
def test_a_call_that_an_sdk_sends_again_later_is_the_same_call(here: Shop, path: str, more: dict[str, Any]) -> None:
    clock, call = here.app.clock, CALL | {"type": "track"} | more
    assert isinstance(clock, VirtualClock)
    # The SDK's clock is a minute slow, and the way takes another while each time.
    for after, way in ((0, 0.1), (30, 2.5), (300, 0.4)):
        sent = NOW + timedelta(seconds=after - 60)
        clock.advance_to(NOW + timedelta(seconds=after + way))
        content = ({"batch": [call]} if path == "batch" else call) | {"sentAt": sent.isoformat()}
        assert here.post(f"/v1/{path}", json.dumps(content).encode(), BASIC).status_code == 200
    ((*_, at, _),) = here.events()
    assert at == NOW + timedelta(seconds=0.1) - (timedelta(hours=1, seconds=-60) if more else timedelta())
    assert not here.kept()


PING, ALIAS = CALL | {"userId": "asha"}, {"userId": "amina", "previousId": "asha", "messageId": "m-2"}


def secret(here: Shop) -> dict[str, str]:
    with here.app.database.write() as connection:
        return {"X-API-Key": create(connection, "the shop", "write", here.app.clock.now()).text}


@pytest.mark.parametrize("path", ["alias", "batch"])
def test_an_alias_of_an_id_that_somebody_has_makes_the_two_one(here: Shop, path: str) -> None:
    key = secret(here)
    if path == "batch":
        calls = [PING | {"type": "track"}, ALIAS | {"type": "alias"}, PING | {"type": "track", "messageId": "m-3"}]
        assert here.post("/v1/batch", json.dumps({"batch": calls}).encode(), key).status_code == 200
    else:
        for kind, call in (("track", PING), ("alias", ALIAS), ("alias", ALIAS), ("track", PING | {"messageId": "m-3"})):
            assert here.post(f"/v1/{kind}", json.dumps(call).encode(), key).status_code == 200
    assert [(row.external_id, row.name) for row in here.events()] == [
        ("amina", "ping"),
        ("amina", "customer_merged"),
        ("amina", "alias_known"),
        ("amina", "ping"),
    ]
    assert not here.kept()


def test_an_alias_of_an_id_that_nobody_has_is_an_anonymous_one(here: Shop) -> None:
    key = secret(here)
    for kind, call in (("track", CALL | {"userId": None, "anonymousId": "asha"}), ("alias", ALIAS)):
        assert here.post(f"/v1/{kind}", json.dumps(call).encode(), key).status_code == 200
    assert {row.external_id for row in here.events()} == {"amina"}
    assert here.post("/v1/track", json.dumps(PING | {"messageId": "m-3"}).encode(), key).status_code == 200
    assert here.events()[-1].external_id == "asha"


def test_a_pages_alias_makes_no_two_customers_one(here: Shop) -> None:
    key = secret(here)
    assert here.post("/v1/track", json.dumps(PING).encode(), key).status_code == 200
    for _ in range(2):
        assert here.post("/v1/alias", json.dumps(ALIAS).encode(), BASIC).status_code == 200
    assert [(row.external_id, row.name) for row in here.events()] == [("asha", "ping"), ("amina", "alias_known")]
