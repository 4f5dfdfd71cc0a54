"""Segment's calls, in our words: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from triggers.sources.base import SourceOptions, Told, Untold, Who
from triggers.sources.segment_spec import Segment, happened, in_small_letters

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SEGMENT = Segment(SourceOptions())


def told(kind: str, **call: Any) -> Told:
    (one,) = SEGMENT.calls(kind, {"userId": "amina", "messageId": "m"} | call, NOW)
    assert isinstance(one, Told), one
    return one


@pytest.mark.parametrize(
    ("timestamp", "sent", "expected"),
    [
        (-10, -5, -5),  # their clock is right, but for what the way took
        (3590, 3595, -5),  # it is an hour fast
        (-86410, -86405, -5),  # a day slow
        (-86400, 0, -86400),  # kept for a day before it was sent
        (-60, None, -60),  # nothing says how their clock stands
        (3600, None, 0),
        (10, 5, 0),  # sent before it happened
        (None, 5, 0),
    ],
)
def test_what_counts_is_how_long_before_sending_it_happened(
    timestamp: int | None, sent: int | None, expected: int
) -> None:
    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    call = {} if timestamp is None else {"timestamp": (NOW + timedelta(seconds=timestamp)).isoformat()}
    assert happened(call, at(sent), NOW) == NOW + timedelta(seconds=expected)


def test_absurd_times_are_the_time_it_came() -> None:
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "yesterday", 10**30, {"a": 1}):
        assert happened({"timestamp": text}, datetime(9999, 12, 31, tzinfo=UTC), NOW) <= NOW


def test_an_order_is_a_purchase_with_its_items() -> None:
    products = [
        {
            "product_id": "1",
            "sku": "MUG-1",
            "name": "Mug",
            "category": "home",
            "price": 20,
            "quantity": 2,
            "brand": "x",
        },
        {"product_id": "2", "name": "Tea", "price": 9.9, "quantity": 1},
        "nonsense",
    ]
    properties = {
        "order_id": 17,
        "revenue": 40,
        "total": 49.9,
        "currency": "USD",
        "products": products,
        "coupon": "TEN",
    }
    one = told("track", event="Order Completed", properties=properties)
    assert (one.event, one.currency) == ("purchase", "USD")
    assert one.properties["items"] == [
        {"sku": "MUG-1", "name": "Mug", "category": "home", "qty": 2, "price": 20},
        {"sku": "2", "name": "Tea", "qty": 1, "price": 9.9},
    ]
    assert (one.properties["total"], one.properties["order_id"], one.properties["coupon"]) == (49.9, "17", "TEN")


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("Product Viewed", "product_viewed"),
        ("Checkout Started", "checkout_started"),
        ("Order Cancelled", "order_cancelled"),
        ("Trial Started", "trial_started"),
        ("trialStarted", "trial_started"),
        ("signed_up", "signed_up"),
        ("2nd Visit!", "nd_visit"),
        ("Level 2", "level_2"),
    ],
)
def test_any_other_event_is_called_by_its_name_in_small_letters(name: str, event: str) -> None:
    assert told("track", event=name).event == event == in_small_letters(name)


@pytest.mark.parametrize("name", ["Product Added", "Cart Viewed"])
def test_a_cart_is_worth_what_is_said_to_be_in_it(name: str) -> None:
    mug, tea = {"sku": "MUG-1", "price": 20.5, "quantity": 2}, {"sku": "TEA-1", "price": "9.90"}
    said = {"cart_id": "c-1", "currency": "KES"} | (mug if name == "Product Added" else {"products": [mug, tea]})
    one = told("track", event=name, properties=said)
    assert (one.event, one.currency, one.properties["cart_id"]) == ("cart_updated", "KES", "c-1")
    assert one.properties["total"] == ("41.0" if name == "Product Added" else "50.90")
    assert one.properties["items"][0] == {"sku": "MUG-1", "qty": 2, "price": 20.5}
    assert told("track", event=name, properties=said | {"total": 7}).properties["total"] == 7


def test_a_viewed_cart_with_nothing_in_it_is_worth_nothing() -> None:
    assert told("track", event="Cart Viewed", properties={"cart_id": "c-1", "products": []}).properties["total"] == "0"
    assert "total" not in told("track", event="Cart Viewed", properties={"cart_id": "c-1"}).properties


def test_what_was_taken_out_of_a_cart_is_not_what_is_in_it() -> None:
    one = told("track", event="Product Removed", properties={"cart_id": "c-1", "sku": "MUG-1", "price": 20})
    assert (one.event, one.properties) == ("cart_updated", {"cart_id": "c-1", "sku": "MUG-1", "price": 20})


def test_a_refund_names_its_order() -> None:
    one = told("track", event="Order Refunded", properties={"order_id": 17, "total": 5})
    assert (one.event, one.properties["order_id"]) == ("refunded", "17")


def test_the_project_says_what_an_event_is_called() -> None:
    named = {"Product Added": "put_in", "page": "ignore", "identify": "signed_up"}
    segment = Segment(SourceOptions(events=named))
    call = {"userId": "amina", "event": "Product Added", "properties": {"product_id": "1", "quantity": 1}}
    (one,) = segment.calls("track", call, NOW)
    assert isinstance(one, Told) and one.event == "put_in" and one.properties["items"] == [{"sku": "1", "qty": 1}]
    assert segment.calls("page", {"userId": "amina"}, NOW) == []


def test_traits_are_the_words_of_a_customer_and_never_a_consent() -> None:
    traits = {
        "email": "amina@shop.example",
        "phone": "+254712345678",
        "name": "Amina Achieng Otieno",
        "birthday": "1990-03-08T00:00:00.000Z",
        "createdAt": "2026-01-05T08:00:00Z",
        "address": {"country": "KE", "city": "Nairobi"},
        "favouriteColour": "green",
        "consent": ["email/offers"],
        "tags": ["vip"],
        "id": "baraka",
    }
    one = told("identify", traits=traits, anonymousId="anon", context={"locale": "sw-KE", "timezone": "Africa/Nairobi"})
    assert one.who == Who("amina", "amina@shop.example", "+254712345678", "anon")
    assert one.profile == {
        "first_name": "Amina",
        "last_name": "Achieng Otieno",
        "birthday": "1990-03-08",
        "created": "2026-01-05T08:00:00+00:00",
        "country": "KE",
        "favourite_colour": "green",
        "locale": "sw-KE",
        "timezone": "Africa/Nairobi",
    }
    assert (one.event, one.agreed) == ("customer_updated", ())


def test_traits_may_stand_in_the_context_as_rudderstack_writes_them() -> None:
    context = {"traits": {"email": "amina@shop.example", "tier": "gold"}}
    one = told("identify", context=context, traits={"tier": "silver"})
    assert (one.who.email, one.profile) == ("amina@shop.example", {"tier": "silver"})


def test_each_call_is_an_event_of_its_own() -> None:
    assert told("page", name="Home", properties={"url": "https://duka.example"}).properties == {
        "name": "Home",
        "url": "https://duka.example",
    }
    assert told("screen", name="Home").event == "screen_viewed"
    assert told("group", groupId="g1", traits={"plan": "pro"}).properties == {"group_id": "g1", "plan": "pro"}
    alias = told("alias", previousId="anon")
    assert (alias.event, alias.who) == ("alias_known", Who(id="amina", anonymous="anon", renamed=True))


def test_an_alias_that_segment_passes_on_may_be_a_pages_word() -> None:
    (one,) = SEGMENT.read({}, {"type": "alias", "userId": "amina", "previousId": "asha", "messageId": "m"})
    assert isinstance(one, Told) and one.who == Who(id="amina", anonymous="asha")


def test_a_batch_shares_its_context_and_its_clock() -> None:
    calls = [
        {"type": "track", "event": "Ping", "anonymousId": "a", "timestamp": "2026-03-02T11:59:50Z"},
        {"type": "identify", "userId": "amina", "context": {"locale": "en"}},
        {"type": "delete", "userId": "amina"},
        {"type": "track", "userId": "amina"},
        {"type": "track", "event": "Ping"},
        17,
    ]
    batch = {"batch": calls, "sentAt": "2026-03-02T12:00:00Z", "context": {"locale": "sw"}}
    first, second, *rest = SEGMENT.calls("batch", batch, NOW)
    assert isinstance(first, Told) and isinstance(second, Told)
    assert first.occurred_at == NOW - timedelta(seconds=10)
    assert (first.profile, second.profile) == ({"locale": "sw"}, {"locale": "en"})
    assert [one.reason for one in rest if isinstance(one, Untold)] == [
        "unknown topic",
        "it has no event",
        "it names no customer",
    ]


def test_without_a_message_id_the_content_names_it() -> None:
    one, same, other = (SEGMENT.calls("track", {"userId": "amina", "event": "Ping", "n": n}, NOW)[0] for n in (1, 1, 2))
    assert isinstance(one, Told) and isinstance(same, Told) and isinstance(other, Told)
    assert one.key == same.key != other.key
