"""A customer's chat with the shop's bot, from the door to the provider and back."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from engine.app import App
from engine.fake.child import Running, running
from engine.fake.ledger import taken
from engine.imports.suppressed import Fault, read
from engine.language.gate import Rate
from engine.language.registry import Registry
from engine.rendering.links import Preferences
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.runtime.trial import NotSent, _address
from engine.settings import Settings
from engine.store import tables as t
from engine.store.database import Database
from engine.store.suppressions import Suppressed
from engine.web import preferences
from engine.web.api import build
from engine.web.site import Site
from tests.returns.samples import stands, update
from tests.scenarios.shop import FILES, PROJECT, passes, write
from tests.web.asking import ask

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SHOP = PROJECT.replace("push: {provider: memory}", "push: {provider: memory}, telegram: {provider: telegram}")
HELLO = {
    "workflows/hello.yaml": (
        "journey: hello\ntopic: offers\nenter: {event: ping, again: always}\n"
        "steps:\n  - {send: telegram/a, fallback: sms/a}\n"
    ),
    "templates/telegram/a.txt": "Habari {{ customer.first_name }}, <b>all</b> is well. {{ links.unsubscribe }}\n",
}


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "provider") as made:
        yield made


@pytest.fixture
def app(
    provider: Running, database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    environment: dict[str, str] = {}
    provider.settings(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = project({"workflows/project.yaml": SHOP, **FILES, **HELLO})
    made = App(Settings.of(root, secret_key="a key that nobody else has"), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    yield made
    made.channels["telegram"].close()


def told(app: App, who: str, **more: Any) -> None:
    """An event of somebody's, and what is said of them."""
    problems = Problems()
    profile = app.door.profile({"first_name": who.title(), "consent": ["telegram/offers"], **more}, problems)
    at = app.clock.now()
    app.runtime.ingest([Incoming(who, "ping", f"{who}-{at}", at - timedelta(hours=1), {"n": 1}, profile)])
    app.runtime.tick()
    app.runtime.advance()


def rows(app: App, *columns: Any) -> list[tuple[Any, ...]]:
    with app.database.read() as connection:
        return sorted((tuple(row) for row in connection.execute(select(*columns))), key=repr)


def test_a_message_reaches_the_chat_and_who_has_blocked_the_bot_gets_none_until_they_let_it_in(
    app: App, provider: Running
) -> None:
    told(app, "amina", telegram=123456789)
    (one,) = taken(provider.directory, "telegram")
    assert one["chat_id"] == 123456789
    assert one["text"].startswith("Habari Amina, <b>all</b> is well. http"), "a plain text is sent as it stands"
    told(app, "baraka", telegram="124030")
    assert [reason for _, reason in rows(app, t.suppression.c.channel, t.suppression.c.reason)] == ["stop"]
    app.clock.advance_to(NOW + timedelta(seconds=2))  # type: ignore[attr-defined]
    told(app, "baraka")
    assert "suppressed" in [reason for (reason,) in rows(app, t.decision.c.reason)]
    web = build(Site(lambda: app, None, dict, lambda: True))  # type: ignore[arg-type]  # takes no events
    let_in = update(stands("member", int(NOW.timestamp()) + 5), "fake")
    let_in_by = let_in.body.replace(b"123456789", b"124030")
    app.clock.advance_to(NOW + timedelta(minutes=1))  # type: ignore[attr-defined]
    assert ask(web, "POST", "/hooks/telegram/events", let_in.headers, let_in_by).status == 200
    assert rows(app, t.suppression.c.channel) == []
    assert len(taken(provider.directory, "telegram")) == 1


def test_no_more_leave_in_a_second_than_a_bot_may_send_unless_the_shop_says_so(app: App) -> None:
    assert app.post.rates == {"telegram": Rate(30, "s")}
    slower = SHOP.replace("{provider: telegram}", "{provider: telegram, rate: 5/s}")
    (app.settings.root / "workflows/project.yaml").write_text(slower)
    assert app.anew().post.rates == {"telegram": Rate(5, "s")}


@pytest.mark.parametrize("chat", [123456789, "123456789", " 123456789 "])
def test_a_chat_is_known_however_its_number_is_written(chat: Any, app: App) -> None:
    problems = Problems()
    columns = app.door.profile({"telegram": chat}, problems).columns
    assert columns == {"telegram": "123456789", "telegram_hash": app.door.hashed("telegram", "123456789")}
    assert problems.found == {}
    assert app.door.profile({"telegram": None}, problems).columns == {"telegram": None, "telegram_hash": None}


@pytest.mark.parametrize("wrong", ["@duka", "amina", "-1001234567890", "0", "", True, 1.5, 2**52, "１２３"])
def test_what_is_no_persons_chat_is_told_kept_and_never_sent_to(wrong: Any, app: App) -> None:
    problems = Problems()
    columns = app.door.profile({"telegram": wrong}, problems).columns
    assert columns == {"telegram": str(wrong), "telegram_hash": None}
    assert problems.found["telegram"].startswith("this is no chat with a person; write the number")
    assert app.door.hashed("telegram", str(wrong)) is None


def test_a_test_message_goes_to_a_chat_and_to_nothing_else(app: App) -> None:
    assert _address(app.door, "telegram", "123456789") == ("123456789", app.door.hashed("telegram", "123456789"))
    with pytest.raises(NotSent, match="no chat with a person"):
        _address(app.door, "telegram", "@duka")


def test_a_list_of_chats_is_suppressed_as_one_of_numbers_is(app: App) -> None:
    found = list(read(io.StringIO("telegram\n123456789\n@duka\n"), app.door, None, NOW))
    right, wrong = found
    assert isinstance(right, Suppressed) and isinstance(wrong, Fault)
    assert (right.channel, right.address_hash) == ("telegram", app.door.hashed("telegram", "123456789"))
    assert wrong.line == 3 and wrong.reason.startswith("this is no chat with a person")


@pytest.mark.parametrize(
    ("locale", "words"), [("en", "by Telegram"), ("sw", "kwa Telegram"), ("hy", "Telegram-ով"), ("fil", "sa Telegram")]
)
def test_the_page_of_choices_shows_telegram_to_who_has_it(locale: str, words: str, app: App) -> None:
    told(app, "amina", telegram=123456789)
    told(app, "baraka", phone="+254712345678", consent=["sms/offers"])
    web = FastAPI()
    web.include_router(preferences.router(lambda: app))
    shown = {}
    for who in ("amina", "baraka"):
        hashed = app.door.hashed("telegram", "123456789") if who == "amina" else app.door.hashed("sms", "+254712345678")
        link = app.pages.preferences(Preferences(who, "telegram" if who == "amina" else "sms", hashed or "", locale))
        shown[who] = TestClient(web).get(link.partition("8000")[2]).text
    assert words in shown["amina"] and 'value="telegram/offers" checked' in shown["amina"]
    assert words not in shown["baraka"]


STORY = """
- scenario: who has pressed Start is written to there
  start: 2026-03-02 09:00
  customer: {id: amina, telegram: "123456789", consent: [telegram/offers, sms/offers], phone: "+254712345678"}
  story:
    - {event: ping}
    - {sends: telegram/a}
    - {ends: finished}
- scenario: who has no chat gets the text
  start: 2026-03-02 09:00
  customer: {id: baraka, consent: [telegram/offers, sms/offers], phone: "+254712345678"}
  story:
    - {event: ping}
    - {sends: sms/a}
    - {ends: finished}
- scenario: who has not agreed gets nothing there
  start: 2026-03-02 09:00
  customer: {id: chiku, telegram: "123456789"}
  story:
    - {event: ping}
    - {skips: telegram/a, reason: no_consent}
    - {ends: finished}
- scenario: what they write there is an answer, and STOP ends it
  start: 2026-03-02 09:00
  customer: {id: dalia, telegram: "123456789", consent: [telegram/offers]}
  story:
    - {event: ping}
    - {sends: telegram/a}
    - {ends: finished}
    - {after: 10m, replies: STOP}
    - {event: ping}
    - {skips: telegram/a, reason: no_consent}
    - {ends: finished}
"""


def test_a_journey_writes_to_telegram_in_scenarios(tmp_path: Path, registry: Registry, database: Database) -> None:
    journey = "enter: {event: ping, again: always}\nsteps:\n  - {id: there, send: telegram/a, fallback: sms/a}\n"
    more = {"workflows/project.yaml": SHOP, "templates/telegram/a.txt": "Habari {{ customer.telegram }}\n"}
    passes(write(tmp_path, journey, STORY, more), registry, database)
