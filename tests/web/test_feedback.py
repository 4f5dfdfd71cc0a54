"""What comes back about messages: recorded once, and acted on at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.app import App
from engine.runtime import feedback
from engine.runtime.clock import VirtualClock
from engine.runtime.feedback import Feedback, Taken
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, message, message_event, suppression
from tests.scenarios.shop import FILES, PROJECT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
JOURNEY = "journey: j\ntopic: offers\nenter: {event: signed_up}\nsteps: [{send: email/a}, {send: sms/a}]\n"
SENT, TEXTED = "1-1", "1-2"


@pytest.fixture
def app(database: Database, project: Callable[..., Path]) -> Iterator[App]:
    """A shop that has sent Amina a mail and an SMS."""
    root = project({"workflows/project.yaml": PROJECT, **FILES, "workflows/j.yaml": JOURNEY})
    made = App(Settings.of(root), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    columns = {"email": "a@shop.example", "email_hash": "hash-e", "phone": "+254712345678", "phone_hash": "hash-p"}
    consents = (Consented("email", "offers"), Consented("sms", "offers"))
    amina = Incoming("amina", "signed_up", "1", NOW, {}, Profile(columns, consents=consents))
    made.runtime.ingest([amina])
    made.runtime.advance()
    with database.read() as connection:
        (first,) = connection.scalars(select(message.c.enrolment_id).distinct())
    made.__dict__["first"] = first
    yield made


def take(app: App, *said: tuple[str, str], **more: Any) -> Taken:
    first = app.__dict__["first"]
    batch = [Feedback(ref.replace("1-", f"{first}-", 1), kind, NOW, **more) for ref, kind in said]  # type: ignore[arg-type]
    with app.database.write() as connection:
        return feedback.take(connection, batch, NOW)


def rows(app: App, *columns: Any) -> list[tuple[Any, ...]]:
    with app.database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def suppressed(app: App) -> list[tuple[Any, ...]]:
    return rows(app, suppression.c.channel, suppression.c.address_hash, suppression.c.reason)


def test_feedback_is_recorded_once(app: App) -> None:
    taken = take(app, (SENT, "delivered"), (SENT, "opened"), (SENT, "opened"), (TEXTED, "delivered"))
    assert (taken.recorded, taken.repeated, taken.unknown) == (3, 1, 0)
    assert take(app, (SENT, "opened")).repeated == 1
    assert [kind for (kind,) in rows(app, message_event.c.kind)] == ["delivered", "delivered", "opened"]
    assert suppressed(app) == []


@pytest.mark.parametrize(
    "ref", ["", "9-1", "1-9", "1-1-fallback", "1-1-", "-1-1", "1", "x", "1-1; DROP", "9" * 30 + "-1"]
)
def test_what_is_about_no_message_of_ours_changes_nothing(app: App, ref: str) -> None:
    with app.database.write() as connection:
        taken = feedback.take(connection, [Feedback(ref if ref != "1-9" else "1-999", "bounced", NOW)], NOW)
    assert taken == Taken(unknown=1)
    assert suppressed(app) == []


def test_a_bounce_and_a_complaint_end_the_address(app: App) -> None:
    take(app, (SENT, "bounced"), (TEXTED, "complained"))
    assert suppressed(app) == [("email", "hash-e", "bounced"), ("sms", "hash-p", "complained")]


def test_a_bounce_that_may_pass_ends_nothing(app: App) -> None:
    take(app, (SENT, "bounced"), detail={"soft": True})
    assert suppressed(app) == []


def test_the_address_it_was_about_is_ended_not_the_one_they_have_now(app: App) -> None:
    take(app, (SENT, "bounced"), address_hash="an older one")
    assert suppressed(app) == [("email", "an older one", "bounced")]


@pytest.mark.parametrize(("text", "ended"), [("STOP", True), ("stop.", True), ("Stop it", False), ("", False)])
def test_stop_ends_the_number_and_nothing_else_does(app: App, text: str, ended: bool) -> None:
    take(app, (TEXTED, "replied"), detail={"text": text})
    take(app, (SENT, "replied"), detail={"text": text})
    assert suppressed(app) == ([("sms", "hash-p", "stop")] if ended else [])


def test_an_unsubscription_ends_the_topic_on_that_channel(app: App) -> None:
    take(app, (SENT, "unsubscribed"))
    assert rows(app, consent.c.channel, consent.c.state) == [("email", "off"), ("sms", "on")]
    with app.database.write() as connection:
        assert feedback.opt_out(connection, "amina", "sms", "offers", NOW, "test")
        assert feedback.opt_out(connection, "amina", "sms", "offers", NOW, "test")
        assert not feedback.opt_out(connection, "nobody", "sms", "offers", NOW, "test")
    assert rows(app, consent.c.channel, consent.c.state) == [("email", "off"), ("sms", "off")]
