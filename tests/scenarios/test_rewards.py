"""Coupons and points, in small stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import MAIL, PROJECT, passes, write

REWARDS = (
    PROJECT.replace(
        "events:\n",
        "events:\n  points_spent: {properties: {points: number}}\n  refunded: {properties: {order_id: text}}\n",
    ).replace("total: money, order_id: text,", "total: money, order_id: text, coupon: text,")
    + """
coupons:
  back-10: {generate: "BACK-{8}", expires: 30d, redeemed_by: {event: purchase, property: coupon}}
  rolls: {from: codes.csv, redeemed_by: {event: purchase, property: coupon}}
  leave: {from: codes.csv, on_empty: exit}
  patient: {from: codes.csv, on_empty: wait}
points: {spent_by: {event: points_spent, property: points}, taken_back_by: {event: refunded, property: order_id}}
tiers: [{silver: 500}, {gold: 2000}]
"""
)

CODE = MAIL % ("For you", "Your code is {{ coupon.code }}, until {{ coupon.expires | date }}.")
ANY = MAIL % ("For you", "Your code is {{ coupon.code }}.")
HAVE = MAIL % ("You have {{ points() }} points", "You are {{ customer.tier | default('new') }}.")
FILES = {
    "workflows/project.yaml": REWARDS,
    "templates/email/code.mjml": CODE,
    "templates/email/any.mjml": ANY,
    "templates/email/have.mjml": HAVE,
}
AMINA = "{id: amina, email: amina@shop.example, consent: [email/offers]}"

# name: (the journey without its head, its scenarios or one story of Amina's)
CASES: dict[str, tuple[str, str]] = {
    "a code is reserved and sent": (
        """
        enter: {event: signed_up}
        steps: [{coupon: back-10}, {send: email/code}, {send: email/any}]
        """,
        """
        - {event: signed_up}
        - {gives: coupon back-10}
        - {sends: email/code}
        - {sends: email/any}
        - {ends: finished}
        """,
    ),
    "a code of a file is reserved and sent": (
        """
        enter: {event: signed_up}
        steps: [{coupon: rolls}, {send: email/any}]
        """,
        """
        - {event: signed_up}
        - {gives: coupon rolls}
        - {sends: email/any}
        - {ends: finished}
        """,
    ),
    "without a code what carries it is not sent, and the rest is": (
        """
        enter: {event: signed_up}
        steps: [{coupon: rolls}, {send: email/any}, {send: email/a}]
        """,
        """
        - scenario: none left
          start: 2026-03-02 09:00
          customer: AMINA
          empty: [rolls]
          story:
            - {event: signed_up}
            - {skips: email/any, reason: no_coupon}
            - {sends: email/a}
            - {ends: finished}
        """,
    ),
    "an empty pool can end the journey": (
        """
        enter: {event: signed_up}
        steps: [{coupon: leave}, {send: email/any}]
        """,
        """
        - scenario: none left
          start: 2026-03-02 09:00
          customer: AMINA
          empty: [leave]
          story: [{event: signed_up}, {ends: no_coupon}]
        """,
    ),
    "an empty pool can be waited for": (
        """
        enter: {event: signed_up}
        exit: [{event: closed}]
        steps: [{coupon: patient}, {send: email/any}]
        """,
        """
        - scenario: none left
          start: 2026-03-02 09:00
          customer: AMINA
          empty: [patient]
          story: [{event: signed_up}, {after: 3d, event: closed}, {ends: exited}]
        """,
    ),
    "a code that has expired meanwhile is not sent": (
        """
        enter: {event: signed_up}
        steps: [{coupon: back-10}, {send: email/code}, {wait: 31d}, {send: email/any}]
        """,
        """
        - {event: signed_up}
        - {gives: coupon back-10}
        - {sends: email/code}
        - {after: 31d, skips: email/any, reason: no_coupon}
        - {ends: finished}
        """,
    ),
    "a story can use the code that was given in it": (
        """
        enter: {event: signed_up}
        steps:
          - coupon: back-10
          - send: email/code
          - wait: 2d
          - branch:
              - if: did("purchase", where=event.coupon == coupon.code)
                then: [{exit: used}]
        """,
        """
        - scenario: used
          start: 2026-03-02 09:00
          customer: AMINA
          story:
            - {event: signed_up}
            - {gives: coupon back-10}
            - {sends: email/code}
            - {after: 1d, event: purchase, with: {total: 30, coupon: "{{ coupon.code }}"}}
            - {after: 1d, ends: used}
        - scenario: another one
          start: 2026-03-02 09:00
          customer: AMINA
          story:
            - {event: signed_up}
            - {gives: coupon back-10}
            - {sends: email/code}
            - {after: 1d, event: purchase, with: {total: 30, coupon: BACK-23456789}}
            - {after: 1d, ends: finished}
        """,
    ),
    "a condition and a text can speak of the code": (
        """
        enter: {event: signed_up}
        steps:
          - branch: [{if: coupon.code is set, then: [{send: email/a}]}, {else: [{send: email/b}]}]
          - coupon: rolls
          - branch: [{if: coupon.code is set, then: [{send: email/a}]}, {else: [{send: email/b}]}]
          - update: {customer.city: "{{ coupon.code }}"}
          - goto: end
          - coupon: rolls
          - wait: 1d
            id: end
        """,
        "",
    ),
    "points are given, and templates and conditions know them": (
        """
        enter: {event: purchase}
        steps:
          - points: 100
          - points: {give: entry.total * 0.05, reason: Thank you}
          - branch: [{if: points() >= 102, then: [{send: email/have}]}, {else: [{send: email/b}]}]
        """,
        """
        - {event: purchase, with: {total: 40}}
        - {gives: 100 points}
        - {gives: 2 points}
        - {sends: email/have}
        - {ends: finished}
        """,
    ),
    "less than a point is none": (
        """
        enter: {event: purchase}
        steps: [{points: entry.total * 0.01}]
        """,
        """
        - {event: purchase, with: {total: 40}}
        - {ends: finished}
        """,
    ),
    "pending points become active, and their tier with them": (
        """
        enter: {event: purchase}
        steps:
          - points: {give: 600, pending: 14d}
          - branch: [{if: points() > 0, then: [{send: email/a}]}, {else: [{send: email/b}]}]
          - wait: 14d
          - branch: [{if: 'points() == 600 and customer.tier == "silver"', then: [{send: email/have}]}, {else: [{send: email/c}]}]
        """,
        """
        - {event: purchase, with: {total: 40}}
        - {gives: 600 points}
        - {sends: email/b}
        - {after: 14d, sends: email/have}
        - {ends: finished}
        """,
    ),
    "points expire, and what is spent doesn't": (
        """
        enter: {event: purchase}
        steps:
          - points: {give: 100, expires: 10d}
          - wait: 5d
          - branch: [{if: points() == 70, then: [{send: email/a}]}, {else: [{send: email/b}]}]
          - wait: 5d
          - branch: [{if: points() == 0, then: [{send: email/a}]}, {else: [{send: email/b}]}]
        """,
        """
        - {event: purchase, with: {total: 40}}
        - {gives: 100 points}
        - {after: 1d, event: points_spent, with: {points: 30}}
        - {after: 4d, sends: email/a}
        - {after: 5d, sends: email/a}
        - {ends: finished}
        """,
    ),
    "a refund takes back what its order gave": (
        """
        enter: {event: purchase, key: entry.order_id}
        steps:
          - points: {give: 100, pending: 14d}
          - wait: 20d
          - branch: [{if: points() > 0, then: [{send: email/a}]}, {else: [{send: email/b}]}]
        """,
        """
        - {event: purchase, with: {total: 40, order_id: D-1}}
        - {gives: 100 points}
        - {after: 1d, event: refunded, with: {order_id: D-1}}
        - {after: 19d, sends: email/b}
        - {ends: finished}
        """,
    ),
    "who is in a tier joins its segment": (
        """
        enter: {segment: silver}
        steps: [{send: email/have}]
        """,
        "",
    ),
}
del CASES["a condition and a text can speak of the code"], CASES["who is in a tier joins its segment"]


@pytest.mark.parametrize("name", CASES)
def test_a_reward(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    journey, story = CASES[name]
    passes(write(tmp_path, journey, story.replace("AMINA", AMINA), FILES), registry, database)
