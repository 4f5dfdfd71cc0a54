"""The starter project's templates: sound in every language, and fit to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, Money
from tests.rendering.conftest import Brand, Project

ROOT = Path(__file__).parents[2]
RENDERER = Renderer(ROOT, Project(Brand(currency="USD")))
REFS = list(RENDERER.refs())
TRANSLATED = [
    *("email/welcome", "email/our-story", "email/bestsellers", "email/last-word", "push/still-here", "sms/welcome"),
    *("email/we-miss-you", "email/whats-new", "email/picked-for-you", "email/last-hello", "sms/we-miss-you"),
    *("push/we-miss-you", "email/birthday-soon", "email/birthday", "email/birthday-week", "sms/birthday"),
]
WELL_KNOWN: dict[str, Any] = {
    "customer": {"first_name": "Amina", "timezone": "Africa/Nairobi", "favourite": "coffee"},
    "entry": {
        "order_id": "D-1",
        "cart_id": "C/1",
        "total": Money(7620, "USD"),
        "items": [{"sku": "A1", "name": "Coffee", "qty": 2, "price": Money(1450, "USD")}, {"sku": "B2"}],
    },
    "shipped": {"carrier": "Posta", "tracking_url": "https://track.example/1"},
    "coupon": {"code": "CODE-23456789", "expires": datetime(2026, 4, 1, tzinfo=UTC)},
    "_calls": {"points()": 80},
}
STRANGER: dict[str, Any] = {
    "customer": {},
    "entry": {"order_id": "D-1", "cart_id": "C1"},
    "shipped": {},
    "coupon": WELL_KNOWN["coupon"],  # without one nothing that carries it is sent
    "_calls": {"points()": 0},
}


@dataclass(frozen=True)
class Sent:
    """What a customer sees of a message, in one text."""

    said: str
    html: str


def sent(ref: str, locale: str, values: dict[str, Any]) -> Sent:
    pages = (f"https://mail.duka.example/{page}/token" for page in ("preferences", "confirm", "survey"))
    out = Links(None if "/order-" in ref else "https://mail.duka.example/u/token", *pages)
    one = RENDERER.render(ref, locale or "en", values, out)
    return Sent("\n".join((one.subject, one.preheader, one.text, one.title, one.body, one.url)), one.html)


@pytest.mark.parametrize("ref", REFS)
def test_a_template_is_sound_and_reaches_friends_and_strangers(ref: str) -> None:
    assert RENDERER.problems(ref) == ()
    for locale in RENDERER.locales(ref):
        assert "Amina" in sent(ref, locale, WELL_KNOWN).said or "first_name" not in str(RENDERER.needs(ref).names)
        stranger = sent(ref, locale, STRANGER)
        for gap in (", .", ", !", " ,", "None", "undefined", "{{", "{%", "zqk"):
            assert gap not in stranger.said + stranger.html, (locale, gap)


@pytest.mark.parametrize("ref", [ref for ref in REFS if ref.startswith("email/")])
def test_a_mail_shows_the_address_and_the_way_out(ref: str) -> None:
    needs = RENDERER.needs(ref)
    assert needs.has_unsubscribe and needs.has_address


@pytest.mark.parametrize("ref", [ref for ref in REFS if ref.startswith("email/")])
def test_a_mail_is_small_enough_not_to_be_clipped(ref: str) -> None:
    for locale in RENDERER.locales(ref):
        assert len(sent(ref, locale, WELL_KNOWN).html.encode()) < 80_000


@pytest.mark.parametrize("ref", TRANSLATED)
def test_what_welcome_win_back_and_birthday_send_speaks_four_languages(ref: str) -> None:
    assert RENDERER.locales(ref) == ("", "fil", "hy", "sw")
    said = {locale: sent(ref, locale, WELL_KNOWN).said for locale in RENDERER.locales(ref)}
    assert len(set(said.values())) == 4
    assert any("\u0531" <= letter <= "\u0587" for letter in said["hy"])
    for line in said[""].split("\n"):
        shared = [locale for locale, text in said.items() if locale and line in text.split("\n")]
        assert (
            not shared
            or line == ""
            or "duka.example" in line
            or "Kijabe" in line
            or line in ("1", "2", "3", "4", "Karibu, Amina.")
        ), line
