"""A shop that gives codes and points, and what its customers have in their hands."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import MAIL, PROJECT, START, Shop, person

REWARDS = (
    PROJECT.replace("order_id: text}}\n  shipped", "order_id: text, coupon: text}}\n  shipped").replace(
        "events:\n", "events:\n  spends: {properties: {points: number}}\n  refunded: {properties: {order_id: text}}\n"
    )
    + """
coupons:
  back: {generate: "BACK-{8}", expires: 30d, redeemed_by: {event: purchase, property: coupon}}
  few: {from: codes.csv, warn_below: 5, redeemed_by: {event: purchase, property: coupon}}
  scarce: {generate: "S-{8}", count: 12}
  patient: {from: codes.csv, on_empty: wait}
  leave: {from: codes.csv, on_empty: exit}
points: {spent_by: {event: spends, property: points}, taken_back_by: {event: refunded, property: order_id}}
tiers: [{silver: 500}, {gold: 2000}]
"""
)
CODE = MAIL.replace("{{ brand.address }}", "{{ brand.address }} code {{ coupon.code }}!")
FILES = {"workflows/project.yaml": REWARDS, "templates/email/code.mjml": CODE}


def giving(
    root: Path,
    database: Database,
    steps: str,
    more: Mapping[str, str] | None = None,
    enter: str = "",
    files: Mapping[str, str] | None = None,
) -> Shop:
    """A shop with one journey, `j`, that a purchase lets in. `more`: journeys; `files`: what else lies in its folder."""
    head = enter or "enter: {event: purchase, again: always}\nexit: [{event: closed}]\n"
    return Shop.of(root, database, {"j": f"{head}steps:\n{steps}", **(more or {})}, more=FILES | dict(files or {}))


def stock(shop: Shop, pool: str, *codes: str) -> None:
    """Put codes into a pool."""
    from engine.cohort.coupons import add_codes

    with shop.runtime.database.write() as connection:
        add_codes(connection, pool, list(codes))


def told(shop: Shop) -> dict[str, list[str]]:
    """The codes that left the house, by the address they went to: what the provider has, not our database."""
    found: dict[str, list[str]] = defaultdict(list)
    for message in shop.sink.sent:
        for code in re.findall(r"code (\S+)!", message.content.text or ""):
            found[message.to].append(code)
    return dict(found)


def nobody_shares(shop: Shop) -> None:
    """No code was told to two people."""
    whose: dict[str, set[str]] = defaultdict(set)
    for address, codes in told(shop).items():
        for code in codes:
            whose[code].add(address)
    shared = {code: people for code, people in whose.items() if len(people) > 1}
    assert not shared, shared


def states(shop: Shop, pool: str) -> dict[str, int]:
    """How many codes of a pool are in which state."""
    rows = shop.rows(f"SELECT state, count(*) FROM coupon WHERE pool = '{pool}' GROUP BY state")
    return {str(state): int(n) for state, n in rows}


def crowd(shop: Shop, number: int, first: int = 0) -> None:
    """So many customers buy at once."""
    people = [f"c{n}" for n in range(first, first + number)]
    shop.runtime.ingest([Incoming(who, "purchase", f"b-{who}", shop.clock.now(), {}, person(who)) for who in people])


__all__ = ["CODE", "FILES", "REWARDS", "START", "crowd", "giving", "nobody_shares", "states", "stock", "told"]
