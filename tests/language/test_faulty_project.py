"""A fault in project.yaml hides nothing in the other files, and makes no more of itself than it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.rendering.renderer import Renderer
from tests.language.support import HEAD, PROJECT, SEGMENTS, project, registry
from tests.language.test_templates_told import MAIL

MORE = """\
coupons:
  back: {generate: "BACK-{8}"}
surveys:
  nps: {kind: nps}
team: {orders: orders@duka.example}
quiet_hours: {from: "21:00", to: "08:00"}
caps: [{topic: news, at_most: 3, per: 7d, when_capped: skip}]
"""
STEPS = """\
enter: {event: purchase}
steps:
  - update: {customer.tier: "{{ entry.sku }}", customer.lifecycle: "is {{ customer.tier }}"}
  - branch:
      - if: customer.tier == "gold" or entry.total > 5 or customer.spent > 3 or any(entry.items, item.qty > 1)
        then: [{coupon: back}, {notify: {to: orders, text: "{{ customer.tier }}"}}]
  - each: entry.items
    do: [{update: {customer.lifecycle: "{{ item.sku }}"}}]
  - send: email/hello
    id: hello
    with: {tier: "{{ customer.tier }}"}
  - send: sms/hello
"""
STORY = """\
- scenario: it is
  start: 2026-03-02 09:00
  customer: {id: amina, tier: gold, spent: 5, consent: [email/news]}
  story:
    - {event: purchase, with: {total: 3, items: [{sku: A1, qty: 1}]}}
    - {waits: hello}
    - {sends: email/hello}
    - {gives: coupon back}
"""
WRONG = {
    "journey": ('"is {{ customer.tier }}"', '"is {{ customer.spnt }}"', 'unknown name "customer.spnt" (did you mean "spent"?)'),
    "pool": ("coupon: back", "coupon: bakk", 'unknown pool "bakk" (did you mean "back"?)'),
    "event": ("enter: {event: purchase}", "enter: {event: purchas}", 'unknown event "purchas" (did you mean "purchase"?)'),
}  # fmt: skip

FAULTS = {
    "a type": ("tier: text", "tier: txt"),
    "a type of a property": ("total: money\n", "total: mony\n"),
    "a type in a list": ("qty: number", "qty: numbr"),
    "a list": ("items: [{sku: text, name: text, qty: number, price: money}]", "items: lots"),
    "a value": ("value: total", "value: totl"),
    "an event": ("  account_closed: {}", "  account_closed: {titel: x, properties: []}"),
    "a coupon": ('"BACK-{8}"', '"BACK"'),
    "a survey": ("kind: nps", "kind: nbs"),
    "a person": ("orders@duka.example", "nobody"),
    "a topic": ("news: {title: News}", "news: {titel: News}"),
    "a channel": ("sms: {provider: maildir}", "sms: {rate: fast}"),
    "a cap": ("at_most: 3", "at_most: few"),
    "quiet hours": ('from: "21:00"', "from: night"),
    "the sender": ("email: hello@duka.example", "email: hello"),
    "the zone": ("Africa/Nairobi", "Africa/Nairobbi"),
}


def told(root: Path, brand: str, steps: str = STEPS) -> list[str]:
    head = HEAD.partition("enter:")[0]
    project(root, project=brand, j=head + steps, j_test=STORY)
    shown = MAIL.replace("{{ customer.first_name", "{{ with.tier }} {{ customer.tier }} {{ customer.first_name")
    shown = shown.replace(" <a", "{% for one in entry.items %}{{ one.qty }}{% endfor %} {{ entry.total }} <a")
    for name, text in {"email/hello.mjml": shown, "sms/hello.txt": "Hi {{ links.unsubscribe }}"}.items():
        (root / "templates" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "templates" / name).write_text(text, encoding="utf-8")
    _, problems = check_directory(root, registry(), Renderer)
    return [problem.headline for problem in problems]


def test_the_project_itself_is_sound(tmp_path: Path) -> None:
    assert told(tmp_path, PROJECT + MORE) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_once_and_nothing_that_only_comes_of_it(fault: str, tmp_path: Path) -> None:
    right, wrong = FAULTS[fault]
    assert right in PROJECT + MORE
    found = told(tmp_path, (PROJECT + MORE).replace(right, wrong))
    assert found and all(one.startswith("workflows/project.yaml:") for one in found), found


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_elsewhere_is_told_with_it(fault: str, tmp_path: Path) -> None:
    brand, steps = (PROJECT + MORE).replace(*FAULTS[fault]), STEPS
    for right, wrong, _ in WRONG.values():
        steps = steps.replace(right, wrong)
    found = told(tmp_path, brand, steps)
    for _, _, message in WRONG.values():
        assert any(message in one for one in found), found


def test_a_name_that_can_not_be_read_is_not_told_where_it_is_used(tmp_path: Path) -> None:
    brand = (PROJECT + MORE).replace("  tier: text", "  Tier: text").replace("  back: {", "  Back_: {")
    found = told(
        tmp_path, brand, STEPS.replace("customer.tier", "customer.Tier").replace("coupon: back", "coupon: Back_")
    )
    assert not any('unknown name "customer.Tier"' in one or "unknown pool" in one for one in found), found


def test_without_a_currency_nothing_else_is_judged(tmp_path: Path) -> None:
    found = told(tmp_path, (PROJECT + MORE).replace("currency: KES", "currency: shilling"))
    assert len(found) == 1 and '"shilling" is not a currency' in found[0]


def test_segments_are_judged_with_a_faulty_project(tmp_path: Path) -> None:
    project(
        tmp_path, project=PROJECT.replace("tier: text", "tier: txt"), segments=SEGMENTS + "rich: customer.spnt > 5\n"
    )
    _, problems = check_directory(tmp_path, registry(), None)
    assert [problem.file for problem in problems] == ["workflows/project.yaml", "workflows/segments.yaml"]
