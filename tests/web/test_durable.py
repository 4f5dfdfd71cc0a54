"""What was answered 202 is there: after kill -9, with a full disk, and under more than it can take."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from engine.store.tables import event, tally
from tests.depth import times
from tests.patience import PATIENCE, eventually
from tests.promises import figures
from tests.scenarios.shop import PROJECT
from tests.sources.samples import SECRET, sample
from tests.web.asking import basic
from tests.web.conftest import KEY, Service, Start

pytestmark = pytest.mark.slow

SEED = 20261125
BATCH = 500
CALLS = 100
SENDERS = 4
HOW_MANY = int(os.environ.get("KARIBU_TEST_EVENTS") or times(5000))
"""Events that must have been accepted before the killing ends: `make crash-ingest` wants 100,000."""

LIFE = 0.2
"""The share of them that one life of the service takes in, at most."""


def closed(key: str, n: int) -> dict[str, Any]:
    return {"event": "closed", "customer": f"c{n % 997}", "key": key}


class Sender(threading.Thread):
    """Posts batches with keys of their own until told to stop; sends again what was not taken. `accepted` are the keys
    of batches that were."""

    batch = BATCH

    def __init__(self, name: str, where: Callable[[], str], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.label, self.where, self.stop_ = name, where, stop
        self.accepted: list[str] = []
        self.unanswered = 0
        self.statuses: set[int] = set()

    def run(self) -> None:
        numbers = count()
        while not self.stop_.is_set():
            keys = [self.key(next(numbers)) for _ in range(self.batch)]
            path, headers, body = self.request(keys)
            while not self.stop_.is_set():
                try:
                    answer = httpx2.post(
                        f"{self.where()}{path}", content=body, headers=headers, timeout=PATIENCE, trust_env=False
                    )
                except httpx2.HTTPError:
                    self.unanswered += 1
                    time.sleep(0.05)
                    continue
                self.statuses.add(answer.status_code)
                if answer.is_success:
                    self.agrees(answer)
                    self.accepted += keys
                    break
                time.sleep(0.05)

    def key(self, n: int) -> str:
        return f"{self.label}-{n}"

    def request(self, keys: list[str]) -> tuple[str, dict[str, str], bytes]:
        body = json.dumps([closed(key, n) for n, key in enumerate(keys)]).encode()
        return "/v1/events", {"X-API-Key": KEY}, body

    def agrees(self, answer: httpx2.Response) -> None:
        found = answer.json()
        assert answer.status_code == 202
        assert found["accepted"] + found["duplicates"] == self.batch and "errors" not in found


class Tracker(Sender):
    """An SDK of the tracking API."""

    batch = CALLS

    def request(self, keys: list[str]) -> tuple[str, dict[str, str], bytes]:
        calls = [
            {"type": "track", "userId": f"c{n % 997}", "event": "closed", "messageId": k} for n, k in enumerate(keys)
        ]
        return "/v1/batch", basic(KEY), json.dumps({"batch": calls}).encode()

    def agrees(self, answer: httpx2.Response) -> None:
        assert (answer.status_code, answer.json()) == (200, {"success": True})


class Hook(Sender):
    """A shop that tells of its orders, one at a time."""

    batch = 1
    sample = sample("shopify")

    def key(self, n: int) -> str:
        return f"{self.sample.headers['X-Shopify-Topic']}:{n}"

    def request(self, keys: list[str]) -> tuple[str, dict[str, str], bytes]:
        (key,) = keys
        body = json.dumps(self.sample.payload | {"id": int(key.rpartition(":")[2])}).encode()
        return "/hooks/shopify", self.sample.signed(body, datetime.now(UTC)), body

    def agrees(self, answer: httpx2.Response) -> None:
        found = answer.json()
        assert answer.status_code == 202 and found["accepted"] + found["duplicates"] == 1 and "kept" not in found


def accepted(senders: list[Sender]) -> int:
    return sum(len(sender.accepted) for sender in senders)


def goes_on(senders: list[Sender], more: int = 0) -> None:
    """Wait until more than so many more have been accepted."""
    before = accepted(senders)
    eventually(lambda: accepted(senders) > before + more)


def each_goes_on(senders: list[Sender]) -> None:
    """Wait until more has been accepted of each."""
    for sender in senders:
        goes_on([sender])


def kept(service: Service) -> set[str]:
    """The keys in the database; the counts must be theirs, whatever happened."""
    app = service.app()
    with app.database.read() as connection:
        found = set(connection.scalars(select(event.c.key)))
        assert connection.scalar(select(func.sum(tally.c.count))) == len(found)
    app.close()
    return found


@pytest.mark.parametrize("kind", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def test_kill_9_during_ingest_loses_nothing_that_was_accepted(
    start: Start, kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)
    chance = random.Random(SEED)
    kills = 0
    service = start(url)
    address = [service.url]
    stop = threading.Event()
    senders = [Sender(f"s{n}", lambda: address[0], stop) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    while kills < 3 or accepted(senders) < HOW_MANY:
        assert all(sender.is_alive() for sender in senders)
        goes_on(senders, chance.randrange(int(LIFE * HOW_MANY)))
        time.sleep(chance.uniform(0.0, 0.8))
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        kills += 1
        service = start(url, publish=False)
        address[0] = service.url
    stop.set()
    for sender in senders:
        sender.join()
    told = {key for sender in senders for key in sender.accepted}
    lost = told - kept(service)
    broken = sum(sender.unanswered for sender in senders)
    figures(
        "what was answered 202 is there",
        database=kind.removesuffix("_url"),
        kills=kills,
        accepted=len(told),
        unanswered=broken,
        lost=len(lost),
        seed=SEED,
    )
    assert broken and not lost
    assert service.stop() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(where)], capture_output=True)
    if mount.returncode != 0:
        pytest.skip("a file system can't be mounted here (it needs root)")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_is_told_and_no_false_promise_and_it_recovers_by_itself(
    start: Start, small_disk: Path, sqlite_url: str, project: Callable[..., Path]
) -> None:
    project({"workflows/project.yaml": PROJECT.replace("memory", "maildir") + "sources: {shopify: {}}\n"})
    database = small_disk / "karibu.db"
    database.write_bytes(Path(sqlite_url.removeprefix("sqlite:///")).read_bytes())
    service = start(f"sqlite:///{database}", KARIBU_SHOPIFY_SECRET=SECRET)
    ballast = small_disk / "ballast"
    stop = threading.Event()
    senders = [kind(kind.__name__, lambda: service.url, stop) for kind in (Sender, Tracker, Hook)]
    for sender in senders:
        sender.start()
    full = 0
    for _ in range(3):
        each_goes_on(senders)
        fill(ballast)
        for sender in senders:
            sender.statuses.clear()
        eventually(lambda: all(503 in sender.statuses for sender in senders))
        full += 1
        ballast.unlink()
        each_goes_on(senders)
    stop.set()
    for sender in senders:
        sender.join()
    there = kept(service)
    false = {sender.label: len(set(sender.accepted) - there) for sender in senders}
    figures(
        "a full disk is told",
        times=full,
        accepted={sender.label: len(sender.accepted) for sender in senders},
        false_acknowledgements=sum(false.values()),
    )
    assert not any(false.values()), false
    assert service.process.poll() is None
    assert service.post(closed("after", 1)).json() == {"accepted": 1, "duplicates": 0}


def fill(ballast: Path) -> None:
    """Take all the room that is left, to the last byte."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1024 * 1024, 64 * 1024, 4096, 1):
            block = b"\0" * size
            try:
                while file.write(block):
                    pass
            except OSError:
                continue
