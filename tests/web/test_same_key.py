"""A key names one body: another word of the customer, more lines or fewer with the same key are told, and not taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from engine.runtime.keys import create, mint
from engine.store.failures import DatabaseError
from engine.store.tables import customer, event, mark
from engine.web import streams
from tests.sources.conftest import Open, Shop
from tests.sources.conftest import shop as shop

KEY = mint()
AMINA = {"id": "amina", "email": "amina@shop.example", "consent": ["email/offers"], "tags": ["vip"]}
BOUGHT: dict[str, Any] = {"event": "purchase", "customer": AMINA, "key": "order-1", "properties": {"total": 3}}
OTHER_WORDS: list[dict[str, Any]] = [
    AMINA | {"email": "asha@shop.example"},
    AMINA | {"consent": []},
    AMINA | {"tags": ["vip", "new"]},
    AMINA | {"first_name": "Amina"},
    {"id": "amina"},
]


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({})
    with here.app.database.write() as connection:
        create(connection, "the shop", "write", here.app.clock.now(), minting=lambda: KEY)
    return here


def send(here: Shop, body: Any, key: str | None = None) -> Any:
    headers = {"X-API-Key": KEY.text} | ({} if key is None else {"Idempotency-Key": key})
    return here.post("/v1/events", json.dumps(body).encode(), headers)


def stream(here: Shop, events: list[Any], key: str) -> Any:
    headers = {"X-API-Key": KEY.text, "Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
    return here.post("/v1/events", b"".join(json.dumps(one).encode() + b"\n" for one in events), headers)


def visits(count: int) -> list[dict[str, Any]]:
    return [{"event": "cart", "customer": f"c{n % 7}"} for n in range(count)]


def nameless(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "key"}


def test_the_same_key_with_another_word_of_the_customer_is_told_and_not_taken(here: Shop) -> None:
    assert send(here, BOUGHT).json() == {"accepted": 1, "duplicates": 0}
    for other in OTHER_WORDS:
        answer = send(here, BOUGHT | {"customer": other})
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (409, "key"), other
    (row,) = here.rows(customer.c.email, customer.c.first_name)
    assert tuple(row) == ("amina@shop.example", None)
    in_another_order = dict(reversed(AMINA.items()))
    assert send(here, BOUGHT | {"customer": in_another_order}).json() == {"accepted": 0, "duplicates": 1}


def test_a_word_where_there_was_none_is_another_one(here: Shop) -> None:
    bare = BOUGHT | {"customer": "amina"}
    assert send(here, bare).status_code == 202
    assert send(here, bare | {"customer": {"id": "amina"}}).json() == {"accepted": 0, "duplicates": 1}
    assert send(here, BOUGHT).status_code == 409
    assert send(here, [BOUGHT | {"key": "order-2"}, BOUGHT | {"key": "order-2", "customer": "amina"}]).json() == {
        "accepted": 1,
        "duplicates": 0,
        "errors": [
            {
                "index": 1,
                "path": "key",
                "message": "another event has this key",
                "hint": "a key names one event for ever",
            }
        ],
    }


def test_the_same_request_key_with_another_word_of_the_customer_is_another_request(here: Shop) -> None:
    body = nameless(BOUGHT)
    for _ in range(2):
        assert send(here, body, "r-1").json() == {"accepted": 1, "duplicates": 0}
    for other in OTHER_WORDS:
        assert send(here, body | {"customer": other}, "r-1").status_code == 409, other
    assert len(here.events()) == 1


def test_an_event_that_its_content_names_is_the_same_whatever_is_said_of_its_customer(here: Shop) -> None:
    dated = nameless(BOUGHT) | {"time": "2026-03-01T09:30:00+03:00"}
    assert send(here, dated).json() == {"accepted": 1, "duplicates": 0}
    assert send(here, dated | {"customer": "amina"}).json() == {"accepted": 0, "duplicates": 1}


def test_of_an_event_from_before_nothing_is_known_that_was_said_with_it(here: Shop) -> None:
    assert send(here, BOUGHT).status_code == 202
    with here.app.database.write() as connection:
        connection.execute(update(event).values(said=None))
    assert send(here, BOUGHT | {"customer": "amina"}).json() == {"accepted": 0, "duplicates": 1}
    assert send(here, BOUGHT | {"properties": {}}).status_code == 409


def test_what_is_kept_of_a_word_names_nobody(here: Shop) -> None:
    assert send(here, BOUGHT).status_code == 202
    assert send(here, BOUGHT | {"key": "order-2", "customer": {"id": "asha"} | AMINA}).status_code == 202
    (one,), (two,) = here.rows(event.c.said)
    assert one == two and len(one) == 20 and "amina" not in one
    assert send(here, {"event": "cart", "customer": AMINA}).status_code == 202
    assert sorted(here.rows(event.c.said), key=repr)[-1] == (None,)  # nobody can send it again


def test_a_shorter_list_is_another_request_even_if_only_faults_and_events_with_keys_are_gone(here: Shop) -> None:
    body = [*visits(2), {"event": "cart"}, BOUGHT]
    first = send(here, body, "r-1")
    assert first.json()["accepted"] == 3
    assert send(here, body, "r-1").json()["accepted"] == 2  # one has a key of its own
    for other in (body[:1], body[:2], body[:3], [*body, BOUGHT | {"key": "order-2"}]):
        assert send(here, other, "r-1").status_code == 409, len(other)
    assert len(here.events()) == 3


@pytest.mark.parametrize("other", [1_000, 1_900, 2_100, 3_000])
def test_a_stream_that_is_shorter_or_longer_is_another_request(here: Shop, other: int) -> None:
    for _ in range(2):
        assert stream(here, visits(2_000), "s-1").json() == {"lines": 2_000, "accepted": 2_000, "duplicates": 0}
    answer = stream(here, visits(other), "s-1")
    assert (answer.status_code, answer.json()["durable_lines"]) == (409, min(other, 2_000))
    assert len(here.events()) == 2_000
    assert stream(here, visits(2_000), "s-1").status_code == 202


def test_a_stream_of_which_the_end_never_came_may_go_on(here: Shop) -> None:
    assert stream(here, visits(1_000), "s-1").status_code == 202
    with here.app.database.write() as connection:
        connection.execute(mark.delete().where(mark.c.name == "stream:s-1"))  # as if it had broken there
    assert stream(here, visits(2_000), "s-1").json()["accepted"] == 2_000
    assert stream(here, visits(1_000), "s-1").status_code == 409


def test_a_stream_of_which_nothing_was_taken_may_be_mended(here: Shop) -> None:
    assert stream(here, [{"event": "cart"}] * 3, "s-1").status_code == 422
    assert stream(here, visits(4), "s-1").json()["accepted"] == 4


def test_a_stream_whose_length_can_not_be_kept_is_to_be_sent_again(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(streams, "ended", full)
        answer = stream(here, visits(3), "s-1")
        assert (answer.status_code, answer.json()["durable_lines"]) == (503, 3)
    assert stream(here, visits(3), "s-1").json()["accepted"] == 3
