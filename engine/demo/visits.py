"""The made part of the demo's events: sign-ups, carts and parcels around the real baskets.

All of it comes from a seed and carries the source `made`; a real basket's source is `completejourney`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from engine.demo.households import END, START
from engine.demo.people import SEED

SIGNED_UP, CART, CHECKOUT, PURCHASE = "signed_up", "cart_updated", "checkout_started", "purchase"
SHIPPED, DELIVERED = "shipped", "delivered"
GUESTS = 240  # people who sign up in the eight weeks and have not bought yet
ABANDONED = 600
FROM_CART, ORDERED, LOST_PARCEL = 10, 8, 4  # percent of the replayed baskets; the last of the orders

TO_SHIP, TO_DELIVER = (25, 60), (25, 96)
"""Hours. The replay looks at the clock once a day, and who waits hears what happens from that look on: so what an order
waits for takes more than a day."""


@dataclass(frozen=True)
class Happening:
    """One made event. `with_` are its properties, money in the currency's unit."""

    key: str
    customer: str
    name: str
    at: datetime
    with_: Mapping[str, Any]


def guests() -> dict[str, datetime]:
    """Ids of the made people who sign up in the eight weeks, and when."""
    chance = random.Random(f"{SEED}:guests")
    return {f"guest-{number:03}": _between(chance, START, END) for number in range(1, GUESTS + 1)}


def sign_ups(arrivals: Mapping[str, datetime]) -> Iterator[Happening]:
    """Everybody who arrives in the eight weeks signs up."""
    for id, at in arrivals.items():
        yield Happening(f"sign-up-{id}", id, SIGNED_UP, at, {"source": "website"})


def carts(replayed: pl.DataFrame) -> Iterator[Happening]:
    """A cart before some of the replayed baskets, and carts that nobody came back to."""
    chance = random.Random(f"{SEED}:carts")
    for row in replayed.filter(pl.col("cart_id").is_not_null()).iter_rows(named=True):
        yield from _filling(chance, row["cart_id"], row, row["at"] - timedelta(minutes=chance.randint(12, 50)))
        with_ = {"cart_id": row["cart_id"], "total": row["total"] / 100}
        at = row["at"] - timedelta(minutes=chance.randint(1, 3))
        yield Happening(f"checkout-{row['cart_id']}", row["customer"], CHECKOUT, at, with_)
    for number, row in enumerate(replayed.sample(ABANDONED, seed=SEED, shuffle=True).iter_rows(named=True), start=1):
        yield from _filling(chance, f"C-left-{number}", row, _between(chance, START, END))


def _filling(chance: random.Random, cart: str, row: Mapping[str, Any], at: datetime) -> Iterator[Happening]:
    """One to three updates, a line more in each, a minute or two apart."""
    for count in range(1, len(row["items"]) + 1):
        lines = row["items"][:count]
        with_ = {
            "cart_id": cart,
            "total": sum(line["qty"] * line["price"] for line in lines) / 100,
            "items": priced(lines),
        }
        yield Happening(f"cart-{cart}-{count}", row["customer"], CART, at, with_)
        at += timedelta(seconds=chance.randint(40, 150))


def priced(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a basket with the price in the currency's unit, as an event names it."""
    return [line | {"price": line["price"] / 100} for line in lines]


def parcels(replayed: pl.DataFrame) -> Iterator[Happening]:
    """What becomes of the orders among the replayed baskets: shipped, delivered, or lost on the way."""
    for row in replayed.filter(pl.col("order_id").is_not_null()).iter_rows(named=True):
        chance = random.Random(f"{SEED}:parcel:{row['order_id']}")
        if chance.random() * 100 < LOST_PARCEL:
            continue
        shipped = row["at"] + timedelta(hours=chance.randint(*TO_SHIP))
        delivered = shipped + timedelta(hours=chance.randint(*TO_DELIVER))
        order = {"order_id": row["order_id"]}
        parcel = order | {"carrier": "Pikipiki Post", "tracking_url": f"https://pikipiki.example/{row['order_id']}"}
        yield Happening(f"shipped-{row['order_id']}", row["customer"], SHIPPED, shipped, parcel)
        yield Happening(f"delivered-{row['order_id']}", row["customer"], DELIVERED, delivered, order)


def drawn(replayed: pl.DataFrame) -> pl.DataFrame:
    """Adds the made columns `cart_id` and `order_id`, empty for most: which began as a cart, which were ordered online.

    The others were bought in a shop, as all of them really were."""
    chance = random.Random(f"{SEED}:drawn")
    from_cart = [chance.random() * 100 < FROM_CART for _ in range(replayed.height)]
    ordered = [chance.random() * 100 < ORDERED for _ in range(replayed.height)]
    number = pl.col("basket").str.slice(1)
    return replayed.with_columns(
        cart_id=pl.when(pl.Series(from_cart, dtype=pl.Boolean)).then(pl.format("C{}", number)),
        order_id=pl.when(pl.Series(ordered, dtype=pl.Boolean)).then(pl.format("D{}", number)),
    )


def frame(happenings: Iterator[Happening]) -> pl.DataFrame:
    """Made events as rows, in order of time, within the eight weeks."""
    rows = [
        ("made", h.key, h.customer, h.name, h.at, json.dumps(h.with_, ensure_ascii=False))
        for h in happenings
        if START <= h.at < END
    ]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row").sort("at", "key")


EVENT_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "source": pl.String,
    "key": pl.String,
    "customer": pl.String,
    "name": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "properties": pl.String,
}


def _between(chance: random.Random, first: datetime, last: datetime) -> datetime:
    return first + timedelta(seconds=chance.randrange(int((last - first).total_seconds())))
