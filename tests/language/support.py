"""A project to make mistakes in."""

from __future__ import annotations

from pathlib import Path

from engine.builtins import registry

__all__ = ["HEAD", "JOURNEY", "PROJECT", "SEGMENTS", "project", "registry"]

PROJECT = """\
brand:
  name: Duka
  address: Biashara Street 12, Nairobi
  timezone: Africa/Nairobi
  locale: en
  currency: KES
  sender: {email: hello@duka.example, name: Duka}
customer:
  tier: text
  lifecycle: text
  renewal: date
  vip: boolean
  spent: money
events:
  signed_up: {}
  purchase:
    value: total
    properties:
      total: money
      sku: text
      order_id: text
      items: [{sku: text, name: text, qty: number, price: money}]
  shipped:
    properties: {order_id: text}
  account_closed: {}
topics:
  offers: {title: Offers}
  news: {title: News}
channels:
  email: {provider: maildir}
  sms: {provider: maildir}
"""

SEGMENTS = """\
lapsed: elapsed("purchase") > 90d
regulars: {title: Regulars, when: 'times("purchase", within=365d) >= 6'}
"""

HEAD = """\
journey: j
topic: news
enter: {event: signed_up}
"""

JOURNEY = HEAD + "steps:\n  - send: email/hello\n    id: hello\n"


def project(root: Path, **files: str) -> Path:
    """A sound project in `root`, with these files of workflows/ in place of its own: project, segments, j, j_test."""
    texts = {"project": PROJECT, "segments": SEGMENTS, "j": JOURNEY, **files}
    (root / "workflows").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (root / "workflows" / (name.replace("_test", ".test") + ".yaml")).write_text(text, encoding="utf-8")
    return root
