"""What happened to an order is read from its state, and counts once."""

from __future__ import annotations

import json
from typing import Any

from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import sample
from triggers.sources.base import Agreed, Told, Untold
from triggers.sources.woocommerce import WooCommerce, WooCommerceOptions

ORDER = sample("woocommerce").payload
DONE = {
    "status": "completed",
    "date_modified_gmt": "2026-03-02T08:50:00",
    "date_completed_gmt": "2026-03-02T08:45:00",
    "total": "39.90",
}
CUSTOMER = {
    "id": 26,
    "email": "amina@shop.example",
    "first_name": "Amina",
    "last_name": "Otieno",
    "date_created_gmt": "2026-03-01T08:00:00",
    "date_modified_gmt": "2026-03-02T08:00:00",
    "billing": {"country": "KE", "phone": ""},
    "meta_data": [{"key": "other", "value": [1]}, {"key": "_marketing", "value": "0"}],
}


def said(topic: str, payload: Any, **options: Any) -> list[Told]:
    found = WooCommerce(WooCommerceOptions(**options)).read({"x-wc-webhook-topic": topic}, payload)
    assert all(isinstance(one, Told) for one in found)
    return [one for one in found if isinstance(one, Told)]


def send(here: Shop, topic: str, payload: Any) -> Any:
    body = json.dumps(payload).encode()
    headers = sample("woocommerce").signed(body, NOW, **{"X-WC-Webhook-Topic": topic})
    return here.post("/hooks/woocommerce", body, headers).json()


def test_each_state_counts_once_however_often_the_order_changes(shop: Open) -> None:
    here = shop({"woocommerce": {}})
    unpaid = ORDER | {"status": "pending", "date_paid_gmt": None}
    assert send(here, "order.created", unpaid) == {"accepted": 1, "duplicates": 0}
    assert send(here, "order.updated", unpaid) == {"accepted": 0, "duplicates": 0}
    assert send(here, "order.updated", ORDER) == {"accepted": 1, "duplicates": 0}
    assert send(here, "order.updated", ORDER | DONE) == {"accepted": 1, "duplicates": 1}
    refunds = {
        "refunds": [{"id": 9, "reason": "broken", "total": "-10.00"}, {"id": 10, "reason": "", "total": "-5.00"}]
    }
    assert send(here, "order.updated", ORDER | DONE | refunds) == {"accepted": 2, "duplicates": 2}
    assert [(row.name, row.properties["total"]) for row in here.events()] == [
        ("order_created", "49.90"),
        ("purchase", 4990),
        ("order_fulfilled", "39.90"),
        ("refunded", "10.00"),
        ("refunded", "5.00"),
    ]
    assert not here.kept()


def test_a_cancelled_order_is_one_even_if_it_never_was_paid() -> None:
    (one,) = said("order.updated", ORDER | {"status": "cancelled", "date_paid_gmt": None})
    assert (one.event, one.key) == ("order_cancelled", "order.cancelled:727")


def test_a_guest_is_known_by_the_address_on_the_bill() -> None:
    (one,) = said("order.updated", ORDER | {"customer_id": 0})
    assert (one.who.id, one.who.email) == (None, "amina@shop.example")


def test_customers_come_change_and_go() -> None:
    (made,) = said("customer.created", CUSTOMER)
    assert (made.event, made.key, made.agreed) == ("signed_up", "customer.created:26", ())
    (changed,) = said("customer.updated", CUSTOMER, opted_in="_marketing")
    assert changed.key == "customer.updated:26:2026-03-02T08:00:00"
    assert changed.agreed == (Agreed("email", "off", changed.occurred_at),)
    assert changed.profile == {"first_name": "Amina", "last_name": "Otieno", "country": "KE"}
    (gone,) = said("customer.deleted", {"id": 26})
    assert (gone.event, gone.who.id) == ("account_closed", "26")


def test_a_state_may_be_called_otherwise_or_ignored() -> None:
    named = {"order.paid": "ignore", "order.completed": "purchase"}
    assert [one.event for one in said("order.updated", ORDER | DONE, events=named)] == ["purchase"]


def test_a_new_webhook_that_greets_is_answered_and_nothing_else_unsigned_is(shop: Open) -> None:
    here = shop({"woocommerce": {}})
    assert here.post("/hooks/woocommerce", b"webhook_id=17", {}).status_code == 200
    for body in (b"webhook_id=17&a=1", b"webhook_id=x", b"webhook_id=" + b"1" * 99, b""):
        assert here.post("/hooks/woocommerce", body, {}).status_code == 401
    assert here.post("/hooks/woocommerce", b"webhook_id=17", {"X-WC-Webhook-Signature": "x"}).status_code == 401
    assert not here.events()


def test_an_order_of_nobody_is_kept_under_its_number() -> None:
    (one,) = WooCommerce(WooCommerceOptions()).read({"x-wc-webhook-topic": "order.updated"}, {"id": 5})
    assert isinstance(one, Untold) and (one.reason, one.key) == ("it names no customer", "order.updated:5")
