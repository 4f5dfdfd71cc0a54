"""Test messages: sent like any other, marked, kept, and counted nowhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from engine.channels.base import Accepted, InDoubt, Outgoing, Refused, Result
from engine.runtime import feedback, trial
from engine.runtime.door import Door
from engine.runtime.preview import Preview, place_of, preview
from engine.store.database import Database
from engine.store.tables import suppression
from tests.engine.shop import START, Shop

HI = {
    "hi": "enter: {event: purchase}\ngoal: {event: shipped, within: 30d}\nsteps:\n  - send: email/hello\n    id: hello\n"
}
ME = "me@duka.example"
COUNTED = ("message", "message_event", "decision", "enrolment", "goal_reached", "event", "customer", "tally", "consent")


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    made = Shop.of(tmp_path, database, HI)
    made.happens("amina", "purchase")
    made.settle()
    assert [one.to for one in made.sink.sent] == ["amina@shop.example"]
    made.sink.sent.clear()
    return made


def door(shop: Shop) -> Door:
    content = shop.runtime.content
    return Door(content.project, content.vocabulary, "a secret of the tests")


def shown(shop: Shop) -> Preview:
    content = shop.runtime.content
    place = place_of(content, "hi", "hello")
    return preview(None, content, shop.runtime.post.renderer, "email/hello", place, None, None, START)


def sent(shop: Shop, to: str = ME, template: str = "email/hello", topic: str | None = "offers") -> trial.Told:
    runtime = shop.runtime
    return trial.send(runtime.database, door(shop), runtime.post, template, shown(shop), topic, to, START)


def counts(shop: Shop) -> list[tuple[int, ...]]:
    return [shop.rows(f"SELECT count(*) FROM {table}")[0] for table in COUNTED]


def test_a_test_message_is_marked_and_counts_for_nothing(shop: Shop) -> None:
    before = counts(shop)
    told = sent(shop)
    (gone,) = shop.sink.sent
    assert (gone.ref, gone.to, gone.content.subject) == ("test-1", ME, "[Test] Hello Amina")
    assert gone.unsubscribe_url == "https://shop.example/u/preview" and not gone.transactional
    assert (told.ref, told.to, told.state, told.journey, told.step) == (
        "test-1",
        "m…@duka.example",
        "accepted",
        "hi",
        "hello",
    )
    verbs = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")
    heard = [feedback.Feedback("test-1", verb, datetime(2026, 3, 3, tzinfo=UTC)) for verb in verbs]  # type: ignore[arg-type]
    with shop.runtime.database.write() as connection:
        feedback.take(connection, heard, datetime(2026, 3, 3, tzinfo=UTC))
    shop.later(days=40)
    assert counts(shop) == before
    assert shop.rows("SELECT count(*) FROM suppression") == [(0,)]


def test_a_transactional_test_message_has_no_way_out_of_it(shop: Shop) -> None:
    sent(shop, topic="transactional")
    assert shop.sink.sent[0].transactional and shop.sink.sent[0].unsubscribe_url is None


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (Accepted("x1"), "accepted", None),
        (Refused("550 no"), "refused", "550 no"),
        (InDoubt("timeout"), "in_doubt", "timeout"),
    ],
)
def test_what_became_of_it_is_kept(answer: Result, state: str, reason: str | None, shop: Shop) -> None:
    shop.sink.answers[ME] = answer
    assert (sent(shop).state, sent(shop).ref) == (state, "test-2")
    with shop.runtime.database.read() as connection:
        kept = trial.latest(connection, 9)
    assert [(one.ref, one.state, one.reason) for one in kept] == [("test-2", state, reason), ("test-1", state, reason)]
    assert ME not in str(shop.rows("SELECT * FROM trial"))


def test_it_is_written_down_before_it_leaves(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[str, ...]]] = []
    first = shop.sink.send

    def looks(one: Outgoing) -> Result:
        seen.append(shop.rows("SELECT state FROM trial"))
        return first(one)

    monkeypatch.setattr(shop.sink, "send", looks)
    sent(shop)
    assert seen == [[("dispatching",)]]


@pytest.mark.parametrize(
    ("to", "template", "message"),
    [
        ("me", "email/hello", "me: this is no e-mail address"),
        ("me@duka.example", "sms/hello", "me@duka.example: this is no phone number"),
        ("token", "push/hello", "the project has no channel push"),
    ],
)
def test_what_can_not_be_sent_is_refused_in_words(to: str, template: str, message: str, shop: Shop) -> None:
    with pytest.raises(trial.NotSent) as caught:
        sent(shop, to, template)
    assert caught.value.message.startswith(message)
    assert shop.sink.sent == [] and shop.rows("SELECT * FROM trial") == []


def test_a_suppressed_address_gets_no_test_either(shop: Shop) -> None:
    hashed = door(shop).address_hash("email", ME)
    with shop.runtime.database.write() as connection:
        row = {"channel": "email", "address_hash": hashed, "reason": "bounced", "at": START}
        connection.execute(insert(suppression).values(row))
    with pytest.raises(trial.NotSent, match="suppressed"):
        sent(shop, "Me@Duka.example")
    assert shop.sink.sent == []


@pytest.mark.parametrize(("template", "part"), [("sms/hello", "text"), ("push/hello", "title")])
def test_the_mark_stands_where_its_reader_looks(template: str, part: str, shop: Shop) -> None:
    mail = shown(shop).rendered
    other = replace(
        mail, channel=template.partition("/")[0], title="Hi" if part == "title" else "", text="Hi", subject=""
    )
    assert getattr(trial.marked(other), part) == "[Test] Hi"
