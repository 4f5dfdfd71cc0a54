"""A SendGrid to talk to, and messages to send."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.channels.base import Outgoing, Sender
from engine.fake.behaviour import change
from engine.fake.child import running
from engine.fake.ledger import FILE, taken

AT = datetime(2026, 4, 1, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Words:
    """What a message says; the same attributes a rendered one has."""

    subject: str = ""
    html: str = ""
    text: str = ""
    title: str = ""
    body: str = ""
    url: str = ""
    template_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


MAIL = Words(subject="Karibu, Ամինա", html="<p>Habari, <b>Amina</b> – café</p>", text="Habari, Amina – café\n")
SMS = Words(text="Karibu, Amina")
PUSH = Words(title="Karibu", body="Look around", url="https://duka.example/shop")


def outgoing(**changes: Any) -> Outgoing:
    """A mail to Amina, but for the changes."""
    given: dict[str, Any] = {
        "ref": "msg-0000000001",
        "channel": "email",
        "to": "amina@shop.example",
        "to_name": "Amina",
        "content": MAIL,
        "sender": Sender("Duka", "hello@duka.example"),
        "at": AT,
        "topic": "offers",
        "unsubscribe_url": "https://mail.duka.example/u/token",
    }
    return Outgoing(**(given | changes))


@dataclass(frozen=True)
class FakeProvider:
    """A running fake: where it listens, and its ledger."""

    port: int
    ledger: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mode(self, name: str) -> None:
        Path(f"{self.ledger}.mode").write_text(name)

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


class FakeSendGrid(FakeProvider):
    """The one that `karibu up --provider fake` starts."""

    def mode(self, name: str) -> None:
        change(self.ledger.parent, mode=name)

    def taken(self) -> list[dict[str, Any]]:
        return taken(self.ledger.parent, "sendgrid")


def body(taken: dict[str, Any]) -> bytes:
    """The body of a request that the fake of fake_http.py has taken."""
    return base64.b64decode(taken["body"])


@contextmanager
def fake(name: str, folder: Path, *given: str) -> Iterator[FakeProvider]:
    """The fake of that file, in a process of its own, with its ledger in a folder."""
    if name == "sendgrid":
        with fake_sendgrid(folder) as provider:
            yield provider
        return
    ledger = folder / f"{name}.jsonl"
    script = Path(__file__).parent / f"{name}.py"
    process = subprocess.Popen([sys.executable, str(script), str(ledger), *given], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield FakeProvider(int(process.stdout.readline()), ledger)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def fake_sendgrid(folder: Path) -> Iterator[FakeSendGrid]:
    """The fake SendGrid, in a process of its own, with its ledger in a folder."""
    with running(folder / "provider") as provider:
        change(provider.directory, sendgrid_key="SG.test")
        yield FakeSendGrid(int(provider.url.rpartition(":")[2]), provider.directory / FILE)


@pytest.fixture
def sendgrid(tmp_path: Path) -> Iterator[FakeSendGrid]:
    with fake_sendgrid(tmp_path) as running:
        yield running
