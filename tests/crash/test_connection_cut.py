"""The connection to PostgreSQL is lost in the middle of anything: what comes of it is what comes of a quiet day."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from engine.app import App
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.store.database import Database, DatabaseError
from tests.channels.conftest import fake_sendgrid
from tests.conftest import Postgres
from tests.crash.ledger import judged, messages, sent
from tests.crash.wire import Where, wire
from tests.engine.following import MOMENTS, FileClock, Outcome, moment, opened, prepare, undisturbed

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SEED = 20261126
APART = 500
"""Messages to the server from one cut to the next, at most."""
ENDED = "backend ended"
WAYS = (*get_args(Where), ENDED)


@dataclass
class Trouble:
    """What befalls the connections of an engine that is at `url`."""

    url: str
    cuts: Counter[str]
    arm: Callable[[bool], None]


@dataclass
class Ending:
    """Somebody ends what PostgreSQL does for the engine, every few milliseconds, wherever it is."""

    url: str
    seed: int
    cuts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._armed, self._over, self._at_it = threading.Event(), threading.Event(), threading.Lock()

    def arm(self, on: bool) -> None:
        with self._at_it:  # disarmed, nothing is ended any more
            self._armed.set() if on else self._armed.clear()

    def stop(self) -> None:
        self._over.set()
        self._armed.set()

    def work(self) -> None:
        chance, address = random.Random(self.seed), make_url(self.url)
        engine = create_engine(address.set(drivername="postgresql+psycopg", database="postgres"))
        end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND state <> 'idle'")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while self._armed.wait() and not self._over.is_set():
                time.sleep(chance.uniform(0.02, 0.4))
                with self._at_it:
                    if self._armed.is_set():
                        self.cuts["ended"] += len(connection.execute(end, {"name": address.database}).all())
        engine.dispose()


@contextmanager
def troubled(url: str, way: str, seed: int) -> Iterator[Trouble]:
    if way == ENDED:
        ending = Ending(url, seed)
        thread = threading.Thread(target=ending.work)
        thread.start()
        try:
            yield Trouble(url, ending.cuts, ending.arm)
        finally:
            ending.stop()
            thread.join()
        return
    with wire(url, way, seed, APART) as cable:  # type: ignore[arg-type]  # the others are Where's
        yield Trouble(cable.url, cable.cuts, lambda on: setattr(cable, "armed", on))


def lives(root: Path, app: App, trouble: Trouble, *, alone: bool) -> None:
    """An engine through all moments; after each failure it goes on with what it has in mind, from that moment's start,
    as a shop sends again what wasn't answered."""
    clock = FileClock(root / "clock")
    trouble.arm(True)
    for n, now in enumerate(MOMENTS):
        clock.set(now)
        while True:
            try:
                if not app.runtime.recover(alone=alone)["failed"]:
                    moment(app.runtime, root, n, 1)
                    break
            except DatabaseError:
                continue
    trouble.arm(False)


@pytest.fixture(scope="module")
def quiet(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What comes of the same days when nobody cuts anything."""
    return undisturbed(tmp_path_factory.mktemp("cuts") / "quiet", postgres.create(), SEED)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_is_cut_again_and_again_leaves_no_half_step(
    way: str, quiet: Outcome, postgres: Postgres, tmp_path: Path
) -> None:
    url, root = postgres.create(), tmp_path / "cut"
    prepare(root, url, SEED)
    began = time.monotonic()
    with troubled(url, way, SEED) as trouble:
        app = opened(root, trouble.url)
        lives(root, app, trouble, alone=True)
        app.close()
    database = Database(url)
    found = Outcome.of(database)
    database.dispose()
    told = {"promise": "a lost database connection", "way": way, "cuts": dict(trouble.cuts), "rows": found.size}
    differences = quiet.differs(found)
    print(json.dumps(told | {"differences": len(differences), "seed": SEED, "s": round(time.monotonic() - began, 1)}))
    assert differences == {} and trouble.cuts.total() > 20


@pytest.mark.parametrize("way", WAYS)
def test_messages_whose_connection_was_cut_are_sent_once_or_in_doubt(
    way: str, postgres: Postgres, tmp_path: Path
) -> None:
    url, root = postgres.create(), tmp_path / "cut"
    prepare(root, url, SEED)
    with fake_sendgrid(tmp_path) as provider, troubled(url, way, SEED) as trouble:
        app = opened(root, trouble.url)
        channel = SendGrid("SG.test", provider.url, SendGridOptions(timeout=30, share=3))
        app.__dict__["channels"] = {"email": channel}
        lives(root, app, trouble, alone=False)
        FileClock(root / "clock").set(MOMENTS[-1] + timedelta(minutes=6))  # the last claims have run out
        app.runtime.recover()
        app.runtime.advance()
        app.close()
        channel.close()
        ledger = sent(provider.ledger.parent)
    database = Database(url)
    rows = messages(database)
    database.dispose()
    verdict = judged(rows, ledger)
    told = {"promise": "a lost database connection", "way": way, "cuts": dict(trouble.cuts), "sent": ledger.total()}
    told |= {"duplicates": len(verdict.duplicates), "lost": len(verdict.lost), "states": dict(verdict.states)}
    print(json.dumps(told))
    assert verdict.duplicates == [] and verdict.lost == [] and len(rows) > 100
    assert trouble.cuts.total() > 20
