"""Whoever opens the page has its browser key. What they can't do with it, and what an honest page still can."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from engine.runtime.keys import create, mint
from engine.store.tables import consent, customer, customer_tag
from tests.sources.conftest import Open, Shop
from tests.sources.conftest import shop as shop

BROWSER, SERVER = mint(), mint()
THEIRS = {"email": "amina@shop.example", "phone": "+254712345678", "first_name": "Amina", "tier": "silver"}
"""What the shop knows of Amina."""


@pytest.fixture
def here(shop: Open) -> Shop:
    here = shop({"segment": {}})
    now = here.app.clock.now()
    with here.app.database.write() as connection:
        create(connection, "a page", "write", now, browser=True, minting=lambda: BROWSER)
        create(connection, "the shop", "admin", now, minting=lambda: SERVER)
    return here


def send(here: Shop, who: Any, event: str = "signed_up", shown: Any = BROWSER, **more: Any) -> Any:
    body = json.dumps({"event": event, "customer": who} | more).encode()
    answer = here.post("/v1/events", body, {"X-API-Key": shown.text})
    assert answer.status_code == 202, answer.text
    return answer.json()


def server(here: Shop, who: Any, event: str = "signed_up", **more: Any) -> Any:
    return send(here, who, event, SERVER, **more)


def portrait(here: Shop, name: str) -> Any:
    answer = here.client.get(f"/v1/customers/{name}", headers={"X-API-Key": SERVER.text})
    assert answer.status_code == 200, answer.text
    return answer.json()


def facts(here: Shop, name: str) -> dict[str, Any]:
    told = portrait(here, name)["profile"]
    return {word: told[word] for word in THEIRS if told.get(word) is not None}


def people(here: Shop) -> set[str]:
    return {row.external_id for row in here.rows(customer.c.external_id)}


def test_nobody_changes_what_the_shop_knows_of_somebody(here: Shop) -> None:
    server(here, {"id": "amina", **THEIRS, "consent": ["email/offers"], "tags": ["vip"]})
    for who in ({"id": "amina"}, {"email": THEIRS["email"]}, {"phone": THEIRS["phone"]}):
        bad = {"email": "mallory@evil.example", "phone": "+254700000000", "first_name": "Visit evil.example"}
        for given in (bad, dict.fromkeys(bad), {"tier": "gold", "first_name": None}):
            send(here, {**given, **who})
    assert facts(here, "amina") == THEIRS


def test_nobody_says_yes_for_somebody_and_a_no_says_where_it_came_from(here: Shop) -> None:
    server(here, {"id": "amina", **THEIRS})
    told = send(here, {"id": "amina", "consent": {"email/offers": True, "sms/offers": False}, "tags": ["vip"]})
    assert {one["path"] for one in told["warnings"]} == {"customer.consent", "customer.tags"}
    assert here.rows(consent.c.channel, consent.c.state, consent.c.source) == [("sms", "off", "page")]
    assert not here.rows(customer_tag.c.tag)


def test_nobody_adds_an_address_to_somebody_who_has_one(here: Shop) -> None:
    """What is sent to Amina's mail would go to Mallory's phone, too."""
    server(here, {"id": "amina", "email": THEIRS["email"]})
    send(here, {"id": "amina", "phone": "+254700000000", "push_token": "mallory's"})
    assert facts(here, "amina") == {"email": THEIRS["email"]}


def test_an_address_that_was_planted_ends_when_the_shop_tells_one(here: Shop) -> None:
    send(here, {"id": "1008", "email": "mallory@evil.example", "phone": "+254700000000"})
    server(here, {"id": "1008", "email": THEIRS["email"]})
    assert facts(here, "1008") == {"email": THEIRS["email"]}


def test_a_guest_known_by_an_address_is_not_absorbed(here: Shop) -> None:
    server(here, {"email": THEIRS["email"], "first_name": "Amina"}, "purchase", key="order-1", properties={"total": 5})
    (guest,) = people(here)
    send(here, {"id": "mallory", "email": THEIRS["email"]})
    assert people(here) == {guest, "mallory"}
    assert portrait(here, guest)["tallies"]["purchase"]["count"] == 1
    assert "purchase" not in portrait(here, "mallory")["tallies"]
    # The shop says so, and then it is so.
    server(here, {"id": "amina", "email": THEIRS["email"]})
    assert people(here) == {"amina", "mallory"} and portrait(here, "amina")["tallies"]["purchase"]["count"] == 1


def test_a_guest_found_by_an_address_gets_no_other_one(here: Shop) -> None:
    send(here, {"email": THEIRS["email"], "phone": "+254700000000"})
    server(here, {"email": THEIRS["email"]}, "purchase", key="order-1", properties={"total": 5})
    (guest,) = people(here)
    assert facts(here, guest) == {"email": THEIRS["email"]}


def test_an_address_that_a_page_told_finds_nobody(here: Shop) -> None:
    """Else what the shop tells of Amina by her address would be Mallory's."""
    send(here, {"anonymous_id": "mallory", "email": THEIRS["email"], "phone": "+254700000000"})
    server(here, {"email": THEIRS["email"]}, "purchase", key="order-1", properties={"total": 5})
    server(here, {"id": "amina", "email": THEIRS["email"], "anonymous_id": "hers"})
    assert people(here) == {"amina", "anonymous:mallory"}
    assert facts(here, "amina") == {"email": THEIRS["email"]}
    assert portrait(here, "amina")["tallies"]["purchase"]["count"] == 1


def test_two_whom_the_shop_knows_are_never_made_one(here: Shop) -> None:
    for name in ("amina", "baraka"):
        server(here, {"id": name, "anonymous_id": f"of-{name}"})
    send(here, {"id": "mallory", "anonymous_id": "of-amina"})
    send(here, {"id": "amina", "anonymous_id": "of-baraka"})
    for call in ({"userId": "baraka", "previousId": "amina"}, {"userId": "amina", "previousId": "baraka"}):
        assert here.post("/v1/alias", json.dumps(call).encode(), {"X-API-Key": BROWSER.text}).status_code == 200
    assert people(here) == {"amina", "baraka", "mallory"}


def test_who_signs_in_as_somebody_gives_them_no_address_and_no_fact_that_is_known(here: Shop) -> None:
    server(here, {"id": "amina", "email": THEIRS["email"], "first_name": "Amina"})
    server(here, {"anonymous_id": "m", "first_name": "Mallory", "phone": "+254700000000", "tier": "gold"}, "cart")
    send(here, {"id": "amina", "anonymous_id": "m"})
    assert people(here) == {"amina"}, "what the browser did is whoever's who signed in with it"
    assert portrait(here, "amina")["tallies"]["cart"]["count"] == 1
    assert facts(here, "amina") == {"email": THEIRS["email"], "first_name": "Amina", "tier": "gold"}


def test_a_yes_or_a_tag_that_the_shop_has_of_a_browser_is_given_to_nobody(here: Shop) -> None:
    server(here, {"id": "amina", "email": THEIRS["email"]})
    server(here, {"anonymous_id": "m", "email": "mallory@evil.example", "consent": ["email/offers"]})
    server(here, {"anonymous_id": "n", "tags": ["vip"]})
    for name in ("m", "n"):
        send(here, {"id": "amina", "anonymous_id": name})
    assert people(here) == {"amina", "anonymous:m", "anonymous:n"}
    assert not portrait(here, "amina")["consents"] and not portrait(here, "amina")["tags"]


def test_nobody_uses_up_the_keys_of_the_shops_events(here: Shop) -> None:
    order = {"key": "order-17", "properties": {"total": 49.9}}
    send(here, "mallory", "purchase", **order | {"properties": {"total": 1}})
    assert server(here, "amina", "purchase", **order)["accepted"] == 1
    call = {"event": "Ping", "messageId": "m-1"}
    for key, name in ((BROWSER, "mallory"), (SERVER, "amina")):
        body = json.dumps(call | {"userId": name}).encode()
        assert here.post("/v1/track", body, {"X-API-Key": key.text}).status_code == 200
    assert [row.external_id for row in here.events() if row.name == "ping"] == ["mallory", "amina"]
    assert not here.kept()


def test_nobody_sends_a_stream_with_it(here: Shop) -> None:
    line = b'{"event": "signed_up", "customer": "mallory"}\n'
    headers = {"X-API-Key": BROWSER.text, "Content-Type": "application/x-ndjson"}
    answer = here.post("/v1/events", line, headers)
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (
        403,
        "a browser key may not send a stream",
    )
    assert here.post("/v1/events", line, headers | {"X-API-Key": SERVER.text}).status_code == 202


def test_an_honest_page_tells_who_signs_up_and_mends_what_it_told(here: Shop) -> None:
    send(here, {"anonymous_id": "b-1", "tier": "silver"}, "cart")
    earlier = "2026-03-01T09:00:00+00:00"
    send(here, {"id": "amina", "anonymous_id": "b-1", "email": THEIRS["email"], "first_name": "Amna"}, time=earlier)
    send(here, {"id": "amina", "anonymous_id": "b-1", "first_name": "Amina"})
    assert people(here) == {"amina"}
    assert facts(here, "amina") == {"email": THEIRS["email"], "first_name": "Amina", "tier": "silver"}
    send(here, {"id": "amina", "anonymous_id": "another device"}, "cart")
    assert portrait(here, "amina")["tallies"]["cart"]["count"] == 2


def test_any_word_of_the_shop_is_newer_than_a_pages(here: Shop) -> None:
    send(here, {"id": "amina", "first_name": "Mallory", "tier": "gold"})
    server(here, {"id": "amina", "first_name": "Amina"}, time="2020-01-01T00:00:00+00:00")
    assert facts(here, "amina") == {"first_name": "Amina", "tier": "gold"}
    with here.app.database.read() as connection:
        said = connection.execute(select(customer.c.said_at)).scalar_one()
    assert said["first_name"] > 0 > said["attributes.tier"]
