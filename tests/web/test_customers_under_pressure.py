"""Who is set or merged waits for the writer as events do: among no more than will be written soon."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.app import App
from engine.runtime.keys import create, mint
from engine.store.tables import customer
from engine.web import customers
from tests.patience import PATIENCE, eventually
from tests.sources.conftest import Open, Shop
from tests.sources.conftest import shop as shop

KEY = mint()


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({})
    with here.app.database.write() as connection:
        create(connection, "the shop", "admin", here.app.clock.now(), minting=lambda: KEY)
    return here


def ask(here: Shop, method: str, name: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    return here.client.request(method, f"/v1/customers/{name}", content=content, headers={"X-API-Key": KEY.text})


def put(here: Shop, name: str) -> Any:
    return ask(here, "PUT", name, {"first_name": "Amina"})


def test_while_the_queue_is_full_nobody_is_set_or_merged_and_everybody_can_be_read(here: Shop) -> None:
    assert put(here, "amina").status_code == 201
    here.intake._room.most, most = 0, here.intake._room.most
    for refused in (put(here, "asha"), ask(here, "POST", "merge", {"from": "amina", "into": "asha"})):
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert refused.json() == {"error": customers.FULL}
    assert ask(here, "GET", "amina").status_code == 200
    assert here.rows(customer.c.external_id) == [("amina",)]
    here.intake._room.most = most
    assert put(here, "asha").status_code == 201
    eventually(lambda: here.intake.waiting == 0)


def test_who_is_just_set_is_one_of_those_who_wait(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, on, does = threading.Event(), threading.Event(), customers._put

    def slowly(app: App, name: str, body: bytes) -> tuple[int, Any]:
        begun.set()
        assert on.wait(PATIENCE)
        return does(app, name, body)

    monkeypatch.setattr(customers, "_put", slowly)
    here.intake._room.most = 1
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(put, here, "amina")
        assert begun.wait(PATIENCE)
        assert put(here, "asha").status_code == 429
        on.set()
        assert first.result().status_code == 201
    assert put(here, "asha").status_code == 201
