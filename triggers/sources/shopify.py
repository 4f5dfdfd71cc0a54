"""Shopify's webhooks: orders, carts, checkouts, customers and their consent.

Signed with the app's client secret: `X-Shopify-Hmac-SHA256` is the base64 HMAC-SHA256 of the raw body
(https://shopify.dev/docs/apps/build/webhooks/subscribe/https). The topic is in `X-Shopify-Topic`; topics and payloads:
https://shopify.dev/docs/api/webhooks. The headers are not signed, so nothing that makes an event the same one is taken
from them but the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from engine.language.registry import source
from triggers.sources.base import IGNORE, Agreed, Headers, Said, Source, Told, Untold, Who
from triggers.sources.parts import amount, entries, known, mapping, moment, part, text, total
from triggers.sources.signatures import from_base64, signed

ORDER_TOPICS = ("orders/paid", "orders/create", "orders/fulfilled", "orders/cancelled")

Reader = Callable[[Mapping[str, Any]], dict[str, Any] | None]
"""The fields of a `Told`; None when this payload tells nothing that matters."""


@source("shopify")
class Shopify(Source):
    """Shopify's webhooks, signed with the app's client secret."""

    topics: ClassVar[Mapping[str, str] | None] = {
        "orders/create": "order_created",
        "orders/paid": "purchase",
        "orders/fulfilled": "order_fulfilled",
        "orders/cancelled": "order_cancelled",
        "refunds/create": "refunded",
        "fulfillments/create": "shipped",
        "fulfillments/update": "delivered",
        "carts/create": "cart_updated",
        "carts/update": "cart_updated",
        "checkouts/create": "checkout_started",
        "checkouts/update": "checkout_updated",
        "customers/create": "signed_up",
        "customers/update": "customer_updated",
        "customers/delete": "account_closed",
        "customers_email_marketing_consent/update": "consent_changed",
        "customers_marketing_consent/update": "consent_changed",
    }

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        return signed(secrets, body, from_base64(headers.get("x-shopify-hmac-sha256", "")))

    def read(self, headers: Headers, payload: Any) -> Said:
        topic = headers.get("x-shopify-topic", "")
        event, reader = self.events.get(topic), _READERS.get(topic)
        if event == IGNORE:
            return []
        if event is None or reader is None:
            return [Untold(topic, "unknown topic", payload)]
        if not isinstance(payload, Mapping):
            return [Untold(topic, "this is no object", payload)]
        told = reader(payload)
        if told is None:
            return []
        name = told.pop("key")
        if name is None:
            return [Untold(topic, "it has no id", payload)]
        key = f"{topic}:{name}"
        if not told["who"]:
            return [Untold(topic, "it names no customer", payload, key)]
        return [Told(event=event, key=key, topic=topic, **told)]


def _order(when: str) -> Reader:
    def read(order: Mapping[str, Any]) -> dict[str, Any]:
        customer, cart = mapping(order, "customer"), text(order, "cart_token")
        number = text(customer, "id")
        return {
            "key": text(order, "id"),
            "who": Who(
                number,
                text(customer, "email") or text(order, "email") or text(order, "contact_email"),
                text(customer, "phone") or text(order, "phone"),
                # Who has no id is found by their address: a cart is of one order, and they may have many.
                f"cart:{cart}" if cart and number else None,
            ),
            "occurred_at": moment(order, when) or moment(order, "updated_at") or moment(order, "created_at"),
            "properties": known(
                {
                    "order_id": text(order, "id"),
                    "order_number": text(order, "name"),
                    "cart_id": cart,
                    "total": text(order, "total_price"),
                    "items": _items(order),
                    "reason": text(order, "cancel_reason") if when == "cancelled_at" else None,
                }
            ),
            "profile": _profile(customer) | known({"locale": text(order, "customer_locale")}),
            "agreed": _agreed(customer),
            "currency": text(order, "currency"),
        }

    return read


def _refund(refund: Mapping[str, Any]) -> dict[str, Any]:
    order = text(refund, "order_id")
    paid = [one for one in entries(refund, "transactions") if part(one, "kind") == "refund"]
    paid = [one for one in paid if part(one, "status") in ("success", None)]
    lines = [
        _item(mapping(one, "line_item")) | known({"qty": part(one, "quantity")})
        for one in entries(refund, "refund_line_items")
    ]
    return {
        "key": text(refund, "id"),
        # A refund names its order only: it is of whoever the order was of.
        "who": Who(of=_of_order(order)),
        "occurred_at": moment(refund, "processed_at") or moment(refund, "created_at"),
        "properties": known({"order_id": order, "total": total(amount(one, "amount") for one in paid), "items": lines}),
        "currency": next((text(one, "currency") for one in paid), None),
    }


def _shipped(fulfillment: Mapping[str, Any]) -> dict[str, Any]:
    order = text(fulfillment, "order_id")
    return {
        "key": text(fulfillment, "id"),
        "who": Who(email=text(fulfillment, "email"), of=_of_order(order)),
        "occurred_at": moment(fulfillment, "created_at"),
        "properties": known(
            {
                "order_id": order,
                "carrier": text(fulfillment, "tracking_company"),
                "tracking_url": text(fulfillment, "tracking_url"),
                "tracking_number": text(fulfillment, "tracking_number"),
            }
        ),
    }


def _delivered(fulfillment: Mapping[str, Any]) -> dict[str, Any] | None:
    """An update tells many things; that it arrived is the one that matters."""
    if part(fulfillment, "shipment_status") != "delivered":
        return None
    return _shipped(fulfillment) | {"occurred_at": moment(fulfillment, "updated_at")}


def _cart(cart: Mapping[str, Any]) -> dict[str, Any]:
    token = text(cart, "token") or text(cart, "id")
    at = moment(cart, "updated_at")
    prices = [(amount(one, "price"), amount(one, "quantity")) for one in entries(cart, "line_items")]
    return {
        "key": token and f"{token}:{text(cart, 'updated_at') or ''}",
        # A cart says not whose it is; its token comes back with the checkout and the order.
        "who": Who(anonymous=token and f"cart:{token}"),
        "occurred_at": at,
        "properties": known(
            {
                "cart_id": token,
                "total": total(price * (n if n is not None else Decimal(1)) for price, n in prices if price is not None)
                or "0",
                "items": _items(cart),
            }
        ),
        "currency": text(cart, "currency"),
    }


def _checkout(each: bool) -> Reader:
    """`each`: every state of it is an event of its own."""

    def read(checkout: Mapping[str, Any]) -> dict[str, Any]:
        customer = mapping(checkout, "customer")
        token, cart = text(checkout, "token") or text(checkout, "id"), text(checkout, "cart_token")
        return {
            "key": f"{token}:{text(checkout, 'updated_at') or ''}" if each and token else token,
            "who": Who(
                text(customer, "id"),
                text(checkout, "email") or text(customer, "email"),
                text(checkout, "phone") or text(customer, "phone"),
                cart and f"cart:{cart}",
            ),
            "occurred_at": moment(checkout, "updated_at" if each else "created_at"),
            "properties": known(
                {
                    "checkout_id": token,
                    "cart_id": cart or token,
                    "total": text(checkout, "total_price"),
                    "items": _items(checkout),
                    "url": text(checkout, "abandoned_checkout_url"),
                }
            ),
            "profile": _profile(customer) | known({"locale": text(checkout, "customer_locale")}),
            "agreed": _agreed(customer),
            "currency": text(checkout, "presentment_currency") or text(checkout, "currency"),
        }

    return read


def _customer(when: str) -> Reader:
    def read(customer: Mapping[str, Any]) -> dict[str, Any]:
        number, at = text(customer, "id"), moment(customer, when)
        changed = f"{number}:{text(customer, when) or ''}"
        return {
            "key": changed if number and when == "updated_at" else number,
            "who": Who(number, text(customer, "email"), text(customer, "phone")),
            "occurred_at": at,
            "properties": {"source": "shopify"} if when == "created_at" else {},
            "profile": _profile(customer),
            "agreed": _agreed(customer),
        }

    return read


def _gone(customer: Mapping[str, Any]) -> dict[str, Any]:
    number = text(customer, "id")
    return {"key": number, "who": Who(number)}


def _consent(name: str) -> Reader:
    def read(changed: Mapping[str, Any]) -> dict[str, Any] | None:
        number = text(changed, "customer_id") or text(changed, "id")
        agreed = _agreed(changed)
        if not agreed:
            return None  # nobody has said yes or no
        return {
            "key": number and f"{number}:{text(changed, name, 'consent_updated_at') or ''}",
            "who": Who(number, text(changed, "email_address"), text(changed, "phone")),
            "occurred_at": agreed[0].at,
            "properties": {"channel": agreed[0].channel, "state": agreed[0].state},
            "agreed": agreed,
        }

    return read


def _agreed(customer: Mapping[str, Any]) -> tuple[Agreed, ...]:
    """`not_subscribed` and `pending` are neither a yes nor a no. How a yes was given:
    https://shopify.dev/docs/api/admin-graphql/latest/enums/customermarketingoptinlevel."""
    found = []
    for channel, name in (("email", "email_marketing_consent"), ("sms", "sms_marketing_consent")):
        said = mapping(customer, name)
        state = _STATES.get(str(part(said, "state")).lower())
        if state is not None:
            confirmed = str(part(said, "opt_in_level")).lower() == "confirmed_opt_in"
            at = moment(said, "consent_updated_at")
            found.append(Agreed(channel, state, at, confirmed and state == "on"))  # type: ignore[arg-type]
    return tuple(found)


def _profile(customer: Mapping[str, Any]) -> dict[str, Any]:
    return known(
        {
            "first_name": text(customer, "first_name"),
            "last_name": text(customer, "last_name"),
            "country": text(customer, "default_address", "country_code"),
            "created": text(customer, "created_at"),
        }
    )


def _items(holder: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_item(one) for one in entries(holder, "line_items")]


def _item(line: Mapping[str, Any]) -> dict[str, Any]:
    return known(
        {
            "sku": text(line, "sku") or text(line, "variant_id") or text(line, "product_id"),
            "name": text(line, "title") or text(line, "name"),
            "category": text(line, "product_type"),
            "qty": part(line, "quantity"),
            "price": text(line, "price"),
        }
    )


def _of_order(order: str | None) -> tuple[str, ...]:
    return tuple(f"{topic}:{order}" for topic in ORDER_TOPICS) if order else ()


_STATES = {"subscribed": "on", "unsubscribed": "off", "redacted": "off", "invalid": "off"}

_READERS: Mapping[str, Reader] = {
    "orders/create": _order("created_at"),
    "orders/paid": _order("updated_at"),
    "orders/fulfilled": _order("updated_at"),
    "orders/cancelled": _order("cancelled_at"),
    "refunds/create": _refund,
    "fulfillments/create": _shipped,
    "fulfillments/update": _delivered,
    "carts/create": _cart,
    "carts/update": _cart,
    "checkouts/create": _checkout(each=False),
    "checkouts/update": _checkout(each=True),
    "customers/create": _customer("created_at"),
    "customers/update": _customer("updated_at"),
    "customers/delete": _gone,
    "customers_email_marketing_consent/update": _consent("email_marketing_consent"),
    "customers_marketing_consent/update": _consent("sms_marketing_consent"),
}
