"""What a batch of messages needs is read for all of them at once, and a message that can't be made stops alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.language.content import load
from engine.runtime import letters
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import START, Shop, person
from tests.listening import before_statements, engines_of

VALUES = (
    'times("purchase")', 'total("purchase", "total")', 'times("purchase", within=90d)', 'total("purchase", "total", within=365d)',
    'did("purchase", within=30d)', 'did("closed")', 'first("purchase") | date', 'last("purchase") | date', 'days_until(customer.renewal)',
    'in_segment("regulars")', 'tagged("vip")', 'consented("email", "offers")', 'in_journey("hi")', 'sent("hello")',
    "customer.first_name", "customer.tier", "entry.total | money", "entry.order_id", "with.code", "arrived.order_id",
)  # fmt: skip
"""Twenty, of every kind there is: of the customer, of the event, of what was waited for, given and computed."""
JOURNEY = """enter: {event: purchase, again: always}
steps:
  - wait_for: {event: shipped, within: 30d}
    id: arrived
    then: []
    else: []
  - send: email/all
    id: hello
    with: {code: "{{ times(\\"purchase\\") }}-{{ customer.first_name }}"}
"""


def mail(body: str) -> str:
    head = "---\nsubject: Hi\n---\n<mjml><mj-body><mj-section><mj-column><mj-text>"
    way_out = '{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a>'
    return f"{head}{body} {way_out}</mj-text></mj-column></mj-section></mj-body></mjml>"


def of_twenty_values(tmp_path: Path, database: Database, people: int) -> Shop:
    """A shop whose customers all have a message queued that shows the twenty values."""
    shop = Shop.of(tmp_path, database, {}, publish=False)
    (tmp_path / "workflows/hi.yaml").write_text(f"journey: hi\ntopic: offers\n{JOURNEY}")
    (tmp_path / "workflows/segments.yaml").write_text('regulars: times("purchase") > 3\n')
    shown = " ".join(
        f"{{{{ ({value}) | default('-') }}}}" if "|" not in value else f"{{{{ {value} | default('-') }}}}"
        for value in VALUES
    )
    (tmp_path / "templates/email/all.mjml").write_text(mail(shown))
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    assert shop.runtime.post.renderer.problems("email/all") == ()
    shop.runtime.publish()
    for event, properties in (("purchase", {"total": 4000, "order_id": "A1"}), ("shipped", {"order_id": "A1"})):
        shop.runtime.ingest(
            [Incoming(f"c{n}", event, f"{event}{n}", START, properties, person(f"c{n}")) for n in range(people)]
        )
    return shop


def test_a_thousand_messages_of_twenty_values_ask_no_more_than_ten_do(database: Database, tmp_path: Path) -> None:
    asked: dict[int, list[str]] = {}
    shop = of_twenty_values(tmp_path, database, 1_000)
    claimed: list[Any] = []
    load_all = letters.load

    def kept(*given: Any) -> Any:
        claimed.append(given)
        return load_all(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters, "load", kept)
        shop.settle()
    assert len(shop.sink.sent) == 1_000
    text = shop.sink.sent[0].content.text
    assert "KES40.00" in text and "March 2, 2026" in text and "1-C" in text and "A1" in text
    _, program, step, _, now, renderer = claimed[0]
    every = [message_id for given in claimed for message_id in given[3]]
    for count in (10, 1_000):
        statements: list[str] = []
        hook = lambda *event: statements.append(event[2])  # noqa: E731
        with database.read() as connection, before_statements(hook, *engines_of(database)):
            found = letters.load(connection, program, step, every[:count], now, renderer)
        assert len(found) == count and all(letter.values["arrived"]["order_id"] == "A1" for letter in found)
        asked[count] = statements
    assert len(asked[1_000]) == len(asked[10]) == 3, asked[10]


def test_a_message_that_can_not_be_made_stops_alone_and_says_why(database: Database, tmp_path: Path) -> None:
    """Of a cohort of twenty, one customer has no name, one a text that grows too long, one no tier; the others hear."""
    shop = Shop.of(tmp_path, database, {}, publish=False)
    (tmp_path / "workflows/hi.yaml").write_text(
        "journey: hi\ntopic: offers\nenter: {event: purchase}\nsteps:\n  - send: email/all\n    id: hello\n  - update: {customer.tier: greeted}\n"
    )
    (tmp_path / "templates/email/all.mjml").write_text(
        mail(
            "Hello {{ customer.first_name }} {% set a = customer.tier %}"
            + "{% set a = a ~ a %}" * 12
            + "{{ a | size }}"
        )
    )
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    shop.runtime.publish()
    people = {f"c{n}": person(f"c{n}") for n in range(20)}
    people["c3"].columns["first_name"] = None  # type: ignore[index]
    tiers = dict.fromkeys(people, "gold") | {"c7": "g" * 100}
    for name, profile in people.items():
        profile.attributes["tier"] = tiers[name]  # type: ignore[index]
    people["c11"].attributes["tier"] = None  # type: ignore[index]
    shop.runtime.ingest([Incoming(name, "purchase", name, START, {"total": 100}, one) for name, one in people.items()])
    shop.settle()
    unlucky = {"c3": "render:missing_value", "c7": "render:too_big", "c11": "render:missing_value"}
    assert sorted(one.to.partition("@")[0] for one in shop.sink.sent) == sorted(people.keys() - unlucky.keys())
    reasons = dict(
        shop.rows(
            "SELECT c.external_id, m.reason FROM message m JOIN customer c ON c.id = m.customer_id WHERE m.state = 'stopped'"
        )
    )
    assert reasons == unlucky
    for name, reason in unlucky.items():
        assert any(reason in line for line in shop.decisions(name)), shop.decisions(name)
    assert shop.rows("SELECT count(*) FROM enrolment WHERE state = 'ended'") == [(20,)]


def test_a_template_that_nobody_can_read_any_more_stops_its_own_messages(database: Database, tmp_path: Path) -> None:
    """Its file was made hostile while the journey was live: the other journey's messages go."""
    shop = Shop.of(
        tmp_path,
        database,
        {
            "bad": "enter: {event: purchase}\nsteps:\n  - send: email/again\n",
            "good": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n",
        },
    )
    (tmp_path / "templates/email/again.mjml").write_text(mail("<div>" * 20_000 + "</div>" * 20_000))
    shop.happens("amina", "purchase", total=100)
    shop.settle()
    assert [one.labels["journey"] for one in shop.sink.sent] == ["good"]
    assert shop.rows("SELECT state, reason FROM message WHERE template = 'email/again'") == [
        ("stopped", "render:broken_template")
    ]
