"""A backup is put back that is a few minutes old: what went out since then is not sent again before a person has looked."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.engine import make_url

from engine import worker
from engine.app import App
from engine.runtime.clock import VirtualClock
from engine.runtime.fence import AT_WORK, Memory
from engine.runtime.pausing import ALL, pauses, resume
from engine.settings import Settings
from engine.store.database import Database
from tests.engine.shop import START, Shop

JOURNEY = (
    "enter: {event: purchase, again: always}\nsteps:\n  - send: email/hello\n  - wait: 2m\n  - send: email/again\n"
)
PEOPLE = 40
MINUTE = timedelta(minutes=1)

Snapshot = Callable[[], Database]


@pytest.fixture
def snapshot(database: Database, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Snapshot]:
    """Makes a copy of the database as it is."""
    made: list[Database] = []

    def copied() -> Database:
        database.dispose()
        if database.dialect == "sqlite":
            there = tmp_path / "backup.db"
            with closing(sqlite3.connect(tmp_path / "karibu.db")) as here, closing(sqlite3.connect(there)) as copy:
                here.backup(copy)
            url = f"sqlite:///{there}"
        else:
            name = make_url(request.getfixturevalue("postgres_url")).database
            url = request.getfixturevalue("postgres").create(template=str(name))
        made.append(Database(url))
        return made[-1]

    yield copied
    for one in made:
        one.dispose()


@pytest.mark.parametrize("remembers", [True, False], ids=["this machine was at work", "another machine was at work"])
def test_a_backup_that_is_minutes_old_sends_nothing_until_a_person_has_looked(
    database: Database, snapshot: Snapshot, tmp_path: Path, remembers: bool
) -> None:
    memory = Memory(tmp_path / "at-work") if remembers else Memory()
    shop = Shop.of(tmp_path / "shop", database, {"j": JOURNEY})
    for n in range(PEOPLE):
        shop.happens(f"c{n}", "purchase")
    shop.settle()
    assert shop.runtime.awake(starting=True, memory=memory) is None
    backup = snapshot()
    shop.later(minutes=3)  # the second message goes out, which the backup doesn't know
    shop.runtime.awake(memory=memory)
    sent = len(shop.sink.sent)
    assert sent == 2 * PEOPLE
    restored = shop.beside(backup)
    shop.clock.advance_to(shop.clock.now() + MINUTE)
    since = restored.runtime.awake(starting=True, memory=memory)
    restored.settle()
    after = len(shop.sink.sent) - sent
    if not remembers:  # what the file is for: nothing else tells a young backup from a short stop
        assert since is None and after == PEOPLE
        return
    assert since == shop.clock.now() - 4 * MINUTE
    with backup.read() as connection:
        assert "what was sent in between may be sent again" in pauses(connection)[ALL].why
    twice = sum(count > 1 for count in Counter(one.ref for one in shop.sink.sent).values())
    print(
        json.dumps({"promise": "a restored old database doesn't send", "sent_nobody_approved": after, "twice": twice})
    )
    assert after == twice == 0
    assert restored.runtime.awake(starting=True, memory=memory) is None  # told once
    with backup.write() as connection:
        assert resume(connection, ALL)
    restored.settle()
    assert len(shop.sink.sent) == sent + PEOPLE  # a person has looked, and wants it


def test_a_backup_that_is_put_back_under_a_running_engine_stops_it(
    database: Database, snapshot: Snapshot, tmp_path: Path
) -> None:
    memory = Memory(tmp_path / AT_WORK)
    shop = Shop.of(tmp_path / "shop", database, {"j": JOURNEY})
    shop.happens("amina", "purchase")
    shop.settle()
    shop.runtime.awake(starting=True, memory=memory)
    backup = snapshot()
    shop.later(minutes=3)
    shop.runtime.awake(memory=memory)
    restored = shop.beside(backup)
    assert restored.runtime.awake(memory=memory) is not None  # it beats on, over another file
    restored.settle()
    assert len(shop.sink.sent) == 2


def test_a_worker_over_an_old_database_sends_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.of(tmp_path / "shop", database, {"j": JOURNEY})
    shop.happens("amina", "purchase")
    shop.settle()
    shop.runtime.awake()
    shop.clock.advance_to(shop.clock.now() + timedelta(days=1))
    app = SimpleNamespace(runtime=shop.runtime, settings=Settings.of(tmp_path / "shop"))
    monkeypatch.setattr(App, "of", lambda: app)
    worker._app.__wrapped__()
    shop.settle()
    assert len(shop.sink.sent) == 1


def test_an_engine_whose_clock_is_behind_makes_no_backup_of_the_database(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path / "shop", database, {"j": JOURNEY})
    shop.happens("amina", "purchase")
    ahead, behind = Memory(tmp_path / "ahead"), Memory(tmp_path / "behind")
    now = shop.clock.now()
    shop.clock.advance_to(now + MINUTE)
    shop.runtime.awake(memory=ahead)
    late = shop.beside(database)
    late.runtime.clock = VirtualClock(now)
    late.runtime.awake(memory=behind)
    assert late.runtime.awake(starting=True, memory=behind) is None
    assert shop.runtime.awake(starting=True, memory=ahead) is None


def test_a_file_that_can_not_be_read_or_written_remembers_nothing(tmp_path: Path) -> None:
    (tmp_path / "at-work").write_text("not JSON")
    for file in (tmp_path / "at-work", tmp_path / "nowhere" / "at-work"):
        assert Memory(file).last("x") is None
    Memory(tmp_path / "nowhere" / "at-work").keep("x", START)
    Memory(tmp_path / "at-work").keep("x", START)
    assert Memory(tmp_path / "at-work").last("x") == START
