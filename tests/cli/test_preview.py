"""`karibu preview` as a person: one of a scenario, one of the store, as text, as HTML and as a picture."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from struct import unpack

import pytest
from sqlalchemy import select

from engine.app import App
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.store.tables import coupon
from tests.cli.session import karibu
from tests.engine.shop import person

CLOCK = VirtualClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
STORY = "somebody who looks is shown what we picked, and given up after a month of silence"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert karibu("init", "shop", clock=CLOCK).code == 0
    return tmp_path / "shop"


def test_a_message_is_shown_as_it_is_sent_in_a_scenario(shop: Path) -> None:
    """To Baraka, who reads Swahili: by the engine itself, with nothing made up."""
    said = json.loads(karibu("-C", "shop", "preview", "email/we-miss-you", "--scenario", STORY, "--json").out)
    assert (said["journey"], said["step"], said["locale"], said["made"]) == ("win-back", "miss", "sw", [])
    assert said["subject"] == "Siku nyingi hatujaonana, Baraka"
    assert "Baraka" in Path(said["html_file"]).read_text()
    assert not (shop / ".karibu" / "mail").exists()


def test_a_message_that_the_scenario_does_not_send_is_told(shop: Path) -> None:
    ran = karibu("-C", "shop", "preview", "email/whats-new", "--scenario", STORY)
    assert ran.code == 2 and "email/whats-new is not sent in that scenario" in ran.err


def test_a_message_is_shown_as_a_customer_of_the_store_would_get_it(shop: Path) -> None:
    app = App.of(shop, CLOCK)
    app.runtime.publish()
    app.runtime.ingest([Incoming("zawadi", "signed_up", "k1", CLOCK.now(), {}, person("zawadi"))])
    asked = ("-C", "shop", "preview", "email/welcome", "--as", "zawadi", "--locale", "fil", "--json")
    said = json.loads(karibu(*asked, clock=CLOCK).out)
    assert "Zawadi" in said["subject"] and said["locale"] == "fil" and said["made"] == ["coupon (a code)"]
    app.runtime.advance()
    with app.database.read() as connection:
        code = connection.execute(select(coupon.c.code)).scalar_one()
    app.close()
    said = json.loads(karibu(*asked, clock=CLOCK).out)
    assert code in said["text"] and said["made"] == []


def test_a_picture_of_a_mail_shows_all_of_it(shop: Path, chromium: str) -> None:
    ran = karibu("-C", "shop", "preview", "email/welcome", "--screenshot", "welcome.png", clock=CLOCK)
    assert ran.code == 0, ran.err
    head = Path("welcome.png").read_bytes()[:24]
    width, height = unpack(">II", head[16:24])
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and width == 1400 and height > 1800


def test_without_what_draws_it_the_user_is_told_what_to_install(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    ran = karibu("-C", "shop", "preview", "email/welcome", "--screenshot", "welcome.png", clock=CLOCK)
    assert ran.code == 2 and not Path("welcome.png").exists()
    assert "a screenshot needs Playwright" in ran.err and "apt-get install chromium" in ran.err
