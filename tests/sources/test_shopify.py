"""Shopify's topics, each in the words of ours."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.store.tables import customer
from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import sample
from triggers.sources.base import Agreed, SourceOptions, Told, Untold, Who
from triggers.sources.shopify import Shopify

ORDER = sample("shopify").payload
SHOPIFY = Shopify(SourceOptions())
AMINA = {"id": 207119551, "email": "amina@shop.example", "updated_at": "2026-03-02T08:00:00Z"}
CART = {
    "id": "eeafa272cebfd4b22385bc4b645e762c",
    "token": "eeafa272cebfd4b22385bc4b645e762c",
    "updated_at": "2026-03-02T08:00:00Z",
    "line_items": [{"sku": "MUG-1", "title": "Mug", "quantity": 3, "price": "20.00"}],
}
CHECKOUT = {
    "token": "bd5a8aa1ecd019dd3520ff791ee3a24c",
    "cart_token": "eeafa272cebfd4b22385bc4b645e762c",
    "email": "amina@shop.example",
    "created_at": "2026-03-02T08:10:00Z",
    "updated_at": "2026-03-02T08:12:00Z",
    "total_price": "60.00",
    "currency": "KES",
    "abandoned_checkout_url": "https://duka.example/checkouts/ac/x/recover",
    "customer": None,
}
REFUND = {
    "id": 890088186047892319,
    "order_id": ORDER["id"],
    "created_at": "2026-03-02T08:40:00Z",
    "refund_line_items": [{"quantity": 1, "line_item": {"sku": "MUG-1", "title": "Mug", "price": "20.00"}}],
    "transactions": [
        {"kind": "refund", "status": "success", "amount": "15.00", "currency": "KES"},
        {"kind": "refund", "status": "success", "amount": "5.00", "currency": "KES"},
        {"kind": "refund", "status": "failure", "amount": "99.00", "currency": "KES"},
    ],
}
FULFILLMENT = {
    "id": 123456,
    "order_id": ORDER["id"],
    "created_at": "2026-03-02T08:45:00Z",
    "updated_at": "2026-03-02T08:50:00Z",
    "tracking_company": "UPS",
    "tracking_url": "https://carrier.example/1z",
    "tracking_number": "1z",
    "email": "amina@shop.example",
    "shipment_status": None,
}


def said(topic: str, payload: Any) -> Any:
    return SHOPIFY.read({"x-shopify-topic": topic}, payload)


def told(topic: str, payload: Any) -> Told:
    (one,) = said(topic, payload)
    assert isinstance(one, Told)
    return one


def send(here: Shop, topic: str, payload: Any) -> Any:
    body = json.dumps(payload).encode()
    answer = here.post("/hooks/shopify", body, sample("shopify").signed(body, NOW, **{"X-Shopify-Topic": topic}))
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("topic", "payload", "event", "key", "at", "properties"),
    [
        ("orders/create", ORDER, "order_created", "820982911946154508", "2026-03-02T08:29", {"total": "49.90"}),
        (
            "orders/fulfilled",
            ORDER,
            "order_fulfilled",
            "820982911946154508",
            "2026-03-02T08:30",
            {"order_number": "#1001"},
        ),
        (
            "orders/cancelled",
            ORDER | {"cancelled_at": "2026-03-02T08:35:00Z", "cancel_reason": "customer"},
            "order_cancelled",
            "820982911946154508",
            "2026-03-02T08:35",
            {"reason": "customer"},
        ),
        ("refunds/create", REFUND, "refunded", "890088186047892319", "2026-03-02T08:40", {"total": "20.00"}),
        ("fulfillments/create", FULFILLMENT, "shipped", "123456", "2026-03-02T08:45", {"carrier": "UPS"}),
        (
            "fulfillments/update",
            FULFILLMENT | {"shipment_status": "delivered"},
            "delivered",
            "123456",
            "2026-03-02T08:50",
            {"order_id": str(ORDER["id"])},
        ),
        (
            "carts/update",
            CART,
            "cart_updated",
            f"{CART['token']}:2026-03-02T08:00:00Z",
            "2026-03-02T08:00",
            {"total": "60.00", "cart_id": CART["token"]},
        ),
        (
            "checkouts/create",
            CHECKOUT,
            "checkout_started",
            CHECKOUT["token"],
            "2026-03-02T08:10",
            {"cart_id": CART["token"], "url": CHECKOUT["abandoned_checkout_url"]},
        ),
        (
            "checkouts/update",
            CHECKOUT,
            "checkout_updated",
            f"{CHECKOUT['token']}:2026-03-02T08:12:00Z",
            "2026-03-02T08:12",
            {"total": "60.00"},
        ),
        (
            "customers/create",
            AMINA | {"created_at": "2026-03-02T08:00:00Z"},
            "signed_up",
            "207119551",
            "2026-03-02T08:00",
            {"source": "shopify"},
        ),
        ("customers/update", AMINA, "customer_updated", "207119551:2026-03-02T08:00:00Z", "2026-03-02T08:00", {}),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_a_topic_is_an_event(topic: str, payload: Any, event: str, key: str, at: str, properties: Any) -> None:
    one = told(topic, payload)
    assert (one.event, one.key) == (event, f"{topic}:{key}")
    assert one.occurred_at is not None and one.occurred_at.astimezone(UTC).isoformat().startswith(at)
    assert {name: one.properties[name] for name in properties} == properties
    assert one.who


def test_every_topic_has_a_reader_and_every_default_is_its_own() -> None:
    for topic in Shopify.topics or {}:
        assert not any(isinstance(one, Untold) and one.reason == "unknown topic" for one in said(topic, {})), topic


def test_a_fulfilment_on_its_way_is_no_delivery() -> None:
    assert said("fulfillments/update", FULFILLMENT | {"shipment_status": "in_transit"}) == []


def test_a_refund_is_of_whoever_the_order_was_of(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "orders/paid", ORDER)
    assert send(here, "refunds/create", REFUND) == {"accepted": 1, "duplicates": 0}
    assert [(row.external_id, row.name) for row in here.events()] == [
        ("207119551", "purchase"),
        ("207119551", "refunded"),
    ]


def test_a_cart_names_nobody_but_itself_and_is_no_customer_with_an_address() -> None:
    assert told("carts/create", CART).who == Who(anonymous=f"cart:{CART['token']}")
    assert told("checkouts/create", CHECKOUT).who == Who(None, "amina@shop.example", None, f"cart:{CART['token']}")


def test_a_cart_is_of_whoever_ordered_it(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "carts/create", CART)
    send(here, "orders/paid", ORDER | {"cart_token": CART["token"]})
    theirs = {row.name: row.external_id for row in here.events()}
    assert (theirs["cart_updated"], theirs["purchase"]) == ("207119551", "207119551")
    send(here, "carts/update", CART | {"updated_at": "2026-03-02T08:20:00Z"})
    assert {row.external_id for row in here.rows(customer.c.external_id)} == {"207119551"}


def test_a_guest_with_a_cart_is_known_by_their_address_still() -> None:
    guest = ORDER | {"customer": None, "email": "amina@shop.example", "cart_token": CART["token"]}
    assert told("orders/paid", guest).who == Who(None, "amina@shop.example")


def test_a_guest_is_known_by_their_address(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "orders/paid", ORDER | {"customer": None, "email": "Amina@Shop.example"})
    assert [row.external_id for row in here.events()] == [
        "email:" + here.app.door.address_hash("email", "amina@shop.example")
    ]
    assert here.rows(customer.c.email) == [("Amina@shop.example",)]


def test_an_order_of_nobody_is_kept(shop: Open) -> None:
    here = shop({"shopify": {}})
    nobody = ORDER | {"customer": None, "email": None, "contact_email": "", "phone": None}
    assert send(here, "orders/paid", nobody) == {"accepted": 0, "duplicates": 0, "kept": 1}
    ((source, topic, reason, body),) = here.kept()
    assert (source, topic, reason) == ("shopify", "orders/paid", "it names no customer")
    assert json.loads(body)["id"] == ORDER["id"]


def test_an_unsubscribe_takes_the_consent_away_with_its_own_time(shop: Open) -> None:
    here = shop({"shopify": {"consent": ["offers"]}})
    send(here, "orders/paid", ORDER)
    off = {"state": "unsubscribed", "opt_in_level": None, "consent_updated_at": "2026-03-01T10:00:00+03:00"}
    changed = {"customer_id": 207119551, "email_address": "amina@shop.example", "email_marketing_consent": off}
    send(here, "customers_email_marketing_consent/update", changed)
    then = datetime(2026, 3, 1, 7, tzinfo=UTC)
    assert here.consents() == [("email", "offers", "off", then, "shopify")]
    # The order of yesterday comes late, and says what was true then: the newer word stands.
    send(here, "orders/fulfilled", ORDER)
    assert here.consents() == [("email", "offers", "off", then, "shopify")]


def test_who_has_said_nothing_has_agreed_to_nothing() -> None:
    silent = {"state": "not_subscribed", "consent_updated_at": None}
    pending = {"state": "pending", "consent_updated_at": "2026-03-01T10:00:00Z"}
    both = AMINA | {"email_marketing_consent": silent, "sms_marketing_consent": pending}
    assert told("customers/update", both).agreed == ()
    assert said("customers_marketing_consent/update", both) == []
    said_yes = {"state": "subscribed", "consent_updated_at": "2026-03-01T10:00:00Z"}
    yes = AMINA | {"sms_marketing_consent": said_yes}
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert told("customers_marketing_consent/update", yes).agreed == (Agreed("sms", "on", at),)
    twice = {**said_yes, "opt_in_level": "CONFIRMED_OPT_IN"}
    assert told("customers_marketing_consent/update", yes | {"sms_marketing_consent": twice}).agreed == (
        Agreed("sms", "on", at, confirmed=True),
    )


def test_an_amount_in_another_currency_is_not_taken_for_the_brands(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "orders/paid", ORDER | {"currency": "USD"})
    ((*_, properties),) = here.events()
    assert (properties["total"], properties["currency"]) == ("49.90 USD", "USD")
    assert properties["items"] == [{"sku": "MUG-1", "qty": 2}, {"sku": "39072856", "qty": 1}]


def test_an_order_paid_again_with_other_content_is_kept_beside_the_first(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "orders/paid", ORDER)
    assert send(here, "orders/paid", ORDER | {"total_price": "59.90"})["kept"] == 1
    assert len(here.events()) == 1
    assert here.kept()[0][2] == "another event has this key"


def test_the_project_says_what_an_event_is_called_and_what_is_none(shop: Open) -> None:
    here = shop({"shopify": {"events": {"orders/create": "purchase", "orders/paid": "ignore"}}})
    assert send(here, "orders/paid", ORDER) == {"accepted": 0, "duplicates": 0}
    assert send(here, "orders/create", ORDER) == {"accepted": 1, "duplicates": 0}
    assert [row.name for row in here.events()] == ["purchase"] and not here.kept()


def test_two_shops_have_keys_of_their_own(shop: Open) -> None:
    here = shop({"shopify": {}, "second": {"source": "shopify"}})
    body = json.dumps(ORDER).encode()
    headers = sample("shopify").signed(body, NOW)
    assert here.post("/hooks/shopify", body, headers).json()["accepted"] == 1
    assert here.post("/hooks/second", body, headers).json()["accepted"] == 1
    assert here.post("/hooks/third", body, headers).status_code == 404
    assert [row.source for row in here.events()] == ["shopify", "second"]


def test_an_event_from_the_future_is_kept(shop: Open) -> None:
    here = shop({"shopify": {}})
    assert send(here, "orders/paid", ORDER | {"updated_at": "2036-03-02T08:30:00Z"})["kept"] == 1
    assert here.kept()[0][2] == "time: this lies in the future"


def test_deliveries_at_the_same_moment_count_once(shop: Open) -> None:
    here = shop({"shopify": {}})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: send(here, "orders/paid", ORDER), range(16)))
    assert sum(answer["accepted"] for answer in answers) == 1
    assert sum(answer["duplicates"] for answer in answers) == 15
    assert len(here.events()) == 1
