"""Short links of texts: they lead where the text led, tell of the click, and nobody can make one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from engine.app import App
from engine.rendering.addresses import addresses
from engine.rendering.short import Shortener
from engine.rendering.values import Rendered
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.settings import Settings
from engine.store import tables as t
from engine.store.database import Database
from engine.store.failures import ServerUnreachable
from engine.web.api import build
from engine.web.site import Site
from tests.returns.samples import NOW
from tests.returns.test_our_links import BASE, BROWSER
from tests.scenarios.shop import FILES, PROJECT
from tests.web.asking import Answer, ask

SHOP = PROJECT.replace("{provider: memory}", "{provider: maildir}") + "tracking: {clicks: yes}\n"
CART = "https://cart.example/of?name={{ customer.first_name }}"
CONTENT = {
    "templates/sms/s.txt": f"Hi {{{{ customer.first_name }}}}, your cart: {CART}. Out: {{{{ links.unsubscribe }}}}\n",
    "workflows/hello.yaml": "journey: hello\ntopic: offers\nenter: {event: signed_up}\n"
    'steps: [{send: sms/s, id: text}, {wait: 1d}, {branch: [{if: clicked("text"), then: [{tag: looked}]}, {else: []}]}]\n',
}


class Here:
    """A shop that sends texts by a provider that tells nothing of clicks."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.app = App(Settings.of(root, base_url=BASE), VirtualClock(NOW))
        self.app.__dict__["database"] = database
        self.database = database
        self.web = build(Site(lambda: self.app, None, dict, lambda: True))  # type: ignore[arg-type]  # takes no events
        self.app.runtime.publish()

    def text(self, first_name: str = "Amina", number: int = 1) -> str:
        """The text that somebody of this name gets."""
        phone = f"+25471234567{number}"
        columns = {"first_name": first_name, "phone": phone, "phone_hash": f"phone-{number}"}
        person = Profile(columns=columns, consents=(Consented("sms", "offers"),))
        self.app.runtime.ingest([Incoming(f"c{number}", "signed_up", str(number), NOW, {}, person)])
        self.app.runtime.advance()
        sent = [json.loads(file.read_text()) for file in (self.root / ".karibu/mail/sms").glob("*.json")]
        (found,) = (one["text"] for one in sent if one["to"] == phone)
        return str(found)

    def get(self, path: str, method: str = "GET", agent: str = BROWSER["User-Agent"]) -> Answer:
        return ask(self.web, method, path, {"User-Agent": agent})

    def kinds(self) -> list[str]:
        with self.database.read() as connection:
            return sorted(connection.scalars(select(t.message_event.c.kind)))


@pytest.fixture
def here(database: Database, project: Callable[..., Path]) -> Iterator[Here]:
    yield Here(project({"workflows/project.yaml": SHOP, **FILES, **CONTENT}), database)


def code(text: str) -> str:
    (found,) = re.findall(rf"{BASE}(/l/[a-z2-7]{{12}})\.", text)
    return str(found)


def test_a_click_is_recorded_and_leads_where_the_text_led(here: Here) -> None:
    path = code(here.text())
    told = here.get(path)
    assert (told.status, told.headers["location"]) == (302, "https://cart.example/of?name=Amina")
    assert here.get(path, "HEAD").status == 302
    assert here.kinds() == ["clicked"]
    with here.database.read() as connection:
        event = connection.execute(select(t.event).where(t.event.c.name == "message_clicked")).one()
    assert event.properties["url"] == "https://cart.example/of?name=Amina"
    here.app.clock.advance_to(NOW.replace(day=NOW.day + 2))  # type: ignore[attr-defined]
    here.app.runtime.advance()
    with here.database.read() as connection:
        assert connection.scalars(select(t.customer_tag.c.tag)).all() == ["looked"]


def test_who_gets_the_link_is_part_of_it(here: Here) -> None:
    paths = {code(here.text("Amina", number)) for number in (1, 2)}
    assert len(paths) == 2


def test_the_preview_of_a_messenger_is_no_click(here: Here) -> None:
    assert here.get(code(here.text()), agent="WhatsApp/2.25.1 A").status == 302
    assert here.kinds() == ["machine_clicked"]


def test_the_way_out_and_what_a_customer_wrote_stay_as_they_are(here: Here) -> None:
    text = here.text("https://evil.example/x")
    assert text.startswith("Hi https://evil.example/x, your cart: ") and f"Out: {BASE}/u/" in text
    assert text.count("/l/") == 1


def test_what_nobody_made_leads_nowhere(here: Here) -> None:
    path = code(here.text())
    for place in range(3, len(path)):
        other = "a" if path[place] != "a" else "b"
        assert here.get(path[:place] + other + path[place + 1 :]).status == 404
        assert here.get(path[:place]).status == 404
    assert here.get("/l/%00").status == here.get("/l/%00" + 11 * "a").status == 404
    assert here.get(f"{path}a").status == 404 and here.get(path.upper()).status == 404
    assert here.kinds() == []


def test_a_reader_is_asked_to_come_again_while_the_database_is_away(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = code(here.text())

    def away(*_: object) -> None:
        raise ServerUnreachable("it is away")

    monkeypatch.setattr(here.app.database, "read", away)
    told = here.get(path)
    assert (told.status, told.headers["retry-after"]) == (503, "60")


def test_a_text_that_is_made_again_keeps_its_links(here: Here) -> None:
    rendered = Rendered("sms", text="See https://cart.example/a.", origins=frozenset({"https://cart.example"}))
    shorten = here.app.post.shorten
    assert shorten is not None
    assert shorten(rendered, "1-1") == shorten(rendered, "1-1") != shorten(rendered, "1-2")
    stranger = Shortener("another key, long enough", BASE)
    assert stranger.shortened(rendered, "1-1")[1].keys() != shorten(rendered, "1-1")[1].keys()


def test_of_a_text_full_of_links_some_become_short(here: Here) -> None:
    text = " ".join(f"https://cart.example/{n}" for n in range(1_000))
    short, codes = Shortener("a key that is long enough", BASE).shortened(
        Rendered("sms", text=text, origins=frozenset({"https://cart.example"})), "1-1"
    )
    assert len(codes) == 20 and short.count("https://cart.example/") == 980


def test_beside_a_template_that_whatsapp_approved_no_link_becomes_short() -> None:
    text, cart = "See https://cart.example/a", frozenset({"https://cart.example"})
    shortener = Shortener("a key that is long enough", BASE)
    assert shortener.shortened(Rendered("whatsapp", text=text, template_id="HX1", origins=cart), "1-1") == (text, {})
    assert shortener.shortened(Rendered("whatsapp", text=text, origins=cart), "1-1")[1]


def test_without_the_setting_texts_are_as_they_were_written(
    sqlite_database: Database, project: Callable[..., Path]
) -> None:
    plain = SHOP.partition("tracking")[0]
    here = Here(project({"workflows/project.yaml": plain, **FILES, **CONTENT}), sqlite_database)
    assert "https://cart.example/of?name=Amina." in here.text()
    with here.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(t.short_link)) == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("See https://a.example/x?y=1&z=2.", ["https://a.example/x?y=1&z=2"]),
        (
            "(https://a.example/x) and https://a.example/of_(this).",
            ["https://a.example/x", "https://a.example/of_(this)"],
        ),
        ("Տես https://a.example/x։ HTTPS://A.example", ["https://a.example/x", "HTTPS://A.example"]),
        ("<https://a.example/x_> https:// http://", ["https://a.example/x_"]),
        ("https://[half", []),
        ("ftp://a.example a.example", []),
        (f"https://a.example/{'x' * 2_000} https://b.example", ["https://b.example"]),
        ("https://a" + 250_000 * ")", []),
    ],
)
def test_an_address_ends_where_its_sentence_does(text: str, found: list[str]) -> None:
    assert [address for _, address in addresses(text)] == found


ADDRESS = st.builds("https://{}.example/{}".format, st.sampled_from("ab"), st.text(max_size=20))


@given(st.lists(st.one_of(st.text(max_size=30), ADDRESS), max_size=6).map(" ".join))
def test_a_text_with_its_links_put_back_is_the_text(text: str) -> None:
    content = Rendered("sms", text=text, origins=frozenset({"https://a.example"}))
    short, codes = Shortener("a key that is long enough", BASE).shortened(content, "1-1")
    for one, url in codes.items():
        assert url.startswith("https://a.example")
        short = short.replace(f"{BASE}/l/{one}", url)
    assert short == text
