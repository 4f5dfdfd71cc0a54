"""The step `each` in small stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import MAIL, PROJECT, passes, write

ITEM = MAIL % ("{{ item.sku }}", "{{ item.qty }} {{ entry.order_id }}")
REVIEW = """
enter: {event: purchase}
exit: [{event: closed}]
goal: {event: ping, within: 9d}
steps:
  - send: email/b
    id: thanks
  - each: entry.items
    do:
      - wait: 3d
      - branch:
          - if: item.qty > 1 and sent("thanks")
            then: [{send: email/item}]
          - else: [{exit: too few}]
  - send: email/a
"""
CASES: dict[str, tuple[str, str]] = {
    "each item has its way, and the customer goes on when all have ended": (
        REVIEW,
        """
        - {event: purchase, with: {order_id: A1, items: [{sku: A1, qty: 2}, {sku: B2, qty: 1}, {sku: C3, qty: 5}]}}
        - {sends: email/b}
        - {takes: {each_1: do}}
        - {after: 3d, sends: email/item}
        - {sends: email/item}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "without items they go on at once": (
        REVIEW,
        """
        - {event: purchase, with: {order_id: A1, items: []}}
        - {sends: email/b}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "a list that is missing has no items": (
        REVIEW,
        """
        - {event: purchase, with: {order_id: A1}}
        - {sends: email/b}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "an exit ends the ways of all items": (
        REVIEW,
        """
        - {event: purchase, with: {order_id: A1, items: [{sku: A1, qty: 2}, {sku: B2, qty: 1}]}}
        - {sends: email/b}
        - {after: 1d, event: closed}
        - {ends: exited}
        """,
    ),
    "a goal is the customer's, and reached once": (
        REVIEW.replace("within: 9d", "within: 9d, on_reach: exit"),
        """
        - {event: purchase, with: {order_id: A1, items: [{sku: A1, qty: 2}, {sku: B2, qty: 3}]}}
        - {sends: email/b}
        - {after: 1d, event: ping, with: {n: 1}}
        - {reaches: goal}
        - {ends: goal}
        """,
    ),
    "an item may be called otherwise, wait for an event, and know what came": (
        """
        enter: {event: purchase}
        steps:
          - each: entry.items
            as: bought
            at_most: 2
            do:
              - id: rated
                wait_for: {event: ping, within: 2d}
                then: [{update: {customer.points_seen: "{{ rated.n + bought.qty }}"}}]
                else: [{update: {customer.city: "{{ bought.sku }}"}}]
        """,
        """
        - scenario: all hear it
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: purchase, with: {items: [{sku: A1, qty: 1}, {sku: B2, qty: 1}, {sku: C3, qty: 9}]}}
            - {after: 1d, event: ping, with: {n: 4}}
            - {updates: {customer.points_seen: 5}}
            - {updates: {customer.points_seen: 5}}
            - {ends: finished}
        - scenario: nobody hears it
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: purchase, with: {items: [{sku: A1, qty: 1}]}}
            - {after: 2d, updates: {customer.city: A1}}
            - {ends: finished}
        """,
    ),
    "the items of an answer have their ways too, and see what was saved": (
        """
        enter: {event: purchase}
        steps:
          - id: ask
            call: {url: "https://crm.example/x", save: quote, answer: {code: text, parts: [{sku: text}]}}
          - each: quote.parts
            do: [{update: {customer.city: "{{ quote.code }} {{ item.sku }}"}}]
        """,
        """
        - {event: purchase, with: {total: 1}}
        - {calls: ask, responds: {code: X, parts: [{sku: A1}]}}
        - {updates: {customer.city: X A1}}
        - {ends: finished}
        """,
    ),
    "a loop comes to the items again": (
        """
        enter: {event: purchase}
        steps:
          - {id: again, wait: 1d}
          - each: entry.items
            do: [{tag: seen}, {send: email/item}]
          - branch: [{if: elapsed("purchase") < 2d, then: [{goto: again}]}]
        """,
        """
        - {event: purchase, with: {order_id: A1, items: [{sku: A1, qty: 2}]}}
        - {after: 1d, sends: email/item}
        - {after: 1d, sends: email/item}
        - {ends: finished}
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_does_what_its_story_tells(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    passes(write(tmp_path, *CASES[name], {"templates/email/item.mjml": ITEM}), registry, database)


def test_what_is_held_about_two_items_is_no_duplicate(tmp_path: Path, registry: Registry, database: Database) -> None:
    night = 'quiet_hours: {from: "21:00", to: "08:00"}\n'
    more = {"templates/email/item.mjml": ITEM, "workflows/project.yaml": PROJECT + night}
    journey = "enter: {event: purchase}\nsteps: [{each: entry.items, do: [{send: email/item}]}]\n"
    story = """
    - {at: 2026-03-02 23:00, event: purchase, with: {order_id: A1, items: [{sku: A1, qty: 2}, {sku: B2, qty: 1}]}}
    - {takes: {each_1: do}}
    - {at: 2026-03-03 08:00, sends: email/item}
    - {sends: email/item}
    - {ends: finished}
    """
    passes(write(tmp_path, journey, story, more), registry, database)
