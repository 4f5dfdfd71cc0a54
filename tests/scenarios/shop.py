"""A small shop to play scenarios in: one journey `j` a case, and what it needs around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

from engine.language.check import check
from engine.language.content import Content, load
from engine.language.registry import Registry
from engine.rendering.renderer import Renderer
from engine.runtime.simulate import Outcome, run, side_by_side
from engine.store.database import Database

PROJECT = """\
brand:
  name: Duka
  address: Biashara Street 12, Nairobi
  url: https://duka.example
  timezone: Africa/Nairobi
  locale: en
  currency: KES
  sender: {email: hello@duka.example, name: Duka}
customer: {tier: text, city: text, points_seen: number, vip: boolean, spent: money, renewal: date, trial: instant}
events:
  signed_up: {properties: {source: text}}
  purchase:
    value: total
    properties: {total: money, order_id: text, items: [{sku: text, qty: number}]}
  cart: {properties: {cart_id: text, total: money}}
  closed: {}
  ping: {properties: {n: number}}
topics: {offers: {title: Offers}, news: {title: News}}
channels: {email: {provider: memory}, sms: {provider: memory}, push: {provider: memory}}
team: {orders: orders@duka.example}
"""

MAIL = """\
---
subject: "%s"
---
<mjml><mj-body><mj-section><mj-column><mj-text>%s {{ brand.address }}
<a href="{{ links.unsubscribe }}">no more</a></mj-text></mj-column></mj-section></mj-body></mjml>
"""

ORDER = MAIL.replace('\n<a href="{{ links.unsubscribe }}">no more</a>', "")

FILES = {
    **{f"templates/email/{name}.mjml": MAIL % (name, name) for name in ("a", "b", "c")},
    "templates/email/due.mjml": ORDER % ("{{ with.what }}", "{{ customer.spent | money }}"),
    "templates/email/order.mjml": ORDER % ("Your order", "Thank you."),
    "templates/sms/a.txt": "Hello {{ links.unsubscribe }}\n",
    "templates/sms/asks.txt": "{% if bought.total is set %}{{ bought.total | money }}{% endif %}\n"
    "{{ bought.order_id | default('no order') }}\n",
    "templates/push/a.yaml": 'title: "Hello"\nbody: "There"\nurl: "{{ brand.url }}"\n',
}

AMINA = "{id: amina, email: amina@shop.example, consent: [email/offers]}"


def write(root: Path, journey: str, scenarios: str, more: Mapping[str, str] | None = None) -> Path:
    """The shop in a directory. `journey` is all of it but its name and, unless it has one, its topic (offers)."""
    body = dedent(journey).strip("\n") + "\n"
    head = "journey: j\n" + ("" if body.startswith("topic:") else "topic: offers\n")
    files = {
        "workflows/project.yaml": PROJECT,
        **FILES,
        "workflows/j.yaml": head + body,
        "workflows/j.test.yaml": told(scenarios),
        **(more or {}),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def told(scenarios: str) -> str:
    """Scenarios as they stand in the file; a story alone is that of Amina, from Monday 2 March 2026 at 09:00."""
    text = dedent(scenarios).strip("\n") + "\n"
    if text.startswith("- scenario"):
        return text
    start = "2026-03-02 09:00"
    return f"- scenario: it happens\n  start: {start}\n  customer: {AMINA}\n  story:\n" + indent(text, "    ")


def read(root: Path, registry: Registry) -> Content:
    """The content of a shop in which `karibu check` finds nothing wrong."""
    content = load(root, registry)
    problems = check(content, registry, Renderer(root, content.project))
    assert not problems, "\n".join(map(str, problems))
    return content


def passes(root: Path, registry: Registry, database: Database | None) -> list[Outcome]:
    """Play everything; whatever fails is shown."""
    outcomes = run(read(root, registry), registry, None, database)
    assert outcomes
    assert all(one.passed for one in outcomes), "\n".join(side_by_side(one) for one in outcomes if not one.passed)
    return outcomes
