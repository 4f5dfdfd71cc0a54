"""Our own pixel and click links: they tell what happened, lead only where a mail led, and keep nobody from where they
wanted to go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from engine.app import App
from engine.channels.maildir import Maildir
from engine.rendering.tracking import Tracking
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from engine.store import tables as t
from engine.store.database import Database
from engine.web.api import build
from engine.web.site import Site
from tests.returns.samples import NOW
from tests.scenarios.shop import FILES, PROJECT
from tests.web.asking import Answer, ask

BASE = "https://mail.duka.example"
SHOP = PROJECT.replace("{provider: memory}", "{provider: maildir}") + "tracking: {opens: yes, clicks: yes}\n"
LINK = '<a href="https://duka.example/shop?a=1&amp;b=2">Look</a> <a href="mailto:hello@duka.example">Write</a>'
CONTENT = {
    "templates/email/a.mjml": FILES["templates/email/a.mjml"].replace("<a href", LINK + "\n<a href"),
    "workflows/hello.yaml": "journey: hello\ntopic: offers\nenter: {event: signed_up}\nsteps: [{send: email/a}]\n",
}
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


class Here:
    """A shop that has sent Amina a mail by a provider that tells nothing."""

    def __init__(self, root: Path, database: Database) -> None:
        self.app = App(Settings.of(root, base_url=BASE), VirtualClock(NOW))
        self.app.__dict__["database"] = database
        self.database = database
        self.web = build(Site(lambda: self.app, None, dict, lambda: True))  # type: ignore[arg-type]  # takes no events
        self.app.runtime.publish()
        problems: Any = type("Nothing", (), {"found": {}})()
        person = self.app.door.profile({"email": "amina@shop.example", "consent": ["email/offers"]}, problems)
        self.app.runtime.ingest([Incoming("amina", "signed_up", "1", NOW, {}, person)])
        self.app.runtime.advance()
        (file,) = (root / ".karibu/mail/email").glob("*.eml")
        self.mail = message_from_bytes(file.read_bytes())
        parts = {part.get_content_type(): part.get_payload(decode=True).decode() for part in self.mail.get_payload()}  # type: ignore[union-attr]
        self.html, self.text = parts["text/html"], parts["text/plain"]

    def link(self, kind: str) -> str:
        (found,) = re.findall(rf'"{BASE}(/{kind}/[^"]+)"', self.html)
        return str(found)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return ask(self.web, method, path, BROWSER | {name.replace("_", "-"): value for name, value in headers.items()})

    def kinds(self) -> list[str]:
        with self.database.read() as connection:
            return sorted(connection.scalars(select(t.message_event.c.kind)))


@pytest.fixture
def here(database: Database, project: Callable[..., Path]) -> Iterator[Here]:
    yield Here(project({"workflows/project.yaml": SHOP, **FILES, **CONTENT}), database)


def test_a_click_is_recorded_and_leads_where_the_mail_led(here: Here) -> None:
    told = here.get(here.link("c"))
    assert (told.status, told.headers["location"]) == (302, "https://duka.example/shop?a=1&b=2")
    assert told.headers["cache-control"] == "no-store"
    assert here.get(here.link("c")).status == 302
    assert here.kinds() == ["clicked"]
    with here.database.read() as connection:
        event = connection.execute(select(t.event).where(t.event.c.name == "message_clicked")).one()
    assert event.properties["url"] == "https://duka.example/shop?a=1&b=2"


def test_an_open_is_recorded_and_answered_with_a_picture(here: Here) -> None:
    told = here.get(here.link("o"))
    assert (told.status, told.headers["content-type"]) == (200, "image/gif")
    assert here.kinds() == ["opened"]


@pytest.mark.parametrize(
    "headers",
    [
        {"User_Agent": "Mozilla/5.0"},
        {"User_Agent": ""},
        {"User_Agent": "Mozilla/5.0 (compatible; SomeBot/2.1)"},
        {"Sec_Purpose": "prefetch;prerender"},
        {"X_Moz": "prefetch"},
        {"X_Purpose": "preview"},
    ],
)
def test_what_machines_fetch_is_marked(here: Here, headers: dict[str, str]) -> None:
    assert here.get(here.link("o"), **headers).status == 200
    assert here.get(here.link("c"), **headers).status == 302
    assert here.kinds() == ["machine_clicked", "machine_opened"]


def test_head_records_nothing(here: Here) -> None:
    assert here.get(here.link("o"), "HEAD").status == 200
    assert here.get(here.link("c"), "HEAD").status == 302
    assert here.kinds() == []


def test_the_way_out_other_links_and_the_text_stay_as_they_are(here: Here) -> None:
    out = str(here.mail["List-Unsubscribe"]).strip("<>")
    assert out.startswith(f"{BASE}/u/") and f'href="{out}"' in here.html
    assert "mailto:hello@duka.example" in here.html
    assert "https://duka.example/shop?a=1&b=2" in here.text and "/c/" not in here.text


def test_forged_links_lead_nowhere_and_record_nothing(here: Here) -> None:
    click, opened = here.link("c"), here.link("o")
    tried = 0
    for path in (click, opened):
        for place in range(4, len(path), 5):
            other = "A" if path[place] != "A" else "B"
            for forged in (path[:place] + other + path[place + 1 :], path[:place]):
                assert here.get(forged).status == 404, forged
                tried += 1
    stranger = Tracking(["another key, long enough"], BASE, clicks=True)
    assert here.get(stranger.tracked(LINK, "1-1").split('"')[1].removeprefix(BASE)).status == 404
    assert here.get("/c/" + opened.removeprefix("/o/")).status == 404, "a pixel is no click"
    assert here.get("/c/https://evil.example").status == 404
    assert here.kinds() == []
    print(f"forged: {tried + 3}, accepted: 0")


def test_a_click_leads_on_when_nothing_can_be_recorded(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(here.app.database, "written", away)
    assert here.get(here.link("c")).status == 302


def test_without_the_setting_mails_are_as_they_were_written(
    sqlite_database: Database, project: Callable[..., Path]
) -> None:
    plain = SHOP.partition("tracking")[0]
    here = Here(project({"workflows/project.yaml": plain, **FILES, **CONTENT}), sqlite_database)
    assert "/c/" not in here.html and "/o/" not in here.html
    assert isinstance(here.app.channels["email"], Maildir)


def test_a_provider_that_tells_opens_itself_gets_none_of_ours(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"workflows/project.yaml": SHOP.replace("maildir", "sendgrid", 1), **FILES, **CONTENT})
    app = App(Settings.of(root, sendgrid_api_key="SG.x"), VirtualClock(NOW))
    assert app.content.project.tracking.clicks and app.post.track is None
    app.close()


@given(url=st.text(max_size=60), ref=st.from_regex(r"[0-9]{1,5}-[0-9]{1,3}", fullmatch=True))
def test_whatever_a_mail_links_to_comes_back_as_it_was(url: str, ref: str) -> None:
    from html import escape

    tracking = Tracking(["a key that is long enough"], BASE, opens=True, clicks=True)
    made = tracking.tracked(f'<p><A class="x" HREF="{escape("https://x.example/" + url)}">y</A></body>', ref)
    token = made.split('HREF="')[1].split('"')[0]
    if token.startswith(f"{BASE}/c/"):
        assert tracking.clicked(token.removeprefix(f"{BASE}/c/")) == (ref, "https://x.example/" + url)
    else:
        assert any(ord(c) < 33 for c in url)
    assert made.endswith("></body>") and tracking.opened(made.split("/o/")[1].split('"')[0]) == ref
