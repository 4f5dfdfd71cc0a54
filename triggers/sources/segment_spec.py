"""Segment's tracking spec: identify, track, page, screen, group, alias and batches of them.

https://segment.com/docs/connections/spec/ and its HTTP form,
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/. E-commerce events have names and
properties of their own, https://segment.com/docs/connections/spec/ecommerce/v2/; the table below says what they are
here, and project.yaml may say otherwise. An event that no table names is called by its own name in small letters:
`Trial Started` is `trial_started`.

A sender's clock may be wrong: what counts is how long before sending it happened, and when it came,
`received - (sentAt - timestamp)`. A call that is sent again comes out at another moment, and is the same call: its
`messageId` says so, not its time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from engine.language.registry import source
from triggers.sources.base import IGNORE, Headers, Said, Source, SourceOptions, Told, Untold, Who
from triggers.sources.parts import amount, entries, known, mapping, moment, part, text, total
from triggers.sources.signatures import from_hex, signed

LARGEST_CALL = 32 * 1024
LARGEST_BATCH = 500 * 1024
"""Bytes."""

CALLS = ("identify", "track", "page", "screen", "group", "alias")

EVENTS: Mapping[str, str] = {
    "identify": "customer_updated",
    "page": "page_viewed",
    "screen": "screen_viewed",
    "group": "group_joined",
    "alias": "alias_known",
    "Product Added": "cart_updated",
    "Product Removed": "cart_updated",
    "Cart Viewed": "cart_updated",
    "Order Completed": "purchase",
    "Order Refunded": "refunded",
    "Application Installed": "app_installed",
}
"""What calls and events are by default, where it isn't their own name in small letters."""

SHOPPING = ("Order ", "Cart ", "Checkout ", "Product ", "Products ")
"""Events whose names begin so have the spec's e-commerce properties."""

IN_THE_CART = ("Product Added", "Cart Viewed")
"""Those of them whose products lie in a cart, and say what it is worth at least."""

NEVER_A_TRAIT = ("id", "external_id", "consent", "tags", "push_token")
"""Words of a customer that a browser must not say: what somebody agreed to least of all."""

_WORDS = {
    "firstName": "first_name",
    "lastName": "last_name",
    "createdAt": "created",
}


@source("segment")
class Segment(Source):
    """Segment's tracking calls: at `/v1/identify`, `track`, `page`, `screen`, `group`, `alias` and `batch`, with the
    write key; or from Segment itself as a webhook, signed. Their `events` are the calls' names and those of tracked
    events, like `Order Completed`; any other is called by its name in small letters."""

    needs_secret: ClassVar[bool] = False

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options)
        self.events = {**EVENTS, **options.events}

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        # https://segment.com/docs/connections/destinations/catalog/webhooks/: HMAC-SHA1, in hex.
        return signed(secrets, body, from_hex(headers.get("x-signature", "")), "sha1")

    def read(self, headers: Headers, payload: Any) -> Said:
        """A call as Segment passes it on: its clock is corrected already."""
        kind = text(payload, "type") or ""
        if kind not in CALLS:
            return [Untold(kind, "unknown topic", payload)]
        return self.call(kind, payload, moment(payload, "timestamp") or moment(payload, "receivedAt"))

    def calls(self, kind: str, payload: Any, received: datetime) -> Said:
        """A call of this kind, or the calls of a `batch`, as an SDK sends them."""
        sent = moment(payload, "sentAt")
        if kind != "batch":
            return self.call(kind, payload, happened(payload, sent, received), here=True)
        said: list[Told | Untold] = []
        context = part(payload, "context")
        for one in entries(payload, "batch"):
            kind = text(one, "type") or ""
            if kind not in CALLS:
                said.append(Untold(kind, "unknown topic", one))
                continue
            if not _fits(one):
                name = text(one, "messageId") or ""
                said.append(Untold(kind, f"a call may have {LARGEST_CALL} bytes", {"messageId": name}, name))
                continue
            whole = one if part(one, "context") is not None or context is None else {**one, "context": context}
            said += self.call(kind, whole, happened(one, moment(one, "sentAt") or sent, received), here=True)
        return said

    def call(self, kind: str, one: Any, at: datetime | None, *, here: bool = False) -> Said:
        """One call, which happened then. `here`: an SDK has sent it here with a key, and not Segment, which also passes
        on what pages say. Then its time is worked out from when it came."""
        name = text(one, "event") if kind == "track" else kind
        if name is None:
            return [Untold(kind, "it has no event", one)]
        event = self.events.get(name) or in_small_letters(name)
        if event == IGNORE:
            return []
        key = text(one, "messageId") or _content(one)
        if not event:
            return [Untold(name, "this can't be an event's name", one, key)]
        # RudderStack's SDKs write the traits of identify into the context, where Segment's are those known before.
        traits = {**mapping(one, "context", "traits"), **(mapping(one, "traits") if kind == "identify" else {})}
        who = _who(kind, one, traits, here)
        if not who:
            return [Untold(name, "it names no customer", one, key)]
        properties, currency = _properties(kind, name, one)
        return [Told(who, event, key, at, properties, _profile(traits, one), (), currency, reckoned=here, topic=name)]


def happened(one: Any, sent: datetime | None, received: datetime) -> datetime:
    """When a call happened, by our clock; never later than it came."""
    at = moment(one, "timestamp") or moment(one, "originalTimestamp")
    if at is None:
        return received
    try:
        return min(received, received - (sent - at) if sent is not None else at).astimezone(UTC)
    except OverflowError:
        return received


def in_small_letters(name: str) -> str:
    """`Trial Started`, `trialStarted` and `trial-started` as `trial_started`; empty if nothing is left."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).lstrip("_0123456789")[:63].rstrip("_")


def _who(kind: str, one: Any, traits: Mapping[str, Any], here: bool) -> Who:
    if kind == "alias":
        # https://segment.com/docs/connections/spec/alias/: it is an anonymous id, or a user id that they had.
        return Who(id=text(one, "userId"), anonymous=text(one, "previousId"), renamed=here)
    return Who(text(one, "userId"), text(traits, "email"), text(traits, "phone"), text(one, "anonymousId"))


def _profile(traits: Mapping[str, Any], one: Any) -> dict[str, Any]:
    """Traits in the words of a customer; what else there is may be an attribute of the project."""
    found = {_WORDS.get(name, in_small_letters(name)): value for name, value in traits.items()}
    first, _, last = (text(traits, "name") or "").partition(" ")
    address = mapping(traits, "address")
    for word in ("email", "phone", "name", "address", "", *NEVER_A_TRAIT):
        found.pop(word, None)
    told = {
        "first_name": first or None,
        "last_name": last.strip() or None,
        "country": text(address, "countryCode") or text(address, "country"),
        "locale": text(one, "context", "locale"),
        "timezone": text(one, "context", "timezone"),
    }
    for word in ("birthday", "created"):
        if word in found:
            found[word] = _dated(word, found[word])
    return known(told | known(found))


def _dated(word: str, value: Any) -> str | None:
    at = moment(value)
    if word == "created":
        return at.isoformat() if at is not None else None
    try:
        return (at.date() if at is not None else date.fromisoformat(str(value)[:10])).isoformat()
    except ValueError:
        return None


def _properties(kind: str, name: str, one: Any) -> tuple[dict[str, Any], str | None]:
    given = mapping(one, "properties")
    if kind == "group":
        return known({"group_id": text(one, "groupId"), **mapping(one, "traits")}), None
    if kind == "identify":
        return {}, None
    if kind == "alias":
        return known({"previous_id": text(one, "previousId")}), None
    if kind in ("page", "screen"):
        said = {"name": text(one, "name"), "category": text(one, "category")}
        return known({**said, **given}), None
    found = dict(given)
    currency = text(found.pop("currency", None)) if name.startswith(SHOPPING) else None
    if name.startswith(SHOPPING):
        found |= _shopping(name, given)
    return known(found), currency


def _shopping(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's e-commerce properties in ours. `revenue` is without tax and shipping, so `total` comes first."""
    products = entries(given, "products")
    alone = part(given, "product_id") is not None or part(given, "sku") is not None
    if alone and not products and name != "Product Removed":
        products = [given]
    items = [_item(one) for one in products]
    amounts = [given[key] for key in ("total", "revenue", "value") if given.get(key) is not None]
    if not amounts and name in IN_THE_CART and (products or "products" in given):
        amounts = [_worth(products)]
    return known(
        {
            "items": items or None,
            "total": amounts[0] if amounts else None,
            "order_id": text(given, "order_id"),
            "cart_id": text(given, "cart_id"),
        }
    )


def _worth(products: Sequence[Mapping[str, Any]]) -> str:
    each = [(amount(one, "price"), amount(one, "quantity")) for one in products]
    return total(price * (n if n is not None else 1) for price, n in each if price is not None) or "0"


def _item(product: Mapping[str, Any]) -> dict[str, Any]:
    return known(
        {
            "sku": text(product, "sku") or text(product, "product_id") or text(product, "id"),
            "name": text(product, "name"),
            "category": text(product, "category"),
            "qty": part(product, "quantity"),
            "price": part(product, "price"),
        }
    )


def _fits(one: Any) -> bool:
    try:
        return len(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode()) <= LARGEST_CALL
    except RecursionError:
        return False


def _content(one: Any) -> str:
    try:
        written = json.dumps(one, sort_keys=True, default=str)
    except RecursionError:
        written = repr(type(one))
    return "content:" + hashlib.sha256(written.encode()).hexdigest()[:40]
