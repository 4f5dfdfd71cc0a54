"""Providers call back: only they are believed, and whenever, however often and in whatever order they tell it, the
same stands here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.app import App
from engine.channels.returns import Called
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.runtime.outbox import latest
from engine.runtime.stage import empty
from engine.settings import Settings
from engine.store import tables as t
from engine.store.database import Database
from engine.web.api import build
from engine.web.site import Site
from tests.promises import figures
from tests.returns.samples import AT, CHAT, NOW, SAMPLES, URL, mail_event, mails, stands, text, update, wrote
from tests.scenarios.shop import FILES, PROJECT
from tests.web.asking import Answer, ask

JOURNEYS = {
    "workflows/hello.yaml": (
        "journey: hello\ntopic: offers\nenter: {event: signed_up}\ngoal: {event: message_clicked, within: 9d}\n"
        "steps:\n  - id: mail\n    send: email/a\n  - send: sms/a\n"
        '  - wait_for: {event: message_clicked, where: event.step == "mail", within: 2d}\n    id: clicks\n'
        "    then:\n      - branch:\n"
        '          - if: opened("mail")\n            then: [{tag: opened}]\n'
        "          - else: [{tag: clicked_only}]\n"
        "    else: [{tag: cold}]\n"
    ),
    "workflows/thanks.yaml": (
        "journey: thanks\ntopic: offers\nenter: {event: message_clicked, where: 'event.url == \"https://duka.example\"'}\n"
        "steps: [{send: email/a}]\n"
    ),
}
PEOPLE = ("amina", "baraka")


class Here:
    """A shop that has sent two people a mail and an SMS each."""

    def __init__(self, root: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KARIBU_SENDGRID_WEBHOOK_KEY", SAMPLES["sendgrid"].secret)
        monkeypatch.setenv("KARIBU_SECRET_KEY", "the same in every order")
        monkeypatch.setenv("KARIBU_TWILIO_AUTH_TOKEN", SAMPLES["twilio"].secret)
        monkeypatch.setenv("KARIBU_TELEGRAM_WEBHOOK_SECRET", SAMPLES["telegram"].secret)
        self.app = App(Settings.of(root, base_url="https://shop.example"), VirtualClock(NOW))
        self.app.__dict__["database"] = database
        self.database = database
        self.web = build(Site(lambda: self.app, None, dict, lambda: True))  # type: ignore[arg-type]  # takes no events
        self.app.runtime.publish()
        problems: Any = type("Nothing", (), {"found": {}})()
        for n, name in enumerate(PEOPLE):
            person = {
                "email": f"{name[0]}@shop.example",
                "phone": f"+25471234567{8 + n}",
                "consent": ["email/offers", "sms/offers"],
            }
            profile = self.app.door.profile(person, problems)
            self.app.runtime.ingest([Incoming(name, "signed_up", name, NOW, {}, profile)])
        self.settle()
        with database.read() as connection:
            rows = connection.execute(
                select(t.message.c.enrolment_id, t.message.c.visit, t.customer.c.external_id, t.message.c.channel)
                .join(t.customer, t.customer.c.id == t.message.c.customer_id)
                .order_by(t.message.c.id)
            )
            self.ref = {(who, channel): f"{enrolment}-{visit}" for enrolment, visit, who, channel in rows}
        assert len(self.ref) == 4

    def settle(self) -> None:
        self.app.runtime.tick()
        self.app.runtime.advance()

    def post(self, provider: str, called: Called) -> Answer:
        path, _, query = called.url.removeprefix("https://shop.example").partition("?")
        assert path == f"/hooks/{provider}/events"
        return ask(self.web, "POST", path, called.headers, called.body, query=query)

    def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        with self.database.read() as connection:
            return sorted((tuple(row) for row in connection.execute(select(*columns))), key=repr)

    def state(self) -> dict[str, Any]:
        """All that what came back has changed, without when it was written."""
        return {
            "messages": self.rows(t.message.c.enrolment_id, t.message.c.visit, t.message.c.state, t.message.c.delivery),
            "events": self.rows(
                t.message_event.c.message_id, t.message_event.c.kind, t.message_event.c["key"], t.message_event.c.detail
            ),
            "suppressed": self.rows(t.suppression.c.channel, t.suppression.c.address_hash, t.suppression.c.reason),
            "consent": self.rows(t.consent.c.customer_id, t.consent.c.channel, t.consent.c.topic, t.consent.c.state),
            "heard": self.rows(t.event.c.customer_id, t.event.c.name, t.event.c["key"], t.event.c.properties),
            "tally": self.rows(t.tally.c.customer_id, t.tally.c.name, t.tally.c["count"]),
            "goals": self.rows(t.goal_reached.c.enrolment_id),
            "tags": self.rows(t.customer_tag.c.customer_id, t.customer_tag.c.tag),
            "entered": self.rows(t.enrolment.c.journey, t.enrolment.c.customer_id),
        }


@pytest.fixture
def here(database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    made = Here(project({"workflows/project.yaml": PROJECT, **FILES, **JOURNEYS}), database, monkeypatch)
    yield made


def test_what_the_provider_tells_is_recorded_once_and_journeys_hear_it(here: Here) -> None:
    ref = here.ref["amina", "email"]
    told = mails(
        mail_event("delivered", ref), mail_event("open", ref), mail_event("click", ref, url="https://duka.example")
    )
    assert here.post("sendgrid", told).status == 200
    once = here.state()
    assert [kind for _, kind, _, _ in once["events"]] == ["clicked", "delivered", "opened"]
    assert here.post("sendgrid", told).status == 200
    assert here.state() == once
    here.settle()
    assert [tag for _, tag in here.state()["tags"]] == ["opened"]
    assert [journey for journey, _ in here.state()["entered"]].count("thanks") == 1
    assert len(here.state()["goals"]) == 1
    with here.database.read() as connection:
        assert [one.delivery for one in latest(connection, 10) if one.ref == ref] == ["delivered"]


def test_an_open_by_a_machine_is_marked_and_opened_does_not_count_it(here: Here) -> None:
    ref = here.ref["amina", "email"]
    here.post("sendgrid", mails(mail_event("open", ref, sg_machine_open=True)))
    assert [kind for _, kind, _, _ in here.state()["events"]] == ["machine_opened"]
    here.post("sendgrid", mails(mail_event("click", ref, url="https://duka.example/x")))
    here.settle()
    assert [tag for _, tag in here.state()["tags"]] == ["clicked_only"]
    assert "message_opened" not in [name for _, name, _ in here.state()["tally"]]


def test_forged_hooks_change_nothing(here: Here) -> None:
    before, tried, accepted = here.state(), 0, 0
    for name, sample in SAMPLES.items():
        genuine = sample.genuine()
        flipped = Called(genuine.url, genuine.headers, genuine.body[:-2] + b" " + genuine.body[-2:])
        bare = Called(genuine.url, {}, genuine.body)
        for called in (sample.forged(), bare, *([flipped] if sample.signed else [])):
            tried, accepted = tried + 1, accepted + (here.post(name, called).status != 401)
    old = mails(mail_event("bounce", here.ref["amina", "email"], type="bounce"), at=AT - 100_000)
    tried, accepted = tried + 1, accepted + (here.post("sendgrid", old).status != 401)
    figures("what is forged about messages changes nothing", forged=tried, accepted=accepted)
    assert accepted == 0 and here.state() == before
    assert ask(here.web, "POST", "/hooks/nobody/events").status == 404


def test_without_a_key_nothing_is_believed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KARIBU_SENDGRID_WEBHOOK_KEY")
    before = here.state()
    told = here.post("sendgrid", SAMPLES["sendgrid"].genuine())
    assert (told.status, told.headers["retry-after"]) == (503, "60")
    assert here.state() == before


def test_what_is_genuine_and_unreadable_is_told(here: Here) -> None:
    body = b"{}"
    from engine.fake.hooks import signed
    from tests.returns.samples import KEY

    assert here.post("sendgrid", Called(URL.format("sendgrid"), signed(KEY, body, AT), body)).status == 400


def test_a_hard_bounce_a_complaint_and_a_stop_end_the_address_for_every_journey(here: Here) -> None:
    here.post(
        "sendgrid", mails(mail_event("bounce", here.ref["amina", "email"], type="bounce", email="a@shop.example"))
    )
    here.post("sendgrid", mails(mail_event("click", here.ref["amina", "email"], url="https://duka.example")))
    here.settle()
    stopped = {row[0] for row in here.rows(t.decision.c.reason) if row[0]}
    assert "suppressed" in stopped  # what the journey `thanks` would have sent
    answer = here.post("twilio", text("", SmsStatus="received", Body="Stop!", From="+254712345678"))
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, "text/xml")
    assert [(channel, reason) for channel, _, reason in here.state()["suppressed"]] == [
        ("email", "bounced"),
        ("sms", "stop"),
    ]
    assert ("message_replied", 1) in [(name, n) for _, name, n in here.state()["tally"]]


def test_a_stop_from_a_number_that_got_nothing_counts_too(here: Here) -> None:
    here.post("twilio", text("", SmsStatus="received", Body="STOP", From="+15558887777"))
    assert [(channel, reason) for channel, _, reason in here.state()["suppressed"]] == [("sms", "stop")]


def everything(here: Here) -> list[tuple[str, Called]]:
    """All that may come back about both, with contradictions: each a request of its own."""
    amina, baraka = here.ref["amina", "email"], here.ref["baraka", "email"]
    events = [
        mail_event("processed", amina, AT - 100),
        mail_event("deferred", amina, AT - 90),
        mail_event("delivered", amina, AT - 80),
        mail_event("open", amina, AT - 70, sg_machine_open=True),
        mail_event("open", amina, AT - 60),
        mail_event("open", amina, AT - 50),
        mail_event("click", amina, AT - 40, url="https://duka.example"),
        mail_event("click", amina, AT - 40, url="https://duka.example/other"),
        mail_event("group_unsubscribe", amina, AT - 30),
        mail_event("delivered", baraka, AT - 80, email="b@shop.example"),
        mail_event("bounce", baraka, AT - 70, type="bounce", status="5.1.1", email="b@shop.example"),
        mail_event("spamreport", baraka, AT - 60, email="b@shop.example"),
    ]
    texts = [
        text(here.ref["baraka", "sms"], MessageStatus=status, MessageSid="SM7", To="+254712345679", **more)
        for status, more in (("sent", {}), ("delivered", {}), ("undelivered", {"ErrorCode": "30003"}))
    ]
    return [*(("sendgrid", mails(one)) for one in events), *(("twilio", one) for one in texts)]


ORDERS = 8


def test_in_any_order_and_twice_the_same_stands(
    database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"workflows/project.yaml": PROJECT, **FILES, **JOURNEYS})
    expected: dict[str, Any] | None = None
    for seed in range(ORDERS):
        empty(database)
        here = Here(root, database, monkeypatch)
        arrivals = everything(here)
        if seed:  # the first is the order in which it happened
            chance = random.Random(seed)
            arrivals = [*arrivals, *chance.sample(arrivals, 6)]
            chance.shuffle(arrivals)
        for provider, called in arrivals:
            assert here.post(provider, called).status == 200
        here.settle()
        found = here.state()
        assert {row[3] for row in found["messages"]} >= {"delivered", "bounced", "soft_bounced"}
        assert [reason for _, _, reason in found["suppressed"]] == ["complained"]
        expected = expected or found
        assert found == expected, f"seed {seed}"


class Chatting:
    """Amina, whom the shop has sent a message in her chat with its bot."""

    def __init__(self, here: Here) -> None:
        self.here = here
        problems = Problems()
        person = {"telegram": int(CHAT), "consent": ["telegram/offers"]}
        profile = here.app.door.profile(person, problems)
        assert problems.found == {}
        here.app.runtime.ingest([Incoming("amina", "asked", "asked", NOW - timedelta(hours=1), {}, profile)])
        here.settle()

    def says(self, given: dict[str, Any]) -> dict[str, Any]:
        """What stands after an update."""
        assert self.here.post("telegram", update(given)).status == 200
        found = self.here.state()
        channels = {"suppressed": [(one[0], one[2]) for one in found["suppressed"]]}
        said = [row for row in found["consent"] if row[1] == "telegram"]
        return {**channels, "consent": [row[3] for row in said], "heard": self.heard()}

    def heard(self) -> list[str]:
        rows = self.here.rows(t.event.c.name, t.event.c.properties)
        return [row["text"] for name, row in rows if name == "message_replied"]


CHATS = {
    "workflows/project.yaml": PROJECT.replace("push: {", "telegram: {provider: memory}, push: {").replace(
        "  closed: {}", "  closed: {}\n  asked: {}"
    ),
    "workflows/chat.yaml": "journey: chat\ntopic: offers\nenter: {event: asked, again: always}\nsteps: [{send: telegram/a}]\n",
    "templates/telegram/a.txt": "Habari {{ customer.first_name or customer.telegram }}\n",
}


@pytest.fixture
def chat(database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Chatting:
    return Chatting(Here(project({**FILES, **JOURNEYS, **CHATS}), database, monkeypatch))


ON = {"suppressed": [], "consent": ["on"]}
OFF = {"suppressed": [("telegram", "stop")], "consent": ["off"]}


def test_an_answer_to_the_bot_is_heard_once(chat: Chatting) -> None:
    sent = [one.to for one in chat.here.app.channels["telegram"].kept.values()]  # type: ignore[attr-defined]
    assert sent == [CHAT]
    for _ in range(2):
        assert chat.says(wrote("Is it open?", AT + 5)) == ON | {"heard": ["Is it open?"]}
    chat.here.app.runtime.ingest([Incoming("amina", "asked", "again", NOW)])
    chat.here.settle()
    assert len(chat.here.app.channels["telegram"].kept) == 2  # type: ignore[attr-defined]
    assert chat.says(wrote("Is it open?", AT + 5)) == ON | {"heard": ["Is it open?"]}, "it answered the first message"


def test_stop_ends_the_chat_and_start_opens_it_again_and_what_is_told_again_does_nothing(chat: Chatting) -> None:
    stop, start = wrote("/stop", AT - 60, 1), wrote("/start x", AT - 50, 2)
    heard = {"heard": ["/stop"]}
    assert chat.says(stop) == OFF | heard
    assert chat.says(stop) == OFF | heard
    heard = {"heard": ["/start", "/stop"]}
    assert chat.says(start) == ON | heard
    assert chat.says(stop) == ON | heard, "it was said before they pressed Start"
    assert chat.says(wrote("Unsubscribe!", AT - 40, 3))["suppressed"] == [("telegram", "stop")]


def test_who_blocks_the_bot_has_said_stop_and_answered_nothing(chat: Chatting) -> None:
    assert chat.says(stands("kicked", AT - 60, 1)) == OFF | {"heard": []}
    assert chat.says(stands("member", AT - 50, 2)) == ON | {"heard": []}
    assert chat.says(stands("kicked", AT - 60, 1)) == ON | {"heard": []}


def test_what_is_said_in_a_chat_of_nobody_counts_for_whoever_has_it_later(chat: Chatting) -> None:
    other = {"chat": {"id": 555, "type": "private"}}
    told = chat.says(wrote("STOP", AT - 60, 1, **other))
    assert told == {"suppressed": [("telegram", "stop")], "consent": ["on"], "heard": []}
