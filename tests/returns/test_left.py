"""Who leaves by the link of a message, by their page or by STOP leaves at once, and journeys hear of which message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from engine.app import App
from engine.rendering.links import Preferences
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, enrolment, event, message_event
from engine.web.api import build
from engine.web.site import Site
from tests.scenarios.shop import FILES, PROJECT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
JOURNEYS = {
    "workflows/j.yaml": (
        "journey: j\ntopic: offers\nenter: {event: signed_up}\n"
        "steps: [{send: email/a, id: hello}, {send: sms/a, id: text}]\n"
    ),
    "workflows/sorry.yaml": (
        "journey: sorry\ntopic: transactional\nenter: {event: message_unsubscribed}\nsteps: [{send: email/order}]\n"
    ),
}
TOPIC = {"shown": ["email/offers", "sms/offers", "email/news"]}


@pytest.fixture
def app(database: Database, project: Callable[..., Path]) -> Iterator[App]:
    """A shop that has sent Amina a mail and an SMS."""
    root = project({"workflows/project.yaml": PROJECT, **FILES, **JOURNEYS})
    made = App(Settings.of(root, secret_key="a key that nobody else has"), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    columns = {"email": "a@shop.example", "email_hash": "hash-e", "phone": "+254712345678", "phone_hash": "hash-p"}
    consents = (Consented("email", "offers"), Consented("sms", "offers"), Consented("email", "news"))
    made.runtime.ingest([Incoming("amina", "signed_up", "1", NOW, {}, Profile(columns, consents=consents))])
    made.runtime.advance()
    yield made


@pytest.fixture
def client(app: App) -> TestClient:
    return TestClient(build(Site(lambda: app, None, dict, lambda: True)))  # type: ignore[arg-type]  # nobody sends events


def sent(app: App) -> Any:
    """The mail of the journey."""
    kept = app.runtime.post.channels["email"].kept  # type: ignore[attr-defined]
    (mail,) = (one for one in kept.values() if one.labels["journey"] == "j")
    return mail


def heard(app: App) -> list[dict[str, Any]]:
    with app.database.read() as connection:
        return list(
            connection.scalars(
                select(event.c.properties).where(event.c.name == "message_unsubscribed").order_by(event.c.id)
            )
        )


def off(app: App) -> dict[str, str]:
    """What is ended, and how."""
    with app.database.read() as connection:
        rows = connection.execute(select(consent).where(consent.c.state == "off"))
        return {f"{row.channel}/{row.topic}": row.source for row in rows}


MAIL = {"channel": "email", "journey": "j", "step": "hello", "template": "email/a", "topic": "offers"}


def test_one_click_is_heard_once_as_of_its_message(app: App, client: TestClient) -> None:
    path = urlsplit(sent(app).unsubscribe_url).path
    for _ in range(2):
        assert client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert heard(app) == [MAIL]
    assert off(app) == {"email/offers": "unsubscribe link"}
    app.runtime.advance()
    with app.database.read() as connection:
        assert connection.scalars(select(enrolment.c.journey).order_by(enrolment.c.id)).all() == ["j", "sorry"]
        assert connection.scalars(select(message_event.c.detail)).all() == [{"by": "link"}]


def test_a_second_no_counts_though_its_message_has_told_the_first(app: App, client: TestClient) -> None:
    path = urlsplit(sent(app).unsubscribe_url).path
    client.post(path, data={"List-Unsubscribe": "One-Click"})
    app.clock.advance_to(NOW.replace(hour=10))  # type: ignore[attr-defined]
    back = Profile(consents=(Consented("email", "offers", "on", "form", "I want them again", NOW.replace(hour=10)),))
    app.runtime.ingest([Incoming("amina", "ping", "2", NOW.replace(hour=10), {"n": 1}, back)])
    assert off(app) == {}
    app.clock.advance_to(NOW.replace(hour=11))  # type: ignore[attr-defined]
    client.post(path, data={"List-Unsubscribe": "One-Click"})
    assert off(app) == {"email/offers": "unsubscribe link"} and heard(app) == [MAIL]


def page(app: App) -> str:
    """Amina's page, by the link of her mail."""
    whose = Preferences("amina", "email", "hash-e", "", sent(app).ref, "offers")
    return urlsplit(app.pages.preferences(whose)).path


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"nothing": "1"}, [MAIL]),
        (TOPIC | {"yes": ["sms/offers", "email/news"]}, [MAIL]),
        (TOPIC | {"yes": ["email/offers", "email/news"]}, []),  # another channel than the message's
        (TOPIC | {"yes": ["email/offers", "sms/offers"]}, []),  # another topic
        (TOPIC | {"yes": TOPIC["shown"]}, []),
    ],
    ids=["everything", "its topic", "another channel", "another topic", "nothing"],
)
def test_on_their_page_it_is_heard_when_the_topic_of_the_message_is_ended(
    fields: dict[str, Any], told: list[dict[str, str]], app: App, client: TestClient
) -> None:
    assert client.post(page(app), data=fields).status_code == 200
    assert heard(app) == told


@pytest.mark.parametrize(("text", "told"), [("STOP", 1), ("stop please", 0)])
def test_stop_is_heard_as_of_the_last_message_too(text: str, told: int, app: App) -> None:
    for _ in range(2):
        app.runtime.answered("sms", "hash-p", text, "SM1", NOW)
    assert [(one["channel"], one["step"]) for one in heard(app)] == [("sms", "text")] * told
    assert off(app) == ({"sms/offers": "sms reply"} if told else {})
