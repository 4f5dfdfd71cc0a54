"""What customers agree to, with its proof: told at the door, kept word by word, shown, merged; and double opt-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.app import App
from engine.imports.bulk import write
from engine.imports.rows import Person
from engine.runtime.clock import VirtualClock
from engine.runtime.door import LONGEST_PROOF, Problems
from engine.runtime.feedback import opt_out
from engine.runtime.ingest import Incoming
from engine.runtime.portrait import portrait
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, consent_said
from tests.scenarios.shop import FILES, PROJECT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
JOURNEY = """journey: j
topic: offers
enter: {event: signed_up}
steps:
  - consent: {channel: email, topic: news, state: on, proof: They asked at the counter}
"""


@pytest.fixture
def app(database: Database, project: Callable[..., Path]) -> Iterator[App]:
    """A shop whose news wants to be confirmed."""
    files = {"workflows/project.yaml": PROJECT.replace("{title: News}", "{title: News, double_opt_in: true}"), **FILES}
    made = App(Settings.of(project({**files, "workflows/j.yaml": JOURNEY})), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    yield made


def says(app: App, *told: Any, who: str = "amina", hours: float = 0) -> dict[str, str]:
    """What a shop tells of consents, at the door; its problems."""
    app.clock.advance_to(NOW + timedelta(hours=hours))  # type: ignore[attr-defined]
    problems = Problems()
    for one in told:
        app.runtime.people().describe(who, app.door.profile({"consent": one}, problems))
    return problems.found


def stands(app: App) -> list[tuple[Any, ...]]:
    with app.database.read() as connection:
        c = consent.c
        rows = select(c.channel, c.topic, c.state, c.source, c.proof).order_by(c.channel, c.topic)
        return [tuple(row) for row in connection.execute(rows)]


def words(app: App) -> list[tuple[Any, ...]]:
    with app.database.read() as connection:
        rows = select(consent_said.c.topic, consent_said.c.state, consent_said.c.at).order_by(
            consent_said.c.topic, consent_said.c.at, consent_said.c.state
        )
        return [(topic, state, (at - NOW) / timedelta(hours=1)) for topic, state, at in connection.execute(rows)]


def shown(app: App, who: str = "amina") -> list[dict[str, Any]]:
    with app.database.read() as connection:
        told: list[dict[str, Any]] = portrait(connection, app.content, app.registry, who, app.clock.now())["consents"]
        return told


def test_a_proof_is_kept_and_shown(app: App) -> None:
    proof = {"how": "checkout", "text": "Send me offers.", "at": "2026-03-02T10:00:00+03:00"}
    assert says(app, {"email/offers": proof}) == {}
    word = {"state": "on", "at": "2026-03-02T07:00:00Z", "source": "api: checkout", "proof": "Send me offers."}
    about = {"channel": "email", "topic": "offers"}
    assert shown(app) == [{**about, **word, "said": [{**word, "received": "2026-03-02T09:00:00Z"}]}]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (True, "on"),
        ("on", "on"),
        ({}, "on"),
        ({"state": "on"}, "on"),
        (False, "off"),
        ({"state": False}, "off"),
        (None, "off"),
    ],
)
def test_a_yes_and_a_no_may_be_written_in_many_ways(told: Any, state: str, app: App) -> None:
    assert says(app, {"email/offers": told}) == {}
    assert [row[2] for row in stands(app)] == [state]


@pytest.mark.parametrize(
    "told",
    [{"wen": "now"}, {"at": "yesterday"}, {"text": "a\0b"}, {"text": "x" * (LONGEST_PROOF + 1)}, {"how": "\ud800"}],
)
def test_a_proof_that_can_not_be_kept_is_told_and_the_word_is_taken(told: Any, app: App) -> None:
    assert list(says(app, {"email/offers": told})) == ["consent"]
    assert stands(app) == [("email", "offers", "on", "api", None)]


def test_the_same_word_told_a_thousand_times_is_one_word(app: App) -> None:
    for n in range(5):
        says(app, ["email/offers"], hours=n)
    assert words(app) == [("offers", "on", 0)]
    says(app, {"email/offers": {"text": "Yes, please."}}, hours=6)
    says(app, {"email/offers": {"text": "Yes, please."}}, hours=7)
    assert words(app) == [("offers", "on", 0), ("offers", "on", 6)]


def test_a_word_that_comes_late_is_kept_and_undoes_nothing(app: App) -> None:
    says(app, {"email/offers": {"state": "off", "at": "2026-03-02T12:00:00Z"}}, hours=4)
    late = {"email/offers": {"at": "2026-03-02T11:00:00Z", "how": "paper"}}
    says(app, late, late, hours=5)
    assert stands(app) == [("email", "offers", "off", "api", None)]
    assert words(app) == [("offers", "on", 2), ("offers", "off", 3)]


def test_a_yes_from_a_clock_that_runs_ahead_leaves_every_later_no_standing(app: App) -> None:
    says(app, {"email/offers": {"at": "2099-01-01T00:00:00Z"}})
    says(app, {"email/offers": False}, hours=1)
    assert [row[2] for row in stands(app)] == ["off"]


# Double opt-in


def test_a_yes_to_a_topic_that_wants_it_is_pending(app: App) -> None:
    says(app, ["email/news", "email/offers"])
    assert [row[1:3] for row in stands(app)] == [("news", "pending"), ("offers", "on")]


def test_a_yes_that_the_shop_has_had_confirmed_counts_at_once(app: App) -> None:
    says(app, {"email/news": {"confirmed": True, "how": "double opt-in of the old shop"}})
    assert [row[1:3] for row in stands(app)] == [("news", "on")]
    says(app, ["email/news"], hours=1)
    assert [row[1:3] for row in stands(app)] == [("news", "on")], "who asks again for what they have has it"


def test_a_no_ends_what_was_pending_and_a_new_yes_is_pending_again(app: App) -> None:
    says(app, ["email/news"])
    with app.database.write() as connection:
        opt_out(connection, "amina", "email", "news", NOW + timedelta(hours=1), "link")
    assert [row[2] for row in stands(app)] == ["off"]
    says(app, ["email/news"], hours=2)
    assert [row[2] for row in stands(app)] == ["pending"]
    assert words(app) == [("news", "pending", 0), ("news", "off", 1), ("news", "pending", 2)]


def test_an_imported_list_is_taken_at_its_word(app: App) -> None:
    profile = app.door.profile({"consent": ["email/news"]}, Problems())
    with app.database.write() as connection:
        write(connection, [Person("amina", profile, None)], NOW, NOW)
    assert [row[1:4] for row in stands(app)] == [("news", "on", "import")]


def test_a_journey_can_not_confirm_for_a_customer(app: App) -> None:
    app.runtime.ingest([Incoming("amina", "signed_up", "1", NOW)])
    app.runtime.advance()
    told = ("email", "news", "pending", "journey:j/consent_1", "They asked at the counter")
    assert stands(app) == [told] and words(app) == [("news", "pending", 0)]


def test_a_journey_takes_no_consent_away_that_was_confirmed(app: App) -> None:
    says(app, {"email/news": {"confirmed": True}})
    app.runtime.ingest([Incoming("amina", "signed_up", "1", NOW)])
    app.runtime.advance()
    assert [row[2] for row in stands(app)] == ["on"]


def test_of_two_who_are_one_the_words_of_both_are_kept_and_the_strictest_holds(app: App) -> None:
    says(app, {"email/offers": True, "email/news": {"confirmed": True}})
    says(app, {"email/offers": False, "email/news": True}, who="asha", hours=1)
    app.runtime.people().merge("asha", "amina")
    assert [row[1:3] for row in stands(app)] == [("news", "pending"), ("offers", "off")]
    assert words(app) == [("news", "on", 0), ("news", "pending", 1), ("offers", "on", 0), ("offers", "off", 1)]
    with app.database.read() as connection:
        assert connection.scalar(select(func.count(consent_said.c.customer_id.distinct()))) == 1


def test_what_many_say_in_one_batch_is_kept_of_each(app: App) -> None:
    profile = Profile(consents=(Consented("email", "offers"), Consented("sms", "offers", "off")))
    app.runtime.ingest([Incoming(f"c{n}", "closed", f"k{n}", NOW, {}, profile) for n in range(500)])
    assert len(words(app)) == len(stands(app)) == 1000
