"""WooCommerce's webhooks: orders and customers.

`X-WC-Webhook-Signature` is the base64 HMAC-SHA256 of the raw body under the webhook's secret, `X-WC-Webhook-Topic` the
topic, which is not signed (https://woocommerce.com/document/webhooks/). Payloads are those of the REST API:
https://woocommerce.github.io/woocommerce-rest-api-docs/#orders. A new webhook is greeted with an unsigned form of
`webhook_id`, and wants a 200.

WooCommerce says that an order has changed, not what happened to it. What happened is read from the order (paid,
completed, cancelled, refunded); each of it is told with every later change, and counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import Field

from engine.language.fields import Text
from engine.language.registry import source
from triggers.sources.base import IGNORE, Agreed, Headers, Said, Source, SourceOptions, Told, Untold, Who
from triggers.sources.parts import amount, entries, known, mapping, part, text
from triggers.sources.signatures import from_base64, signed

ORDERS = ("order.created", "order.updated", "order.restored")
CUSTOMERS = ("customer.created", "customer.updated", "customer.deleted")


class WooCommerceOptions(SourceOptions):
    """What project.yaml may say about WooCommerce."""

    opted_in: Text | None = Field(
        None, description="The key in `meta_data` under which a plugin keeps the yes or no to marketing mails."
    )


@source("woocommerce")
class WooCommerce(Source):
    """WooCommerce's webhooks, signed with the webhook's secret. What happened to an order is read from its state."""

    Options: ClassVar[type[SourceOptions]] = WooCommerceOptions
    topics: ClassVar[Mapping[str, str] | None] = {
        "order.created": "order_created",
        "order.paid": "purchase",
        "order.completed": "order_fulfilled",
        "order.cancelled": "order_cancelled",
        "order.refunded": "refunded",
        "customer.created": "signed_up",
        "customer.updated": "customer_updated",
        "customer.deleted": "account_closed",
    }

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        return signed(secrets, body, from_base64(headers.get("x-wc-webhook-signature", "")))

    def greeting(self, headers: Headers, body: bytes) -> bool:
        return "x-wc-webhook-signature" not in headers and re.fullmatch(rb"webhook_id=[0-9]{1,12}", body) is not None

    def read(self, headers: Headers, payload: Any) -> Said:
        topic = headers.get("x-wc-webhook-topic", "")
        if topic not in ORDERS + CUSTOMERS:
            return [Untold(topic, "unknown topic", payload)]
        number = text(payload, "id")
        if number is None:
            return [Untold(topic, "it has no id", payload)]
        if topic in CUSTOMERS:
            return self._customer(topic, number, payload)
        who = _buyer(payload)
        if not who:
            return [Untold(topic, "it names no customer", payload, f"{topic}:{number}")]
        return list(self._order(topic, number, who, payload))

    def _order(self, topic: str, number: str, who: Who, order: Mapping[str, Any]) -> Iterator[Told]:
        status, changed = text(order, "status"), _utc(order, "date_modified_gmt")
        for state, at in (
            ("order.created", _utc(order, "date_created_gmt") if topic == "order.created" else None),
            ("order.paid", _utc(order, "date_paid_gmt")),
            ("order.completed", _utc(order, "date_completed_gmt")),
            ("order.cancelled", changed if status == "cancelled" else None),
        ):
            if at is not None:
                yield from self._told(state, number, who, order, at, {})
        for refund in entries(order, "refunds"):
            paid = amount(refund, "total")
            more = known({"total": (paid is not None and f"{abs(paid):f}") or None, "reason": text(refund, "reason")})
            if (name := text(refund, "id")) is not None:
                yield from self._told("order.refunded", f"{number}:{name}", who, order, changed, more)

    def _told(
        self, state: str, name: str, who: Who, order: Mapping[str, Any], at: datetime | None, more: Mapping[str, Any]
    ) -> Iterator[Told]:
        event = self.events[state]
        if event == IGNORE:
            return
        billing = mapping(order, "billing")
        properties = {
            "order_id": text(order, "id"),
            "order_number": text(order, "number"),
            "total": text(order, "total"),
            "items": [_item(line) for line in entries(order, "line_items")],
            **more,
        }
        yield Told(
            who,
            event,
            f"{state}:{name}",
            at,
            known(properties),
            _profile(billing, billing),
            self._agreed(order, _utc(order, "date_created_gmt")),
            text(order, "currency"),
            first=True,
            topic=state,
        )

    def _customer(self, topic: str, number: str, customer: Mapping[str, Any]) -> Said:
        event, billing = self.events[topic], mapping(customer, "billing")
        if event == IGNORE:
            return []
        changed = text(customer, "date_modified_gmt") or ""
        told = Told(
            Who(number, text(customer, "email"), text(billing, "phone")),
            event,
            f"{topic}:{number}" + (f":{changed}" if topic == "customer.updated" else ""),
            _utc(customer, "date_created_gmt" if topic == "customer.created" else "date_modified_gmt"),
            {"source": "woocommerce"} if topic == "customer.created" else {},
            _profile(customer, billing),
            self._agreed(customer, _utc(customer, "date_modified_gmt")),
            first=True,
            topic=topic,
        )
        return [told]

    def _agreed(self, holder: Mapping[str, Any], at: datetime | None) -> tuple[Agreed, ...]:
        assert isinstance(self.options, WooCommerceOptions)
        if self.options.opted_in is None:
            return ()
        for entry in entries(holder, "meta_data"):
            if part(entry, "key") == self.options.opted_in:
                said = str(part(entry, "value")).strip().lower()
                if said in ("1", "yes", "true", "on"):
                    return (Agreed("email", "on", at),)
                if said in ("0", "no", "false", "off"):
                    return (Agreed("email", "off", at),)
        return ()


def _buyer(order: Mapping[str, Any]) -> Who:
    number = text(order, "customer_id")
    # 0 is a guest.
    return Who(None if number == "0" else number, text(order, "billing", "email"), text(order, "billing", "phone"))


def _profile(names: Mapping[str, Any], address: Mapping[str, Any]) -> dict[str, Any]:
    return known(
        {
            "first_name": text(names, "first_name"),
            "last_name": text(names, "last_name"),
            "country": text(address, "country"),
        }
    )


def _item(line: Mapping[str, Any]) -> dict[str, Any]:
    price = amount(line, "price")
    return known(
        {
            "sku": text(line, "sku") or text(line, "product_id"),
            "name": text(line, "name"),
            "qty": part(line, "quantity"),
            "price": None if price is None else f"{price:f}",
        }
    )


def _utc(value: Any, name: str) -> datetime | None:
    """Their `…_gmt` times are written without a zone."""
    found = text(value, name)
    try:
        at = datetime.fromisoformat(found) if found else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)
