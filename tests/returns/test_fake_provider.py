"""The fake provider speaks as the real ones document themselves, and tells what became of messages as they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from engine.channels.returns import Called, Reply, Returned
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.channels.sendgrid_back import SendGridReturns
from engine.channels.twilio_back import TwilioReturns
from engine.fake.behaviour import Behaviour, change, local
from engine.fake.child import Running, running
from engine.fake.hooks import key_of, shown
from engine.fake.ledger import Ledger, taken
from tests.channels.conftest import outgoing
from tests.patience import PATIENCE, eventually

TO = "+254712345678"


class Listener:
    """Whoever is called back: keeps each request, and answers as told."""

    def __init__(self) -> None:
        self.called: list[Called] = []
        self.statuses: list[int] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                listener.called.append(Called(f"{listener.url}{self.path}", headers, body))
                self.send_response(listener.statuses.pop(0) if listener.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def mails(self, provider: Running) -> list[Returned]:
        """What SendGrid's webhooks told, each verified."""
        key, theirs = shown(key_of(provider.directory)), SendGridReturns()
        mine = [one for one in self.called if "sendgrid" in one.url]
        assert all(theirs.verify(key, one, datetime.now(UTC)) for one in mine)
        return [told for one in mine for told in theirs.read(one)]

    def texts(self) -> list[Returned | Reply]:
        """What Twilio's told."""
        theirs, mine = TwilioReturns(), [one for one in self.called if "twilio" in one.url]
        assert all(theirs.verify("fake", one, datetime.now(UTC)) for one in mine)
        return [told for one in mine for told in theirs.read(one)]


@contextmanager
def listening() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as made:
        yield made


@pytest.fixture
def provider(tmp_path: Path, listener: Listener) -> Iterator[Running]:
    directory = tmp_path / "provider"
    directory.mkdir()
    hook = f"{listener.url}/hooks/sendgrid/events"
    Behaviour(hook=hook, opens=1, clicks=1, machines=1, pace=0.01).write(directory)
    with running(directory) as made:
        yield made


def mail(provider: Running, to: str, ref: str) -> None:
    channel = SendGrid("SG.fake", provider.url, SendGridOptions(timeout=60))
    channel.send(outgoing(to=to, ref=ref))
    channel.close()


def text(provider: Running, listener: Listener, account: str = "ACfake", **given: str) -> httpx2.Response:
    form = {"To": TO, "From": "+15550001111", "Body": "Karibu", **given}
    form["StatusCallback"] = f"{listener.url}/hooks/twilio/events?ref=1-2"
    url = f"{provider.url}/2010-04-01/Accounts/{account}/Messages.json"
    return httpx2.post(url, data=form, auth=(account, "fake"), trust_env=False, timeout=PATIENCE)


def test_what_becomes_of_mails_is_told_signed_and_in_order(provider: Running, listener: Listener) -> None:
    expected = {
        "amina@shop.example": ["processed", "delivered", "machine_opened", "opened"],
        "bounce@shop.example": ["processed", "bounced"],
        "full@shop.example": ["processed", "deferred", "bounced"],
        "drop-1@shop.example": ["processed", "dropped"],
        "spam@shop.example": ["processed", "delivered", "complained"],
        "unsubscribe@shop.example": ["processed", "delivered", "unsubscribed"],
    }
    for number, address in enumerate(expected):
        mail(provider, address, f"{number}-1")
    eventually(lambda: len(listener.mails(provider)) >= sum(map(len, expected.values())))
    for number, kinds in enumerate(expected.values()):
        assert [one.kind for one in listener.mails(provider) if one.ref == f"{number}-1"] == kinds


def test_webhooks_are_lost_doubled_and_told_again_as_it_is_said(provider: Running, listener: Listener) -> None:
    change(provider.directory, lost=1.0)
    mail(provider, "bounce@shop.example", "1-1")
    change(provider.directory, lost=0.0, twice=1.0)
    mail(provider, "bounce@shop.example", "2-1")
    eventually(lambda: len(listener.mails(provider)) == 4)
    assert {one.ref for one in listener.mails(provider)} == {"2-1"}
    change(provider.directory, twice=0.0)
    listener.statuses += [503, 503]
    mail(provider, "bounce@shop.example", "3-1")
    eventually(lambda: [one.ref for one in listener.mails(provider)].count("3-1") == 4)


def test_twilios_messages_are_answered_as_documented(provider: Running, listener: Listener) -> None:
    told = text(provider, listener)
    assert (told.status_code, told.json()["status"], told.json()["to"]) == (201, "queued", TO)
    assert told.json()["sid"].startswith("SM") and len(told.json()["sid"]) == 34
    for given, code in (({"To": "0712"}, 21211), ({"Body": ""}, 21602), ({"Body": "x" * 1601}, 21617)):
        refused = text(provider, listener, **given)
        assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert text(provider, listener, "ACother").status_code == 401
    change(provider.directory, mode="429")
    assert text(provider, listener).headers["Retry-After"] == "7"
    assert [form["To"] for form in taken(provider.directory, "twilio")] == [TO]


def test_what_becomes_of_texts_is_told_signed(provider: Running, listener: Listener) -> None:
    text(provider, listener)
    eventually(
        lambda: [one.kind for one in listener.texts() if isinstance(one, Returned)] == ["processed", "delivered"]
    )
    text(provider, listener, To="+254712340000")
    eventually(lambda: len(listener.texts()) == 4)
    assert [one.detail for one in listener.texts() if isinstance(one, Returned) and one.kind == "bounced"] == [
        {"code": "30005"}
    ]
    text(provider, listener, To="+254712347867")
    eventually(lambda: any(isinstance(one, Reply) and one.text == "STOP" for one in listener.texts()))


def test_a_slow_answer_is_an_answer(provider: Running) -> None:
    change(provider.directory, mode="slow")
    with httpx2.Client(base_url=provider.url, trust_env=False, timeout=PATIENCE) as client:
        body = {"personalizations": [{"to": [{"email": "amina@shop.example"}]}], "from": {"email": "d@duka.example"}}
        body |= {"subject": "x", "content": [{"type": "text/plain", "value": "x"}]}
        told = client.post("/v3/mail/send", json=body, headers={"Authorization": "Bearer SG.fake"})
    assert (told.status_code, told.headers["X-Message-Id"]) == (202, "sg-1")


def test_its_ledger_goes_on_where_it_ended(tmp_path: Path) -> None:
    for number in range(3):
        ledger = Ledger(tmp_path)
        assert ledger.take("sendgrid", {"n": number}) == number + 1
        ledger.close()
    assert taken(tmp_path, "sendgrid") == [{"n": 0}, {"n": 1}, {"n": 2}] and taken(tmp_path, "twilio") == []


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000/x", True),
        ("http://localhost/x", True),
        ("http://[::1]:8000/x", True),
        ("https://shop.example/x", False),
        ("http://127.0.0.1.shop.example/x", False),
        ("http://10.0.0.1/x", False),
        ("http://user@shop.example#@127.0.0.1/", False),
    ],
)
def test_it_calls_back_to_this_machine_only(url: str, here: bool) -> None:
    assert local(url) == here
    if not here:
        with pytest.raises(ValueError, match="this machine"):
            Behaviour(hook=url)


@pytest.mark.parametrize("wrong", [{"mode": "maybe"}, {"lost": 2}, {"opens": -1}])
def test_what_it_can_not_do_is_told(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Behaviour(**wrong)  # type: ignore[arg-type]
