"""The link to the shop's bot: who follows it and presses Start is reached there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from engine.app import App
from engine.channels.telegram_back import TelegramReturns
from engine.language.check import check
from engine.language.content import load
from engine.language.registry import Registry
from engine.rendering.links import Chats
from engine.rendering.renderer import Renderer
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from engine.store import tables as t
from engine.store.database import Database
from engine.web.returns import record
from tests.returns.samples import update, wrote
from tests.scenarios.shop import FILES, PROJECT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SHOP = PROJECT.replace("push: {provider: memory}", "push: {provider: memory}, telegram: {provider: memory}").replace(
    "brand:\n", "brand:\n  telegram: duka_bot\n"
)
HELLO = {
    "workflows/hello.yaml": (
        "journey: hello\ntopic: offers\nenter: {event: ping, again: always}\n"
        "steps:\n  - {send: telegram/a, fallback: sms/a}\n"
    ),
    "templates/telegram/a.txt": "Habari {{ customer.first_name }}\n",
    "templates/sms/a.txt": "Chat with us: {{ links.telegram }}\n",
}
CHATS = Chats(["an old key of sixteen", "a key that nobody else has"], "duka_bot")


@pytest.fixture
def app(database: Database, project: Callable[..., Path]) -> Iterator[App]:
    root = project({"workflows/project.yaml": SHOP, **FILES, **HELLO})
    made = App(Settings.of(root, secret_key="a key that nobody else has"), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    yield made


def ping(app: App, who: str, **more: Any) -> None:
    """An event of somebody's, and what is said of them; then all that follows from it."""
    said = {"first_name": who.title(), "consent": ["telegram/offers", "sms/offers"], **more}
    at = app.clock.now()
    profile = app.door.profile(said, Problems())
    app.runtime.ingest([Incoming(who, "ping", f"{who}-{at}", at - timedelta(hours=1), {"n": 1}, profile)])
    app.runtime.tick()
    app.runtime.advance()


def sent(app: App, channel: str) -> list[tuple[str, str]]:
    """To whom, and what."""
    return [(one.to, one.content.text) for one in app.channels[channel].kept.values() if one.channel == channel]  # type: ignore[attr-defined]


def presses(app: App, carried: str, chat: int, later: int = 60) -> None:
    """Somebody follows a link, and presses Start."""
    app.clock.advance_to(app.clock.now() + timedelta(seconds=later))  # type: ignore[attr-defined]
    said = wrote(
        f"/start {carried}", int(app.clock.now().timestamp()), number=chat, chat={"id": chat, "type": "private"}
    )
    record(app, TelegramReturns().read(update(said)), app.clock.now())


def chats(app: App) -> dict[str, str | None]:
    with app.database.read() as connection:
        return dict(connection.execute(select(t.customer.c.external_id, t.customer.c.telegram)).all())


def test_who_follows_the_link_and_presses_start_is_written_to_there(app: App) -> None:
    ping(app, "amina", phone="+254712345678")
    ((to, text),) = sent(app, "sms")
    link = re.search(r"https://t\.me/duka_bot\?start=([A-Za-z0-9_-]{1,64})$", text.strip())
    assert to == "+254712345678" and link is not None
    presses(app, link[1], 555)
    assert chats(app) == {"amina": "555"}
    ping(app, "amina")
    assert sent(app, "telegram") == [("555", "Habari Amina")]
    presses(app, link[1], 777)
    assert chats(app) == {"amina": "777"}, "she has another chat now: the newer word counts"


def test_what_no_link_of_ours_carried_is_a_start_and_tells_nobodys_chat(app: App) -> None:
    ping(app, "amina", phone="+254712345678")
    ping(app, "baraka", phone="+254712345679")
    with app.database.read() as connection:
        ids = dict(connection.execute(select(t.customer.c.external_id, t.customer.c.id)).all())
    assert app.chats is not None
    mine = app.chats.link(ids["amina"], "amina").partition("start=")[2]
    others = [mine.removesuffix(str(ids["amina"])) + str(ids["baraka"]), mine[1:], mine + "0", "campaign-7", "0" * 64]
    for carried in others:
        presses(app, carried, 555)
    assert chats(app) == {"amina": None, "baraka": None}


def test_a_row_that_was_made_anew_is_nobodys_link(app: App) -> None:
    assert app.chats is not None
    ping(app, "amina", phone="+254712345678")
    with app.database.read() as connection:
        row_id = connection.scalars(select(t.customer.c.id)).one()
    presses(app, app.chats.link(row_id, "somebody before her").partition("start=")[2], 555)
    assert chats(app) == {"amina": None}


@given(st.integers(0, 2**63 - 1), st.text())
def test_every_link_is_read_as_it_was_made_and_telegram_carries_it(row_id: int, external_id: str) -> None:
    carried = CHATS.link(row_id, external_id).partition("start=")[2]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", carried)
    assert CHATS.read(carried, {row_id: external_id}.get) == external_id
    assert CHATS.read(carried, {row_id: external_id + "x"}.get) is None


@given(st.text(max_size=70) | st.text("0123456789abcXYZ_-", min_size=40, max_size=64))
def test_nobody_makes_one_up(carried: str) -> None:
    assert CHATS.read(carried, lambda row_id: "amina") is None


def test_a_link_without_a_bot_is_told(project: Callable[..., Path], registry: Registry) -> None:
    root = project({"workflows/project.yaml": SHOP.replace("  telegram: duka_bot\n", ""), **FILES, **HELLO})
    content = load(root, registry)
    found = [(one.message, one.hint) for one in check(content, registry, Renderer(root, content.project))]
    assert (
        "sms/a has links.telegram, and the shop has no bot there",
        "write telegram: NAME_OF_THE_BOT under brand: in workflows/project.yaml",
    ) in found
