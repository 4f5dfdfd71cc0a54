"""Every step, in small stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import passes, write

# name: (the journey without its head, its scenarios or one story of Amina's)
CASES: dict[str, tuple[str, str]] = {
    "a message is sent at once": (
        """
        enter: {event: signed_up}
        steps: [{send: email/a}]
        """,
        """
        - {event: signed_up}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "without consent nothing is sent, and the journey goes on": (
        """
        enter: {event: signed_up}
        steps: [{send: sms/a}, {wait: 1d}, {send: email/a}]
        """,
        """
        - {event: signed_up}
        - {skips: sms/a, reason: no_consent}
        - {after: 1d, sends: email/a}
        - {ends: finished}
        """,
    ),
    "the fallback takes over where the channel can't reach them": (
        """
        enter: {event: signed_up}
        steps: [{send: sms/a, fallback: email/a}, {send: push/a, fallback: sms/a}]
        """,
        """
        - {event: signed_up}
        - {sends: email/a}
        - {skips: push/a, reason: no_consent}
        - {ends: finished}
        """,
    ),
    "when false keeps a message back, and its exit ends the journey": (
        """
        enter: {event: signed_up}
        steps:
          - send: email/a
            when: customer.vip
          - send: email/b
            when: customer.vip
            on_not_sent: exit
          - send: email/c
        """,
        """
        - {event: signed_up}
        - {skips: email/a, reason: when}
        - {skips: email/b, reason: when}
        - {ends: not_sent}
        """,
    ),
    "who gets no message may go on elsewhere": (
        """
        enter: {event: signed_up}
        steps:
          - send: sms/a
            on_not_sent: goto by_mail
          - exit: texted
          - send: email/a
            id: by_mail
        """,
        """
        - {event: signed_up}
        - {skips: sms/a}
        - {sends: email/a}
        - {ends: finished}
        """,
    ),
    "addresses that are missing, wrong or have come back stop a message": (
        """
        enter: {event: signed_up}
        steps: [{send: email/a, id: first}, {wait: 1h}, {send: email/b}]
        """,
        """
        - scenario: none
          start: 2026-03-02 09:00
          customer: {id: amina, consent: [email/offers]}
          story:
            - {event: signed_up}
            - {skips: email/a, reason: no_address}
            - {after: 1h, skips: email/b, reason: no_address}
            - {ends: finished}
        - scenario: wrong
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina at home, consent: [email/offers]}
          story:
            - {event: signed_up}
            - {skips: email/a, reason: bad_address}
            - {after: 1h, skips: email/b, reason: bad_address}
            - {ends: finished}
        - scenario: come back
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example, consent: [email/offers]}
          story:
            - {event: signed_up}
            - {sends: email/a}
            - {after: 5m, bounces: first}
            - {after: 55m, skips: email/b, reason: suppressed}
            - {ends: finished}
        """,
    ),
    "an opt-out counts from that moment": (
        """
        enter: {event: signed_up}
        steps: [{send: email/a}, {wait: 1h}, {send: email/b}]
        """,
        """
        - {event: signed_up}
        - {sends: email/a}
        - {after: 59m, opts_out: email/offers}
        - {after: 1m, skips: email/b, reason: no_consent}
        - {ends: finished}
        """,
    ),
    "a STOP by SMS ends SMS": (
        """
        enter: {event: signed_up}
        steps: [{send: sms/a}, {wait: 1h}, {send: sms/a}, {wait: 1h}, {send: sms/a}]
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, phone: "+254712345678", consent: [sms/offers]}
          story:
            - {event: signed_up}
            - {sends: sms/a}
            - {after: 10m, replies: "thanks, please don't stop"}
            - {after: 50m, sends: sms/a}
            - {after: 10m, replies: " Stop! "}
            - {after: 50m, skips: sms/a, reason: no_consent}
            - {ends: finished}
        """,
    ),
    "opens and clicks can be asked for": (
        """
        enter: {event: signed_up}
        steps:
          - {send: email/a, id: hello}
          - {wait: 1h}
          - branch:
              - if: clicked("hello")
                then: [{send: email/b}]
              - if: opened("hello")
                then: [{send: email/c}]
        """,
        """
        - scenario: clicked
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example, consent: [email/offers]}
          story: [{event: signed_up}, {sends: email/a}, {after: 1m, clicks: hello}, {after: 59m, sends: email/b}, {ends:
          finished}]
        - scenario: opened
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example, consent: [email/offers]}
          story: [{event: signed_up}, {sends: email/a}, {opens: hello}, {after: 1h, sends: email/c}, {ends: finished}]
        - scenario: neither
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example, consent: [email/offers]}
          story: [{event: signed_up}, {sends: email/a}, {after: 1h, ends: finished}]
        """,
    ),
    "an order's mails need no consent": (
        """
        topic: transactional
        enter: {event: purchase}
        steps: [{send: email/order}]
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example}
          story: [{event: purchase, with: {total: 5}}, {sends: email/order}, {ends: finished}]
        """,
    ),
    "a message is handed values": (
        """
        topic: transactional
        enter: {event: purchase}
        steps:
          - send: email/due
            with: {what: "Order {{ entry.order_id }} of {{ entry.total }}"}
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, email: amina@shop.example, spent: 7}
          story: [{event: purchase, with: {total: 5, order_id: A1}}, {sends: email/due}, {ends: finished}]
        """,
    ),
    "a hush keeps the topic back until it is over": (
        """
        enter: {event: signed_up}
        steps: [{hush: {topic: offers, for: 2d}}, {send: email/a}, {wait: 2d}, {send: email/b}]
        """,
        """
        - {event: signed_up}
        - {skips: email/a, reason: hushed}
        - {after: 2d, sends: email/b}
        - {ends: finished}
        """,
    ),
    "consent is recorded and withdrawn": (
        """
        enter: {event: signed_up}
        steps:
          - consent: {channel: email, topic: offers, state: off}
          - send: email/a
          - consent: {channel: email, topic: offers, state: on, proof: the tick on the form}
          - send: email/b
        """,
        """
        - {event: signed_up}
        - {skips: email/a, reason: no_consent}
        - {sends: email/b}
        - {ends: finished}
        """,
    ),
    "attributes are set, to literals and to what expressions say, and cleared": (
        """
        enter: {event: purchase}
        steps:
          - update: {customer.tier: gold, customer.vip: yes, customer.spent: 12.50, customer.renewal: 2027-01-31}
          - update: {customer.spent: "{{ entry.total }}", customer.city: "{{ customer.country }}-{{ entry.order_id }}"}
          - update: {customer.points_seen: "{{ times('purchase') }}", customer.tier: "{{ customer.first_name }}"}
          - branch:
              - if: customer.spent == 49.90 and customer.tier is not set and customer.points_seen == 1
                then: [{exit: right}]
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, country: KE, tier: silver, consent: [email/offers]}
          story:
            - {event: purchase, with: {total: 49.90, order_id: A1}}
            - updates: {customer.tier: gold, customer.vip: true, customer.spent: 12.5, customer.renewal: 2027-01-31}
            - updates: {customer.spent: 49.9, customer.city: KE-A1}
            - updates: {customer.points_seen: 1, customer.tier: ""}
            - {ends: right}
        """,
    ),
    "a text that is put together says amounts, numbers and days as people write them": (
        """
        enter: {event: purchase}
        steps:
          - update: {customer.city: "{{ entry.total }} of {{ total('purchase', 'total') }}, {{ times('purchase') }}"}
          - update: {customer.tier: "{{ entry.total - 100 }} {{ entry.total / 1000 }} {{ customer.renewal }}"}
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, renewal: 2027-01-31}
          story:
            - {event: purchase, with: {total: 49.90}}
            - {updates: {customer.city: "49.90 of 49.90, 1"}}
            - {updates: {customer.tier: "-50.10 0.05 2027-01-31"}}
            - {ends: finished}
        """,
    ),
    "tags come and go": (
        """
        enter: {event: signed_up}
        steps:
          - tag: new
          - untag: old
          - branch:
              - if: tagged("new") and not tagged("old")
                then: [{exit: right}]
        """,
        """
        - scenario: it happens
          start: 2026-03-02 09:00
          customer: {id: amina, tags: [old], consent: [email/offers]}
          story: [{event: signed_up}, {ends: right}]
        """,
    ),
    "the first true arm wins, judged at that moment": (
        """
        enter: {event: signed_up}
        steps:
          - wait: 1d
          - branch:
              - if: customer.tier == "gold"
                then: [{exit: gold}]
              - if: did("purchase")
                then: [{exit: buyer}]
              - else: [{exit: neither}]
            id: who
        """,
        """
        - scenario: gold
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: signed_up}
            - {after: 1h, event: purchase, with: {total: 1}}
            - {after: 1h, updates: {tier: gold}}
            - {after: 22h, takes: {who: 'customer.tier == "gold"'}}
            - {ends: gold}
        - scenario: buyer
          start: 2026-03-02 09:00
          customer: {id: amina, tier: gold}
          story:
            - {event: signed_up}
            - {after: 1h, event: purchase, with: {total: 1}}
            - {after: 1h, updates: {tier: null}}
            - {after: 22h, ends: buyer}
        - scenario: neither
          start: 2026-03-02 09:00
          customer: {id: amina}
          story: [{event: signed_up}, {after: 1d, takes: {who: else}}, {ends: neither}]
        """,
    ),
    "a split gives the same customer the same arm, and others others": (
        """
        enter: {event: signed_up, again: always}
        steps:
          - split:
              - 50%: [{exit: first}]
              - 50%: [{exit: second}]
            id: coin
        """,
        """
        - scenario: amina
          start: 2026-03-02 09:00
          customer: {id: amina}
          story: [{event: signed_up}, {ends: second}, {after: 1d, event: signed_up}, {ends: second}]
        - scenario: another
          start: 2026-03-02 09:00
          customer: {id: amina2}
          story: [{event: signed_up}, {takes: {coin: "50%"}}, {ends: first}]
        """,
    ),
    "a loop goes round until somebody leaves it": (
        """
        enter: {event: signed_up}
        exit: [{event: closed}]
        steps:
          - {send: email/a, id: again}
          - wait: 7d
          - goto: again
        """,
        """
        - {event: signed_up}
        - {sends: email/a}
        - {after: 7d, sends: email/a}
        - {after: 7d, sends: email/a}
        - {after: 1d, event: closed}
        - {ends: exited}
        """,
    ),
    "wait_for hears the first such event, and what it said": (
        """
        enter: {event: signed_up}
        steps:
          - wait_for: {event: purchase, where: event.total > 50, within: 14d}
            id: bought
            then: [{update: {customer.city: "{{ bought.order_id }}"}}, {exit: bought}]
            else: [{exit: silent}]
        """,
        """
        - scenario: it comes
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: signed_up}
            - {waits: bought}
            - {after: 1d, event: purchase, with: {total: 50, order_id: A1}}
            - {after: 1d, event: purchase, with: {total: 50.01, order_id: A2}}
            - {takes: {bought: then}}
            - {updates: {customer.city: A2}}
            - {ends: bought}
        - scenario: it comes at the last moment
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: signed_up}
            - {after: 14d, event: purchase, with: {total: 60, order_id: A1}}
            - {updates: {customer.city: A1}}
            - {ends: bought}
        - scenario: it comes a minute late
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: signed_up}
            - {after: 14d, takes: {bought: else}}
            - {ends: silent}
            - {after: 1m, event: purchase, with: {total: 60, order_id: A1}}
        """,
    ),
    "a message may ask whether there is what was waited for": (
        """
        topic: transactional
        enter: {event: signed_up}
        steps:
          - wait_for: {event: purchase, within: 1d}
            id: bought
          - send: sms/asks
        """,
        """
        - scenario: there is nothing
          start: 2026-03-02 09:00
          customer: {id: amina, phone: "+254712345678"}
          story:
            - {event: signed_up}
            - {after: 1d, sends: sms/asks}
            - {ends: finished}
        """,
    ),
    "what is waited for counts from when the step was reached": (
        """
        enter: {event: signed_up}
        steps:
          - wait: 1d
          - wait_for: {event: purchase, within: 1d}
            then: [{exit: bought}]
            else: [{exit: silent}]
        """,
        """
        - {event: signed_up}
        - {after: 23h, event: purchase, with: {total: 60}}
        - {after: 25h, ends: silent}
        """,
    ),
    "the team is told, and the customer goes on": (
        """
        enter: {event: purchase}
        steps: [{notify: {to: orders, text: "Look at {{ entry.order_id }}"}}, {exit: told}]
        """,
        """
        - {event: purchase, with: {total: 1, order_id: A1}}
        - {ends: told}
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_does_what_its_story_tells(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    passes(write(tmp_path, *CASES[name]), registry, database)
