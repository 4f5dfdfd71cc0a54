"""The step `call` in small stories on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import passes, write

QUOTE = """
enter: {event: purchase}
steps:
  - id: ask
    call:
      url: https://crm.example/quotes/{{ entry.order_id }}
      json: {customer: "{{ customer.id }}", basket: [{total: "{{ entry.total }}"}]}
      save: quote
      answer: {price: money, code: text, gift: boolean, parts: [{sku: text}], shipping: {days: number}}
  - branch:
      - if: quote.price > 10 and quote.shipping.days < 3 and any(quote.parts, item.sku == "A1")
        then:
          - send: email/quoted
          - update: {customer.city: "{{ quote.code }}"}
      - else:
          - exit: no quote
"""
QUOTED = """\
---
subject: "{{ quote.code }}"
---
<mjml><mj-body><mj-section><mj-column><mj-text>{{ quote.price | money }} {{ brand.address }}
<a href="{{ links.unsubscribe }}">no more</a></mj-text></mj-column></mj-section></mj-body></mjml>
"""
CASES: dict[str, tuple[str, str]] = {
    "what another system answers is known to the steps after it": (
        QUOTE,
        """
        - {event: purchase, with: {total: 40, order_id: A1}}
        - calls: ask
          responds: {price: 12.50, code: X7, gift: true, parts: [{sku: B2}, {sku: A1}], shipping: {days: 2}, more: 1}
        - {takes: {branch_1: 'quote.price > 10 and quote.shipping.days < 3 and any(quote.parts, item.sku == "A1")'}}
        - {sends: email/quoted}
        - {updates: {customer.city: X7}}
        - {ends: finished}
        """,
    ),
    "a part of another type than declared is missing": (
        QUOTE,
        """
        - {event: purchase, with: {total: 40, order_id: A1}}
        - {calls: ask, responds: {price: [12], code: X7, parts: {sku: A1}, shipping: {days: many}}}
        - {ends: no quote}
        """,
    ),
    "an answer that is no object is told": (
        QUOTE,
        """
        - {event: purchase, with: {total: 40, order_id: A1}}
        - {calls: ask, responds: 204, reason: "answer: no JSON object"}
        - {ends: no quote}
        """,
    ),
    "who is refused goes where the step says": (
        """
        enter: {event: purchase}
        steps:
          - id: ask
            call: {url: "https://crm.example/people", json: {id: "{{ customer.id }}"}}
            on_not_sent: goto sorry
          - exit: known
          - {id: sorry, exit: unknown}
        """,
        """
        - scenario: known
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: purchase, with: {total: 1}}
            - {calls: ask}
            - {ends: known}
        - scenario: unknown
          start: 2026-03-02 09:00
          customer: {id: amina}
          story:
            - {event: purchase, with: {total: 1}}
            - {calls: ask, responds: 404, reason: "answer: 404"}
            - {ends: unknown}
        """,
    ),
    "a post that nobody can say of whether it arrived is not asked again, and the journey goes on": (
        """
        enter: {event: purchase}
        steps: [{id: ask, call: {url: "https://crm.example/x", method: POST}}, {wait: 1d}, {exit: done}]
        """,
        """
        - {event: purchase, with: {total: 1}}
        - {calls: ask, responds: 503, reason: "answer: 503"}
        - {after: 1d, ends: done}
        """,
    ),
    "nobody is asked where when is false": (
        """
        enter: {event: purchase}
        steps: [{id: ask, call: {url: "https://crm.example/x"}, when: customer.vip}]
        """,
        """
        - {event: purchase, with: {total: 1}}
        - {skips: ask, reason: when}
        - {ends: finished}
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_does_what_its_story_tells(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    passes(write(tmp_path, *CASES[name], {"templates/email/quoted.mjml": QUOTED}), registry, database)
