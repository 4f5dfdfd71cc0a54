"""A SendGrid to talk to, and messages to send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
class FakeSendGrid:
    """A running fake: where it listens, and its ledger."""

    url: str
    ledger: Path

    def mode(self, name: str) -> None:
        change(self.ledger.parent, mode=name)

    def taken(self) -> list[dict[str, Any]]:
        return taken(self.ledger.parent, "sendgrid")


@contextmanager
def fake_sendgrid(folder: Path) -> Iterator[FakeSendGrid]:
    """The fake SendGrid, in a process of its own, with its ledger in a folder."""
    with running(folder / "provider") as provider:
        change(provider.directory, sendgrid_key="SG.test")
        yield FakeSendGrid(provider.url, provider.directory / FILE)


@pytest.fixture
def sendgrid(tmp_path: Path) -> Iterator[FakeSendGrid]:
    with fake_sendgrid(tmp_path) as running:
        yield running
