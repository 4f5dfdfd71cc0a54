"""A real service and a real provider that sends nothing: a welcome goes out, it is told to have been opened, and the
journey goes another way for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from engine.fake.behaviour import Behaviour
from engine.fake.ledger import taken
from engine.store import tables as t
from engine.store.database import Database
from tests.patience import PATIENCE, eventually
from tests.scenarios.shop import FILES, PROJECT
from tests.web.conftest import KEY, NOWHERE

SHOP = PROJECT.replace("memory", "maildir")
LINK = '<a href="https://duka.example/shop?a=1&amp;b=2">Look</a>'
CONTENT = {
    "workflows/welcome.yaml": (
        "journey: welcome\ntopic: offers\nenter: {event: signed_up}\n"
        "steps:\n  - id: hello\n    send: email/a\n"
        '  - wait_for: {event: message_opened, where: event.step == "hello", within: 5d}\n    then: []\n    else: []\n'
        '  - branch:\n      - if: opened("hello")\n        then: [{tag: reads}]\n      - else: [{tag: deaf}]\n'
    ),
    "templates/email/a.mjml": FILES["templates/email/a.mjml"].replace("<a href", LINK + "\n<a href"),
    "workflows/again.yaml": (
        "journey: again\ntopic: transactional\nenter: {event: message_bounced}\nsteps: [{send: email/order}]\n"
    ),
}


@pytest.fixture
def up(project: Callable[..., Path], database: Database) -> Iterator[tuple[Path, str]]:
    """`karibu up --provider fake` as a process, everybody of which opens and clicks at once: its directory and url."""
    root = project({"workflows/project.yaml": SHOP, **FILES, **CONTENT})
    directory = root / ".karibu/fake-provider"
    directory.mkdir(parents=True)
    Behaviour(opens=1, clicks=1, machines=1, twice=0.5, pace=0.1).write(directory)
    environment = {
        **os.environ,
        "KARIBU_ROOT": str(root),
        "KARIBU_DATABASE_URL": database.url.render_as_string(hide_password=False),
        "KARIBU_API_KEY": KEY,
        "KARIBU_PREFECT_API_URL": NOWHERE,
        "KARIBU_PORT": "0",
    }
    subprocess.run([sys.executable, "-m", "engine.cli", "publish"], env=environment, check=True, capture_output=True)
    log = root / "up.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "engine.cli", "up", "--provider", "fake"]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, text=True)
    try:
        eventually(lambda: "It takes events" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        url = next(line for line in log.read_text().splitlines() if "listens on" in line).split()[-1]
        eventually(lambda: _answers(url))
        yield root, url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.slow
def test_a_welcome_is_sent_opened_and_answered_by_the_journey_and_a_bounce_ends_the_address(
    up: tuple[Path, str], database: Database
) -> None:
    root, url = up
    with httpx2.Client(base_url=url, headers={"X-API-Key": KEY}, trust_env=False, timeout=PATIENCE) as client:
        for who, address in (("amina", "amina@shop.example"), ("baraka", "bounce@shop.example")):
            customer = {"id": who, "email": address, "consent": ["email/offers"]}
            event = {"event": "signed_up", "customer": customer, "key": who}
            assert client.post("/v1/events", json=event).status_code == 202

    def rows(*columns: Any) -> list[tuple[Any, ...]]:
        with database.read() as connection:
            return sorted((tuple(row) for row in connection.execute(select(*columns))), key=repr)

    eventually(lambda: [tag for (tag,) in rows(t.customer_tag.c.tag)] == ["reads"], every=0.2)
    eventually(lambda: [reason for (reason,) in rows(t.suppression.c.reason)] == ["bounced"], every=0.2)
    kinds = {"processed", "delivered", "opened", "machine_opened", "clicked", "bounced"}
    eventually(lambda: {kind for (kind,) in rows(t.message_event.c.kind)} == kinds, every=0.2)
    # The journey that the bounce lets in would write to the same address, and is stopped.
    eventually(lambda: "suppressed" in [reason for (reason,) in rows(t.decision.c.reason) if reason], every=0.2)
    mails = taken(root / ".karibu/fake-provider", "sendgrid")
    sent = [person["to"][0]["email"] for mail in mails for person in mail["personalizations"]]
    assert sorted(sent) == ["amina@shop.example", "bounce@shop.example"]
    clicked = [row["url"] for name, row in rows(t.event.c.name, t.event.c.properties) if name == "message_clicked"]
    assert clicked == ["https://duka.example/shop?a=1&b=2"]
