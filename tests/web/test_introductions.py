"""Who is who is told together with an event, and not by a request of which nothing is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from engine.runtime.keys import create, mint
from engine.store.tables import customer
from tests.patience import eventually
from tests.sources.conftest import Open, Shop
from tests.sources.conftest import shop as shop

KEY = mint()
VISIT = {"event": "cart", "customer": {"anonymous_id": "b-1"}, "key": "cart-1", "properties": {"total": 3}}
SIGNED_IN = {"event": "signed_up", "customer": {"id": "amina", "anonymous_id": "b-1"}, "key": "in-1"}


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({})
    with here.app.database.write() as connection:
        create(connection, "the shop", "write", here.app.clock.now(), minting=lambda: KEY)
    assert send(here, VISIT).status_code == 202
    return here


def send(here: Shop, body: Any, **headers: str) -> Any:
    return here.post("/v1/events", json.dumps(body).encode(), {"X-API-Key": KEY.text, **headers})


def people(here: Shop) -> set[str]:
    return {row.external_id for row in here.rows(customer.c.external_id)}


def test_a_full_queue_introduces_nobody(here: Shop) -> None:
    here.intake._room.most, most = 0, here.intake._room.most
    assert send(here, SIGNED_IN).status_code == 429
    assert people(here) == {"anonymous:b-1"}
    here.intake._room.most = most
    assert send(here, SIGNED_IN).status_code == 202
    assert people(here) == {"amina"}
    eventually(lambda: here.intake.waiting == 0)  # all the room is there again


def test_an_event_whose_key_is_anothers_introduces_nobody(here: Shop) -> None:
    wrong = SIGNED_IN | {"key": "cart-1"}
    assert send(here, wrong).status_code == 409
    assert people(here) == {"anonymous:b-1"}
    two = send(here, [wrong, {"event": "signed_up", "customer": "baraka"}])
    assert (two.status_code, len(two.json()["errors"])) == (202, 1)
    assert people(here) == {"anonymous:b-1", "baraka"}


def test_a_request_whose_key_came_with_another_body_introduces_nobody(here: Shop) -> None:
    named = {name: value for name, value in SIGNED_IN.items() if name != "key"}
    other = {"event": "signed_up", "customer": "baraka"}
    assert send(here, other, **{"Idempotency-Key": "r-1"}).status_code == 202
    for body in (named, [other, named]):
        assert send(here, body, **{"Idempotency-Key": "r-1"}).status_code == 409
        assert people(here) == {"anonymous:b-1", "baraka"}


def test_an_event_told_again_with_one_more_name_is_the_same_event_and_says_who_it_was(here: Shop) -> None:
    again = VISIT | {"customer": {"id": "amina", "anonymous_id": "b-1"}}
    assert send(here, again).json() == {"accepted": 0, "duplicates": 1}
    assert people(here) == {"amina"}


def test_an_introduction_before_a_failure_is_told_by_the_same_request_again(here: Shop) -> None:
    with here.app.database.write() as connection:
        connection.execute(text("ALTER TABLE tally RENAME TO tally_away"))
    assert send(here, {"event": "signed_up", "customer": {"id": "amina", "anonymous_id": "b-2"}}).status_code == 503
    with here.app.database.write() as connection:
        connection.execute(text("ALTER TABLE tally_away RENAME TO tally"))
    again = {"event": "signed_up", "customer": {"id": "amina", "anonymous_id": "b-2"}}
    assert send(here, again).json() == {"accepted": 1, "duplicates": 0}
    assert people(here) == {"amina", "anonymous:b-1"}


def test_a_visitor_who_leaves_the_address_of_a_customer_is_them(here: Shop) -> None:
    mail = {"email": "amina@shop.example"}
    assert send(here, {"event": "signed_up", "customer": {"id": "amina"} | mail}).status_code == 202
    assert send(here, {"event": "cart", "customer": {"anonymous_id": "b-1"} | mail}).status_code == 202
    assert people(here) == {"amina"}
    assert send(here, {"event": "cart", "customer": {"anonymous_id": "b-1"}}).status_code == 202
    assert people(here) == {"amina"}


def test_a_page_that_tells_the_address_of_a_customer_is_not_them(here: Shop) -> None:
    mail, page = {"email": "amina@shop.example"}, mint()
    with here.app.database.write() as connection:
        create(connection, "a page", "write", here.app.clock.now(), browser=True, minting=lambda: page)
    assert send(here, {"event": "signed_up", "customer": {"id": "amina"} | mail}).status_code == 202
    left = {"event": "cart", "customer": {"anonymous_id": "b-1", "phone": "+254712345678"} | mail}
    body, key = json.dumps(left).encode(), {"X-API-Key": page.text}
    eventually(lambda: here.post("/v1/events", body, key).status_code == 202)  # a new key counts within a second
    assert people(here) == {"amina", "anonymous:b-1"}
