"""Never a false 202: what can't be taken now is told so, and comes again."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from engine.runtime.keys import create, mint
from engine.store.tables import customer
from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import sample

ONE = sample("shopify")
HEADERS = ONE.signed(ONE.body, NOW)
MINTED = mint()
WRITE = {"X-API-Key": MINTED.text}
PING = json.dumps({"userId": "amina", "event": "Ping", "messageId": "m"}).encode()


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({"shopify": {}, "segment": {}})
    with here.app.database.write() as connection:
        create(connection, "a page", "write", here.app.clock.now(), browser=True, minting=lambda: MINTED)
    return here


def drop(here: Shop, table: str) -> None:
    with here.app.database.write() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))


def test_a_full_queue_is_told_and_nothing_is_taken(here: Shop) -> None:
    here.intake._room.most, most = 0, here.intake._room.most
    for path, body, headers in (("/hooks/shopify", ONE.body, HEADERS), ("/v1/track", PING, WRITE)):
        answer = here.post(path, body, headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    here.intake._room.most = most
    assert not here.events()
    assert not here.rows(customer.c.external_id), "and nobody was introduced"
    assert here.post("/hooks/shopify", ONE.body, HEADERS).json()["accepted"] == 1


def test_an_event_that_the_database_does_not_take_is_no_202(here: Shop) -> None:
    drop(here, "event")
    for path, body, headers in (("/hooks/shopify", ONE.body, HEADERS), ("/v1/track", PING, WRITE)):
        answer = here.post(path, body, headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "amina" not in answer.text


def test_what_can_not_be_kept_is_no_202_either(here: Shop) -> None:
    drop(here, "kept_hook")
    body = b'{"id": 1}'
    unknown = ONE.signed(body, NOW, **{"X-Shopify-Topic": "themes/publish"})
    assert here.post("/hooks/shopify", body, unknown).status_code == 503
