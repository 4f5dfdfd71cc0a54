"""Stripe's webhooks: checkouts, payments, refunds, customers, subscriptions.

`Stripe-Signature: t=…,v1=…` is the hex HMAC-SHA256 of `t.body`; while a secret is rolled there are several v1, and
what is older than five minutes is refused (https://docs.stripe.com/webhooks#verify-manually). Events:
https://docs.stripe.com/api/events/types. Amounts are whole minor units of their currency, a few of which have other
digits than ISO says (https://docs.stripe.com/currencies).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from engine.language.fields import Text
from engine.language.registry import source
from triggers.sources.base import IGNORE, Agreed, Headers, Said, Source, SourceOptions, Told, Untold, Who
from triggers.sources.parts import known, mapping, moment, part, text
from triggers.sources.signatures import from_hex, signed

TOLERANCE = 300
"""Seconds between their clock and ours."""

NO_DIGITS = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DIGITS = ("BHD", "JOD", "KWD", "OMR", "TND")


class StripeOptions(SourceOptions):
    """What project.yaml may say about Stripe."""

    customer_id: Text = Field(
        "customer_id", description="The key in `metadata` under which you keep your own id of the customer."
    )


Part = Mapping[str, Any]


@source("stripe")
class Stripe(Source):
    """Stripe's webhooks, signed with the endpoint's secret, at most five minutes old. The customer is the
    `client_reference_id` of a checkout or the `metadata` of an object, else their address."""

    Options: ClassVar[type[SourceOptions]] = StripeOptions
    topics: ClassVar[Mapping[str, str] | None] = {
        "checkout.session.completed": "purchase",
        "checkout.session.async_payment_succeeded": "purchase",
        "checkout.session.expired": "checkout_expired",
        "payment_intent.succeeded": "payment_succeeded",
        "payment_intent.payment_failed": "payment_failed",
        "charge.refunded": "refunded",
        "invoice.paid": "invoice_paid",
        "invoice.payment_failed": "payment_failed",
        "customer.created": "signed_up",
        "customer.updated": "customer_updated",
        "customer.deleted": "account_closed",
        "customer.subscription.created": "subscription_started",
        "customer.subscription.updated": "subscription_changed",
        "customer.subscription.deleted": "subscription_ended",
    }

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        pairs = [pair.strip().partition("=") for pair in headers.get("stripe-signature", "").split(",")[:20]]
        time = next((value for name, _, value in pairs if name == "t"), "")
        if not (time.isascii() and time.isdigit()) or abs(now.timestamp() - int(time[:15])) > TOLERANCE:
            return False
        said = time.encode() + b"." + body
        return any(signed(secrets, said, from_hex(value)) for name, _, value in pairs if name == "v1")

    def read(self, headers: Headers, payload: Any) -> Said:
        topic = text(payload, "type") or ""
        event = self.events.get(topic)
        if event == IGNORE:
            return []
        if event is None:
            return [Untold(topic, "unknown topic", payload, text(payload, "id") or "")]
        one = mapping(payload, "data", "object")
        name, at = text(one, "id"), moment(payload, "created")
        if name is None:
            return [Untold(topic, "it has no id", payload)]
        key = f"{topic}:{name}"
        if topic in _PAID:
            if not _bought(one):
                return []
            key = f"checkout.session:{name}"
        elif topic not in _ONCE:
            key = f"{topic}:{text(payload, 'id') or name}"
        who = self._who(topic, one)
        if not who:
            return [Untold(topic, "it names no customer", payload, key)]
        properties = _PROPERTIES.get(topic, _paid)(one, mapping(payload, "data", "previous_attributes"))
        profile, agreed, currency = _profile(topic, one), _agreed(one), text(one, "currency")
        return [Told(who, event, key, at, properties, profile, agreed, currency, first=True, topic=topic)]

    def _who(self, topic: str, one: Part) -> Who:
        assert isinstance(self.options, StripeOptions)
        about = topic.startswith("customer.") and not topic.startswith("customer.subscription")
        theirs = text(one, "id") if about else text(one, "customer") or text(one, "customer", "id")
        return Who(
            text(one, "client_reference_id") or text(one, "metadata", self.options.customer_id),
            _first(one, "email", "customer_email", "receipt_email", ("customer_details", "email"), _BILLED_EMAIL),
            _first(one, "phone", "customer_phone", ("customer_details", "phone"), ("billing_details", "phone")),
            theirs,
            () if about or theirs is None else (f"customer.created:{theirs}",),
        )


def _bought(session: Part) -> bool:
    """Whether a checkout that was completed is a purchase: it is paid, or its order cost nothing
    (https://docs.stripe.com/payments/checkout/no-cost-orders). Unpaid: it is paid later, or never, and another event
    says so. A card that is saved buys nothing, nor is the start of a trial a purchase: a subscription that costs
    nothing yet is told as `customer.subscription.created`, and what it costs later as `invoice.paid`."""
    status, mode = part(session, "payment_status"), part(session, "mode")
    free: bool = part(session, "amount_total") == 0
    if status == "unpaid" or mode == "setup" or (mode == "subscription" and free):
        return False
    return free or bool(status != "no_payment_required")


_PAID = ("checkout.session.completed", "checkout.session.async_payment_succeeded")
_ONCE = (
    "checkout.session.expired",
    "payment_intent.succeeded",
    "invoice.paid",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
)
"""What happens to an object once; of the rest each event is one of its own."""

_BILLED_EMAIL = ("billing_details", "email")


def _first(one: Part, *paths: str | tuple[str, ...]) -> str | None:
    found = (text(one, *((path,) if isinstance(path, str) else path)) for path in paths)
    return next((each for each in found if each), None)


def _profile(topic: str, one: Part) -> dict[str, Any]:
    billed = mapping(one, "customer_details") or mapping(one, "billing_details") or one
    locales = part(one, "preferred_locales")
    first, _, last = (text(billed, "name") or "").partition(" ")
    return known(
        {
            "first_name": first or None,
            "last_name": last.strip() or None,
            "country": text(billed, "address", "country"),
            "locale": locales[0] if isinstance(locales, list) and locales and isinstance(locales[0], str) else None,
        }
    )


def _agreed(one: Part) -> tuple[Agreed, ...]:
    """What was ticked at a checkout: https://docs.stripe.com/payments/checkout/promotional-emails-consent."""
    said = text(one, "consent", "promotions")
    if said == "opt_in":
        return (Agreed("email", "on"),)
    return (Agreed("email", "off"),) if said == "opt_out" else ()


def _paid(one: Part, before: Part) -> dict[str, Any]:
    minor = next((part(one, name) for name in _AMOUNTS if isinstance(part(one, name), int)), None)
    return known(
        {
            "order_id": text(one, "metadata", "order_id") or text(one, "payment_intent") or text(one, "id"),
            "cart_id": text(one, "metadata", "cart_id"),
            "total": _units(minor, one),
            "url": text(one, "after_expiration", "recovery", "url"),
        }
    )


_AMOUNTS = ("amount_total", "amount_received", "amount_paid", "amount_due", "amount")


def _refunded(one: Part, before: Part) -> dict[str, Any]:
    """A charge tells the sum of its refunds; what it was before is told beside it."""
    minor, past = part(one, "amount_refunded"), part(before, "amount_refunded")
    if isinstance(minor, int) and isinstance(past, int):
        minor -= past
    return _paid(one, before) | known({"total": _units(minor, one)})


def _registered(one: Part, before: Part) -> dict[str, Any]:
    return {"source": "stripe"}


def _nothing(one: Part, before: Part) -> dict[str, Any]:
    return {}


def _subscription(one: Part, before: Part) -> dict[str, Any]:
    return known({"subscription_id": text(one, "id"), "status": text(one, "status")})


_PROPERTIES: Mapping[str, Callable[[Part, Part], dict[str, Any]]] = {
    "charge.refunded": _refunded,
    "customer.created": _registered,
    "customer.updated": _nothing,
    "customer.deleted": _nothing,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
}


def _units(minor: Any, one: Part) -> str | None:
    """Minor units as units, in decimal text."""
    if not isinstance(minor, int) or isinstance(minor, bool):
        return None
    currency = (text(one, "currency") or "").upper()
    digits = 0 if currency in NO_DIGITS else 3 if currency in THREE_DIGITS else 2
    if not digits:
        return str(minor)
    sign, whole = "-" if minor < 0 else "", str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{whole[:-digits]}.{whole[-digits:]}"
