"""What people say while a crowd is being written to counts for every message that has not left yet.

The provider's ledger says when it took a message, by its own clock; the machine's clock is the same for all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import select

from engine.app import App
from engine.fake.behaviour import Behaviour
from engine.fake.child import running
from engine.fake.ledger import FILE, timed
from engine.runtime import pausing
from engine.runtime.clock import SystemClock
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile, Writer
from engine.settings import Settings
from engine.store.database import Database
from engine.store.merges import facts_stay
from engine.store.tables import customer
from tests.crash.test_provider import FILES, person
from tests.patience import eventually

PEOPLE, AT_ONCE = 10_000, 50
SOON = 0.5
"""Seconds before a message leaves within which the gate was asked last."""
JOURNEY = "journey: news-email\ntopic: offers\nenter: {event: purchase}\nsteps: [{send: email/news}]\n"


@dataclass
class Crowd:
    """Everybody's message is in the queue. `begin` starts to send, in a thread."""

    app: App
    directory: Path
    failed: list[Exception]

    def begin(self) -> Thread:
        def send() -> None:
            try:
                self.app.runtime.advance()
            except Exception as error:  # told where the test looks
                self.failed.append(error)

        thread = Thread(target=send)
        thread.start()
        return thread

    def taken(self) -> dict[str, float]:
        """When the provider took whose mail."""
        return {
            person_["to"][0]["email"].partition("@")[0]: at
            for at, mail in timed(self.directory, "sendgrid")
            for person_ in mail["personalizations"]
        }

    def left(self, requests: int) -> None:
        """Wait until so many requests have left."""
        file = self.directory / FILE
        eventually(lambda: file.exists() and file.read_bytes().count(b"\n") >= requests)


@pytest.fixture
def crowd(
    database: Database, project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Crowd]:
    files = {name: text for name, text in FILES.items() if not name.startswith("workflows/") or "project" in name}
    files["workflows/project.yaml"] = files["workflows/project.yaml"].replace("share: 3", "share: 20")
    root, directory = project(files | {"workflows/news-email.yaml": JOURNEY}), tmp_path / "provider"
    with ExitStack() as up:
        provider = up.enter_context(running(directory))
        Behaviour(lost=1, opens=0, machines=0, pace=0).write(directory)
        environment: dict[str, str] = {}
        provider.settings(environment)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        app = App(Settings.of(root), SystemClock())
        app.__dict__["database"] = database
        app.runtime.publish()
        now = app.clock.now()
        app.runtime.ingest([Incoming(f"c{n}", "purchase", f"p{n}", now, {}, person(n)) for n in range(PEOPLE)])
        yield Crowd(app, directory, [])
        for channel in app.channels.values():
            channel.close()


@pytest.mark.slow
def test_nothing_leaves_after_a_no_of_ten_thousand(crowd: Crowd) -> None:
    """Everybody says no, the last first, while the first are written to."""
    sending = crowd.begin()
    crowd.left(2)
    said: dict[str, float] = {}
    database = crowd.app.database
    with database.read() as connection:
        ids: dict[str, int] = dict(connection.execute(select(customer.c.external_id, customer.c.id)).all())
    for last in range(PEOPLE, 0, -AT_ONCE):
        those = [f"c{n}" for n in range(last - AT_ONCE, last)]
        with database.write() as connection:
            facts_stay(connection)
            now = crowd.app.clock.now()
            writer = Writer(connection, now)
            for who in those:
                writer.apply(ids[who], Profile(consents=(Consented("email", "offers", "off", "a test", at=now),)))
            writer.flush()
        said |= dict.fromkeys(those, time.time())
    sending.join()
    assert not crowd.failed
    taken = crowd.taken()
    late = {who: taken[who] - at for who, at in said.items() if who in taken and taken[who] > at + SOON}
    found = {"promise": "an opt-out counts at the next dispatch", "opt_outs": len(said), "sent": len(taken)}
    print(json.dumps(found | {"sent_after": len(late)}))
    assert len(said) == PEOPLE and 0 < len(taken) < PEOPLE, "neither was over before the other began"
    assert late == {}


@pytest.mark.slow
def test_nothing_leaves_a_second_after_a_pause(crowd: Crowd) -> None:
    sending = crowd.begin()
    crowd.left(20)
    with crowd.app.database.write() as connection:
        pausing.pause(connection, pausing.ALL, crowd.app.clock.now(), "a test")
    paused = time.time()
    sending.join()
    Event().wait(1.5)
    taken = crowd.taken()
    late = [at - paused for at in taken.values() if at > paused + 1]
    print(json.dumps({"promise": "stop works", "sent_before": len(taken), "sent_a_second_later": len(late)}))
    assert not crowd.failed and 0 < len(taken) < PEOPLE
    assert late == []
