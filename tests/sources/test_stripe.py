"""Stripe's signatures have a time, its amounts minor units, its customers ids of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import SECRET, SIGNED, sample
from triggers.sources.base import Agreed, Told, Who
from triggers.sources.stripe import TOLERANCE, Stripe, StripeOptions

STRIPE = Stripe(StripeOptions())
SESSION = sample("stripe").payload


def event(type_: str, number: int, fields: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    data = {"object": fields} | ({} if before is None else {"previous_attributes": before})
    return {"id": f"evt_{number}", "type": type_, "created": 1772440200, "data": data}


def told(payload: Any) -> Told:
    (one,) = STRIPE.read({}, payload)
    assert isinstance(one, Told), one
    return one


def send(here: Shop, payload: Any) -> Any:
    body = json.dumps(payload).encode()
    return here.post("/hooks/stripe", body, sample("stripe").signed(body, NOW)).json()


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, True), (TOLERANCE, True), (TOLERANCE + 1, False), (-TOLERANCE - 1, False)]
)
def test_a_signature_is_good_for_five_minutes(seconds: int, taken: bool) -> None:
    headers = {name.lower(): value for name, value in SIGNED["stripe"](b"{}", SECRET, NOW).items()}
    assert STRIPE.verify([SECRET], headers, b"{}", NOW + timedelta(seconds=seconds)) is taken


def test_any_of_several_signatures_will_do_and_its_time_is_signed() -> None:
    shown = SIGNED["stripe"](b"{}", SECRET, NOW)["Stripe-Signature"]
    time, _, v1 = shown.split(",")
    wrong = "v1=" + "0" * 64
    for text in (f"{time},{wrong},{v1}", f"{time},{v1},{wrong}", f"{time}, {v1}"):
        assert STRIPE.verify([SECRET], {"stripe-signature": text}, b"{}", NOW), text
    later = f"t={int(time[2:]) + 1}"
    for text in (
        f"{later},{v1}",
        v1,
        time,
        f"t=,{v1}",
        f"t=²,{v1}",
        f"{time},{v1.replace('v1', 'v0')}",
        f"{time},{wrong}",
        "t=" + "9" * 99,
    ):
        assert not STRIPE.verify([SECRET], {"stripe-signature": text}, b"{}", NOW), text


@pytest.mark.parametrize(
    ("minor", "currency", "total"),
    [(4990, "usd", "49.90"), (5, "eur", "0.05"), (500, "jpy", "500"), (1234, "kwd", "1.234"), (0, "usd", "0.00")],
)
def test_an_amount_has_the_digits_of_its_currency(minor: int, currency: str, total: str) -> None:
    invoice = {"id": "in_1", "amount_paid": minor, "currency": currency, "customer_email": "amina@shop.example"}
    one = told(event("invoice.paid", 3, invoice))
    assert (one.event, one.properties["total"], one.currency) == ("invoice_paid", total, currency)


def test_a_session_that_is_paid_later_is_one_purchase(shop: Open) -> None:
    here = shop({"stripe": {}})
    session = SESSION["data"]["object"]
    unpaid = SESSION | {"data": {"object": session | {"payment_status": "unpaid"}}}
    assert send(here, unpaid) == {"accepted": 0, "duplicates": 0}
    later = SESSION | {"id": "evt_5", "type": "checkout.session.async_payment_succeeded"}
    assert send(here, later) == {"accepted": 1, "duplicates": 0}
    assert send(here, SESSION) == {"accepted": 0, "duplicates": 1}


@pytest.mark.parametrize(
    ("session", "total"),
    [
        ({"mode": "payment"}, "49.90"),
        ({"mode": "payment", "payment_status": "no_payment_required", "amount_total": 0}, "0.00"),
        ({"mode": "payment", "payment_status": "no_payment_required"}, None),
        ({"mode": "payment", "payment_status": "unpaid"}, None),
        ({"mode": "setup", "payment_status": "no_payment_required", "amount_total": None, "currency": None}, None),
        ({"mode": "subscription"}, "49.90"),
        ({"mode": "subscription", "payment_status": "no_payment_required", "amount_total": 0}, None),
        ({"mode": "subscription", "amount_total": 0}, None),
    ],
    ids=[
        "paid",
        "an order that a discount made free",
        "paid at a later date",
        "not paid yet",
        "a card is saved",
        "the first month is paid",
        "a trial",
        "a trial, in the words of older versions",
    ],
)
def test_a_purchase_is_what_was_paid_or_an_order_that_cost_nothing(session: dict[str, Any], total: str | None) -> None:
    found = STRIPE.read({}, SESSION | {"data": {"object": SESSION["data"]["object"] | session}})
    assert [(one.event, one.properties["total"]) for one in found if isinstance(one, Told)] == (
        [] if total is None else [("purchase", total)]
    )


def test_a_card_that_is_saved_counts_nothing_and_a_trial_is_a_subscription(shop: Open) -> None:
    here, session = shop({"stripe": {}}), SESSION["data"]["object"] | {"payment_status": "no_payment_required"}
    saved = SESSION | {"data": {"object": session | {"mode": "setup", "amount_total": None}}}
    trial = SESSION | {"data": {"object": session | {"mode": "subscription", "amount_total": 0}}}
    started = {"id": "sub_1", "customer": "cus_1", "status": "trialing", "metadata": {"customer_id": "amina"}}
    assert send(here, saved) == send(here, trial) == {"accepted": 0, "duplicates": 0}
    assert send(here, event("customer.subscription.created", 12, started))["accepted"] == 1
    assert [(row.external_id, row.name) for row in here.events()] == [("amina", "subscription_started")]


def test_a_refund_is_what_has_come_back_since(shop: Open) -> None:
    charge = {"id": "ch_1", "amount": 4990, "currency": "kes", "billing_details": {"email": "amina@shop.example"}}
    first = event("charge.refunded", 6, charge | {"amount_refunded": 1000}, {"amount_refunded": 0})
    second = event("charge.refunded", 7, charge | {"amount_refunded": 1500}, {"amount_refunded": 1000})
    assert [told(one).properties["total"] for one in (first, second)] == ["10.00", "5.00"]
    here = shop({"stripe": {}})
    assert [send(here, one)["accepted"] for one in (first, second, second)] == [1, 1, 0]


def test_who_has_only_stripes_id_is_whoever_was_created_with_it(shop: Open) -> None:
    here = shop({"stripe": {}})
    amina = {"id": "cus_1", "email": "Amina@Shop.example", "name": "Amina Otieno"}
    send(here, event("customer.created", 8, amina))
    send(here, event("customer.subscription.created", 9, {"id": "sub_1", "customer": "cus_1", "status": "active"}))
    send(here, event("customer.subscription.deleted", 10, {"id": "sub_2", "customer": "cus_2", "status": "canceled"}))
    assert [(row.external_id, row.name) for row in here.events()] == [
        ("anonymous:cus_1", "signed_up"),
        ("anonymous:cus_1", "subscription_started"),
        ("anonymous:cus_2", "subscription_ended"),
    ]


def test_your_own_id_in_the_metadata_is_the_customer() -> None:
    ours = {"customer_id": "amina", "order_id": "17"}
    paid = {"id": "pi_1", "customer": "cus_1", "metadata": ours, "amount_received": 100, "currency": "kes"}
    one = told(event("payment_intent.succeeded", 11, paid))
    assert one.who == Who("amina", None, None, "cus_1", ("customer.created:cus_1",))
    assert one.properties == {"order_id": "17", "total": "1.00"}


def test_a_tick_at_the_checkout_is_a_yes_and_none_is_nothing() -> None:
    session = SESSION["data"]["object"]
    for consent, agreed in (
        ({"promotions": "opt_in"}, (Agreed("email", "on"),)),
        ({"promotions": "opt_out"}, (Agreed("email", "off"),)),
        (None, ()),
    ):
        assert told(SESSION | {"data": {"object": session | {"consent": consent}}}).agreed == agreed
