"""The pages that customers see: their choices, the second yes, a survey. Signed links, and nothing by opening them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from engine.app import App
from engine.rendering.links import Confirmation, Pages, Preferences, Question, Subscription
from engine.runtime.clock import VirtualClock
from engine.runtime.feedback import opt_out
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, consent_said, event, message
from engine.web import confirm, preferences, survey
from tests.patience import eventually
from tests.scenarios.shop import FILES, MAIL, PROJECT
from tests.web.conftest import Start

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HASH = "hash-e"
KEY = "a key that nobody else has"

SHOP = PROJECT.replace("news: {title: News}", 'news: {title: "News & <i>more</i>", double_opt_in: true}') + (
    "surveys:\n  nps: {kind: nps}\n"
    '  parcel: {kind: csat, question: {en: "Was it <b>well</b> packed, {brand}?", sw: Ilifungwa vizuri?}}\n'
)
MORE = {
    **FILES,
    "templates/email/sure.mjml": MAIL % ("Sure?", '<a href="{{ links.confirm }}">1</a> {{ links.preferences }}'),
    "templates/email/nps.mjml": MAIL % ("Well?", '<a href="{{ links.survey }}?score=9">9</a>'),
    "workflows/news.yaml": """journey: news
topic: news
enter: {event: signed_up}
steps:
  - {send: email/sure, confirms: true}
  - wait_for: {event: consent_confirmed, within: 7d}
    then: [{ask: nps}]
    else: []
""",
}


@pytest.fixture
def app(database: Database, project: Callable[..., Path]) -> Iterator[App]:
    """A shop that Amina has just told that she wants the news, and that has asked whether she means it."""
    root = project({"workflows/project.yaml": SHOP, **MORE})
    made = App(Settings.of(root, secret_key=KEY), VirtualClock(NOW))
    made.__dict__["database"] = database
    made.runtime.publish()
    columns = {"email": "a@shop.example", "email_hash": HASH, "phone": "+254712345678", "phone_hash": "hash-p"}
    said = (Consented("email", "offers"), Consented("email", "news", "pending"), Consented("push", "offers", "off"))
    made.runtime.ingest([Incoming("amina", "signed_up", "1", NOW, {}, Profile(columns, consents=said))])
    made.runtime.advance()
    made.clock.advance_to(NOW + timedelta(hours=1))  # type: ignore[attr-defined]
    yield made


@pytest.fixture
def client(app: App) -> TestClient:
    web = FastAPI()
    for page in (preferences, confirm, survey):
        web.include_router(page.router(lambda: app))
    return TestClient(web)


def rows(app: App, *columns: Any) -> list[tuple[Any, ...]]:
    with app.database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def states(app: App) -> dict[str, str]:
    return {f"{c}/{t}": s for c, t, s in rows(app, consent.c.channel, consent.c.topic, consent.c.state)}


def answers(app: App) -> list[dict[str, Any]]:
    with app.database.read() as connection:
        return list(connection.scalars(select(event.c.properties).where(event.c.name == "survey_answered")))


def of(link: str) -> str:
    return urlsplit(link).path


def choices(app: App, locale: str = "", channel: str = "email", address_hash: str = HASH) -> str:
    return of(app.pages.preferences(Preferences("amina", channel, address_hash, locale)))


def second_yes(app: App, locale: str = "", **other: Any) -> str:
    given: dict[str, Any] = {"customer": "amina", "channel": "email", "topic": "news", "address_hash": HASH, **other}
    return of(app.pages.confirm(Confirmation(asked_at=given.pop("asked_at", NOW), locale=locale, **given)))


def question(app: App, name: str = "nps", locale: str = "", asked_at: datetime = NOW) -> str:
    """The link of the survey in the message that Amina was sent."""
    with app.database.read() as connection:
        (sent,) = connection.scalars(select(message.c.enrolment_id))
    return of(app.pages.survey(Question(f"{sent}-1", name, asked_at, locale)))


def later(app: App, **length: float) -> None:
    app.clock.advance_to(app.clock.now() + timedelta(**length))  # type: ignore[attr-defined]


YES = {"confirm": "yes"}


# Links


def test_opening_a_page_changes_nothing(app: App, client: TestClient) -> None:
    before = states(app), rows(app, event.c.key)
    for path in (choices(app), second_yes(app), question(app), question(app) + "?score=9"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, path)
            assert answer.status_code == 200 and "no-store" in answer.headers["cache-control"]
            assert not answer.cookies and "<script" not in answer.text
    assert (states(app), rows(app, event.c.key)) == before


def test_every_altered_token_is_refused(app: App, client: TestClient) -> None:
    pages, before = app.pages, states(app)
    readers = {
        choices(app): pages.read_preferences,
        second_yes(app): pages.read_confirm,
        question(app): pages.read_survey,
    }
    for path, read in readers.items():
        head, _, token = path.rpartition("/")
        assert read(token) is not None
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
        altered = {token[:at] + other + token[at + 1 :] for at in range(len(token)) for other in alphabet} - {token}
        altered |= {token[:-1], token[1:], token + "A", token + ".", f"{token}.{token}", "", "é", "a" * 9000, "." * 50}
        assert [one for one in altered if read(one) is not None] == []
        for one in (f"{token[:-2]}AA", f"{token[:3]}A{token[4:]}" if token[3] != "A" else f"{token[:3]}B{token[4:]}"):
            for method in ("GET", "POST"):
                assert client.request(method, f"{head}/{one}", data={**YES, "score": "9"}).status_code == 404
    assert states(app) == before and answers(app) == []


def test_a_link_of_one_page_or_key_opens_no_other(app: App, client: TestClient) -> None:
    links = {
        "unsubscribe": of(app.subscriptions.link(Subscription("amina", "email", "news", ""))),
        "preferences": choices(app),
        "confirm": second_yes(app),
        "survey": question(app),
    }
    for mine, link in links.items():
        for page in ("preferences", "confirm", "survey"):
            token = link.rpartition("/")[2]
            assert client.get(f"/{page}/{token}").status_code == (200 if page == mine else 404), (mine, page)
    theirs = Pages(["another key, as long as ours"], "https://x")
    assert client.get(of(theirs.preferences(Preferences("amina", "email")))).status_code == 404


def test_a_link_of_somebody_who_is_gone_opens_nothing(app: App, client: TestClient) -> None:
    for path in (of(app.pages.preferences(Preferences("nobody", "email"))), second_yes(app, customer="nobody")):
        assert client.get(path).status_code == 404 and client.post(path, data=YES).status_code == 404
    path = of(app.pages.survey(Question("999-1", "nps", NOW)))
    assert client.get(path).status_code == client.post(path, data={"score": "9"}).status_code == 410


@pytest.mark.parametrize(
    ("locale", "lang"), [("sw-KE", "sw"), ("hy", "hy"), ("fil-PH", "fil"), ("fr", "en"), ("", "en")]
)
def test_the_pages_speak_the_customers_language(locale: str, lang: str, app: App, client: TestClient) -> None:
    for path, word in (
        (choices(app, locale), preferences.WORDS[lang].save),
        (second_yes(app, locale), confirm.WORDS[lang].button),
        (question(app, "nps", locale), survey.WORDS[lang].send),
    ):
        page = client.get(path).text
        assert f'<html lang="{lang}">' in page and word in page and "<title>" in page and 'name="viewport"' in page


def test_no_language_lacks_a_word() -> None:
    for words in (preferences.WORDS, confirm.WORDS, survey.WORDS):
        assert set(words) == {"en", "sw", "hy", "fil"}
        for one in words.values():
            for name in one.__slots__:
                value = getattr(one, name)
                assert all(value.values()) if isinstance(value, dict) else value


# Choices


def test_the_page_shows_each_topic_on_each_channel_that_reaches_them(app: App, client: TestClient) -> None:
    page = client.get(choices(app)).text
    assert re.findall(r'name="yes" value="([^"]+)"( checked)?', page) == [
        ("email/offers", " checked"),
        ("sms/offers", ""),
        ("push/offers", ""),
        ("email/news", ""),
        ("sms/news", ""),
        ("push/news", ""),
    ]
    assert "News &amp; &lt;i&gt;more&lt;/i&gt;" in page and "<i>more" not in page
    assert "waits for your confirmation" in page


def test_one_post_saves_all_choices_with_their_proof(app: App, client: TestClient) -> None:
    shown = ["email/offers", "sms/offers", "email/news", "sms/news"]
    answer = client.post(choices(app), data={"shown": shown, "yes": ["sms/offers", "email/news", "sms/news"]})
    assert answer.status_code == 200 and preferences.WORDS["en"].saved in answer.text
    assert states(app) == {
        "email/offers": "off",
        "sms/offers": "on",
        "email/news": "on",  # the link came by e-mail, so the address is theirs
        "sms/news": "pending",
        "push/offers": "off",
    }
    told = rows(app, consent_said.c.source, consent_said.c.channel, consent_said.c.topic, consent_said.c.proof)
    proof = "Offers: by SMS; Save my choices (en)"
    assert (("preference page", "sms", "offers", proof)) in told
    page = client.get(choices(app)).text
    assert re.findall(r'value="([^"]+)" checked', page) == ["sms/offers", "email/news"]


def test_what_the_page_did_not_show_stays(app: App, client: TestClient) -> None:
    client.post(
        choices(app), data={"shown": ["sms/offers", "fax/offers", "sms/secret"], "yes": ["sms/offers", "fax/offers"]}
    )
    assert states(app)["email/offers"] == "on" and states(app)["sms/offers"] == "on"
    assert not any(name.startswith("fax") or name.endswith("secret") for name in states(app))


def test_a_choice_that_changes_nothing_is_no_new_word(app: App, client: TestClient) -> None:
    before = rows(app, consent_said.c.channel, consent_said.c.at)
    for _ in range(2):
        client.post(
            choices(app, channel="sms", address_hash="hash-p"),
            data={"shown": ["email/offers", "email/news"], "yes": ["email/offers", "email/news"]},
        )
    assert rows(app, consent_said.c.channel, consent_said.c.at) == before
    assert states(app)["email/news"] == "pending"


def test_one_button_ends_everything(app: App, client: TestClient) -> None:
    answer = client.post(choices(app), data={"shown": ["email/offers"], "yes": ["email/offers"], "nothing": "yes"})
    assert preferences.WORDS["en"].left.format(brand="Duka") in answer.text
    assert set(states(app).values()) == {"off"} and len(states(app)) == 6


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe", b"yes=email/offers", b"shown=email/offers&" * 5000])
def test_a_post_that_is_not_the_form_changes_nothing(body: bytes, app: App, client: TestClient) -> None:
    before = states(app)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post(choices(app), content=body, headers=kind).status_code == 400
    assert states(app) == before


def test_a_link_that_went_to_an_address_they_have_no_more_shows_nothing_and_can_only_say_no(
    app: App, client: TestClient
) -> None:
    before, path = states(app), choices(app, address_hash="of an older address")
    page = client.get(path)
    assert page.status_code == 200 and "checkbox" not in page.text and "News" not in page.text
    form = {"shown": ["email/news", "sms/offers"], "yes": ["email/news", "sms/offers"]}
    assert client.post(path, data=form).status_code == 400
    assert states(app) == before
    assert client.post(path, data={"nothing": "yes"}).status_code == 200
    assert set(states(app).values()) == {"off"}


# The second yes


def test_the_second_yes_counts_and_is_the_proof(app: App, client: TestClient) -> None:
    path = second_yes(app)
    assert "Yes, I agree" in client.get(path).text
    assert client.post(path, content=b"List-Unsubscribe=One-Click").status_code == 200
    assert states(app)["email/news"] == "pending"
    assert confirm.WORDS["en"].done in client.post(path, data=YES).text
    assert states(app)["email/news"] == "on"
    told = rows(app, consent_said.c.topic, consent_said.c.state, consent_said.c.source, consent_said.c.proof)
    asked = "May Duka send you “News & <i>more</i>” by e-mail? Yes, I agree (en)"
    assert ("news", "on", "double opt-in", asked) in told
    app.runtime.advance()
    assert rows(app, message.c.step, message.c.state) == [("ask_1", "accepted"), ("send_1", "accepted")]
    assert client.post(path, data=YES).status_code == 200
    assert rows(app, event.c.name) == [("consent_confirmed",), ("signed_up",)]


def test_a_link_that_is_used_again_after_a_no_says_nothing(app: App, client: TestClient) -> None:
    path = second_yes(app)
    client.post(path, data=YES)
    later(app, hours=1)
    with app.database.write() as connection:
        opt_out(connection, "amina", "email", "news", app.clock.now(), "unsubscribe link")
    later(app, hours=1)
    answer = client.post(path, data=YES)
    assert answer.status_code == 410 and "/preferences/" in answer.text
    assert states(app)["email/news"] == "off"


def test_a_link_for_another_address_or_too_old_confirms_nothing(app: App, client: TestClient) -> None:
    assert client.post(second_yes(app, address_hash="of another address"), data=YES).status_code == 410
    later(app, days=30)
    assert client.post(second_yes(app), data=YES).status_code == 410
    assert states(app)["email/news"] == "pending"


# Surveys


def test_an_answer_is_taken_once(app: App, client: TestClient) -> None:
    path = question(app)
    done = client.post(path, data={"score": "9", "comment": "  Fast,\n<b>friendly</b>  "})
    assert survey.WORDS["en"].done in done.text
    again = client.post(path, data={"score": "0"})
    assert survey.WORDS["en"].before in again.text and survey.WORDS["en"].before in client.get(path).text
    about = {"survey": "nps", "journey": "news", "step": "send_1"}
    assert answers(app) == [{**about, "score": 9, "comment": "Fast,\n<b>friendly</b>"}]


@pytest.mark.parametrize("score", ["", "11", "-1", "9.5", "９", "nine", "<b>"])
def test_only_a_score_of_the_survey_is_an_answer(score: str, app: App, client: TestClient) -> None:
    answer = client.post(question(app), data={"score": score, "comment": "<b>kept</b>"})
    assert answer.status_code == 400 and survey.WORDS["en"].missing in answer.text
    assert "&lt;b&gt;kept&lt;/b&gt;</textarea>" in answer.text
    assert answers(app) == []


def test_the_shops_own_words_are_shown_in_the_customers_language(app: App, client: TestClient) -> None:
    assert "Ilifungwa vizuri?" in client.get(question(app, "parcel", "sw-KE")).text
    page = client.get(question(app, "parcel", "hy")).text
    assert "Was it &lt;b&gt;well&lt;/b&gt; packed, Duka?" in page
    assert re.findall(r'type="radio" name="score" value="(\d+)"', page) == list("12345")


def test_a_click_in_the_mail_marks_the_score_and_no_more(app: App, client: TestClient) -> None:
    page = client.get(question(app) + "?score=9").text
    assert re.findall(r'value="(\d+)" required checked', page) == ["9"]
    assert "required checked" not in client.get(question(app) + "?score=90").text
    assert answers(app) == []


def test_a_survey_that_is_over_takes_nothing(app: App, client: TestClient) -> None:
    for path in (question(app, "an old one"), question(app, asked_at=NOW - timedelta(days=91))):
        assert client.get(path).status_code == client.post(path, data={"score": "9"}).status_code == 410
    assert answers(app) == []


# In a browser, over the whole way: an event, a mail, its link, a page, and what comes of it


def sent(root: Path, n: int) -> str:
    """The text of the n-th mail, once it is there."""
    box = root / ".karibu/mail/email"
    eventually(lambda: len(list(box.glob("*.eml"))) >= n)
    mails = [message_from_bytes(one.read_bytes(), policy=default) for one in box.glob("*.eml")]
    return "\n".join(mail.get_body(("html",)).get_content() for mail in mails)  # type: ignore[union-attr]


def reachable(page: Page) -> list[str]:
    """What the Tab key comes to, in order, each seen to have a focus that can be seen."""
    found = []
    for _ in range(40):
        page.keyboard.press("Tab")
        one = page.evaluate(
            """() => { const e = document.activeElement; if (!e || e === document.body) return null;
            const s = getComputedStyle(e), n = e.nextElementSibling && getComputedStyle(e.nextElementSibling);
            return [e.value || e.name || e.textContent, s.outlineStyle !== 'none' || (n && n.outlineStyle !== 'none')] }"""
        )
        if one is None:
            break
        assert one[1], f"the focus on {one[0]} can't be seen"
        found.append(one[0])
    return found


def test_a_customer_confirms_chooses_and_answers_without_a_script(
    start: Start, tmp_path: Path, project: Callable[..., Path], browser: Browser
) -> None:
    project({"workflows/project.yaml": SHOP.replace("memory", "maildir"), **MORE})
    service = start()
    customer = {"id": "amina", "email": "amina@shop.example", "locale": "sw-KE", "consent": ["email/news"]}
    assert service.post({"event": "signed_up", "customer": customer, "id": "1"}).status_code == 202
    asked = sent(service.root, 1)
    page = browser.new_context(java_script_enabled=True, viewport={"width": 390, "height": 800}).new_page()
    plain = browser.new_context(java_script_enabled=False).new_page()

    def open_link(kind: str, mail: str, page: Page) -> None:
        link = re.search(rf"https?://[^\"'\s<]+(/{kind}/[\w.\-]+(?:\?score=9)?)", mail)
        assert link is not None
        page.goto(service.url + link[1])

    open_link("confirm", asked, plain)
    assert plain.locator("html").get_attribute("lang") == "sw"
    plain.get_by_role("button", name=confirm.WORDS["sw"].button).click()
    assert confirm.WORDS["sw"].done in plain.get_by_role("heading", level=1).inner_text()

    asks = sent(service.root, 2)
    open_link("survey", asks, plain)
    assert plain.get_by_role("radio", name="9").is_checked()
    plain.get_by_label(survey.WORDS["sw"].comment).fill("Haraka sana")
    plain.get_by_role("button", name=survey.WORDS["sw"].send).click()
    assert survey.WORDS["sw"].done in plain.get_by_role("heading", level=1).inner_text()

    open_link("preferences", asked, page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a telephone"
    boxes = ["email/offers", "email/news"]
    assert reachable(page)[: len(boxes)] == boxes
    page.get_by_role("group", name="Offers").get_by_label(preferences.WORDS["sw"].channels["email"]).check()
    page.get_by_role("button", name=preferences.WORDS["sw"].save).click()
    assert preferences.WORDS["sw"].saved in page.get_by_role("status").inner_text()
    assert page.get_by_role("checkbox", checked=True).count() == 2
    page.get_by_role("button", name=preferences.WORDS["sw"].nothing).click()
    assert page.get_by_role("checkbox", checked=True).count() == 0

    app = service.app()
    assert set(states(app).values()) == {"off"}
    assert [(one["score"], one["comment"], one["step"]) for one in answers(app)] == [(9, "Haraka sana", "ask_1")]
    app.close()
