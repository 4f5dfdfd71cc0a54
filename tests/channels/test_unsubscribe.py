"""The way out of every marketing mail: the signed link, its page, and the one click."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine.rendering.links import Subscription, Subscriptions
from engine.web.paper import Shop
from engine.web.unsubscribe import WORDS, router

KEY = "a key that nobody else has"
AMINA = Subscription("amina", "email", "offers", "sw-KE", "7-1")


@pytest.fixture
def links() -> Subscriptions:
    return Subscriptions([KEY], "https://mail.duka.example/")


@pytest.fixture
def ended() -> list[Subscription]:
    return []


@pytest.fixture
def client(links: Subscriptions, ended: list[Subscription]) -> TestClient:
    shop = Shop("Duka & Co", "14 Kijabe Street", "en", {"offers": "Offers"})
    app = FastAPI()
    app.include_router(router(links, shop, ended.append))
    return TestClient(app)


def path(links: Subscriptions, subscription: Subscription = AMINA) -> str:
    return links.link(subscription).removeprefix("https://mail.duka.example")


def test_a_link_says_again_what_it_was_made_of(links: Subscriptions) -> None:
    token = path(links).removeprefix("/u/")
    assert links.read(token) == AMINA
    assert token.isascii() and "/" not in token


def test_opening_the_link_changes_nothing(client: TestClient, links: Subscriptions, ended: list[Any]) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, path(links))
        assert answer.status_code == 200
    assert ended == []
    assert "no-store" in client.get(path(links)).headers["cache-control"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (
            b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
        (b"unsubscribe=yes", "application/x-www-form-urlencoded"),
    ],
)
def test_one_click_ends_it_without_a_cookie(
    body: bytes, kind: str, client: TestClient, links: Subscriptions, ended: list[Any]
) -> None:
    answer = client.post(path(links), content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert ended == [AMINA]
    assert not answer.cookies
    assert WORDS["sw"].done in answer.text


@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 20_000 + b"List-Unsubscribe=One-Click"])
def test_a_post_that_says_nothing_ends_nothing(
    body: bytes, client: TestClient, links: Subscriptions, ended: list[Any]
) -> None:
    assert client.post(path(links), content=body).status_code == 400
    assert ended == []


def test_every_altered_token_is_refused(client: TestClient, links: Subscriptions, ended: list[Any]) -> None:
    token = path(links).removeprefix("/u/")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
    altered = {token[:at] + other + token[at + 1 :] for at in range(len(token)) for other in alphabet} - {token}
    altered |= {token[:-1], token[1:], token + "A", token + ".", f"{token}.{token}", "", "é", "a" * 5000, "." * 50}
    assert [one for one in altered if links.read(one) is not None] == []
    answer = client.post(
        f"/u/{token[:-2]}AA", content=b"List-Unsubscribe=One-Click", headers={"Accept-Language": "fil, en;q=0.5"}
    )
    assert answer.status_code == 404 and ended == []
    assert WORDS["fil"].forged in answer.text


def test_another_key_or_purpose_signs_nothing_here(links: Subscriptions) -> None:
    theirs = Subscriptions(["another key, as long as ours"], "https://mail.duka.example")
    assert links.read(path(theirs).removeprefix("/u/")) is None


def test_links_of_an_older_key_still_work() -> None:
    old, new = Subscriptions([KEY], "https://x"), Subscriptions([KEY, "the key of this year"], "https://x")
    assert new.read(old.link(AMINA).removeprefix("https://x/u/")) == AMINA
    assert old.read(new.link(AMINA).removeprefix("https://x/u/")) is None


def test_a_short_key_is_no_key() -> None:
    for keys in ([], ["short"], [KEY, ""]):
        with pytest.raises(ValueError):
            Subscriptions(keys, "https://x")


@pytest.mark.parametrize(
    ("locale", "lang"), [("sw-KE", "sw"), ("hy", "hy"), ("fil-PH", "fil"), ("fr", "en"), ("", "en")]
)
def test_the_page_speaks_the_customers_language(
    locale: str, lang: str, client: TestClient, links: Subscriptions
) -> None:
    page = client.get(path(links, Subscription("amina", "email", "offers", locale))).text
    assert f'<html lang="{lang}">' in page and WORDS[lang].button in page
    assert "Duka &amp; Co" in page and "<title>" in page and 'name="viewport"' in page


def test_a_topic_is_shown_by_its_title_and_never_as_html(client: TestClient, links: Subscriptions) -> None:
    assert "Offers" in client.get(path(links)).text
    page = client.get(path(links, Subscription("amina", "email", "<b>x", "en"))).text
    assert "&lt;b&gt;x" in page and "<b>x" not in page


def test_when_it_can_not_be_recorded_nobody_is_told_it_was(links: Subscriptions) -> None:
    def broken(one: Subscription) -> None:
        raise OSError("disk full")

    app = FastAPI()
    app.include_router(router(links, Shop("Duka", "", "en", {}), broken))
    answer = TestClient(app).post(path(links), content=b"unsubscribe=yes")
    assert answer.status_code == 503
    assert WORDS["sw"].failed in answer.text
