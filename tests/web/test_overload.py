"""More than it can take: what is accepted is kept, the others are told when to come again, and then it is as before.

The disk stands still while they come, so that any machine has too much to do. `make bench-overload` is the long form:
ten times what the machine takes, for five minutes, with figures.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from engine.web.room import MOST
from tests.patience import eventually
from tests.promises import figures
from tests.web.conftest import KEY, Service, Start
from tests.web.test_durable import closed, kept

pytestmark = pytest.mark.slow

BATCH = 500
SENDERS = 2 * MOST // BATCH


class Sender(threading.Thread):
    """Posts one batch after the other until told to stop, and remembers what it was told, and after how long."""

    def __init__(self, name: str, service: Service, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.label, self.url, self.stop = name, service.url, stop
        self.answers: Counter[int] = Counter()
        self.accepted: list[str] = []
        self.waited: list[float] = []
        self.untold = 0

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=self.url, headers=headers, timeout=300, trust_env=False) as client:
            n = 0
            while not self.stop.is_set():
                keys = [f"{self.label}-{n}-{k}" for k in range(BATCH)]
                begun = time.monotonic()
                answer = client.post("/v1/events", json=[closed(key, k) for k, key in enumerate(keys)])
                self.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    assert answer.json() == {"accepted": BATCH, "duplicates": 0}
                    self.accepted += keys
                    self.waited.append(time.monotonic() - begun)
                elif answer.status_code == 429:
                    self.untold += not answer.headers.get("retry-after", "").isdecimal()
                    self.stop.wait(0.5)
                n += 1


def total(senders: list[Sender]) -> Counter[int]:
    return sum((sender.answers for sender in senders), Counter())


def test_under_more_than_it_can_take_nothing_accepted_is_lost_and_the_rest_is_told_to_come_again(
    start: Start, sqlite_url: str
) -> None:
    service = start(sqlite_url)
    stop = threading.Event()
    senders = [Sender(f"s{n}", service, stop) for n in range(SENDERS)]
    stalled = sqlite3.connect(Path(sqlite_url.removeprefix("sqlite:///")), isolation_level=None)
    stalled.execute("BEGIN IMMEDIATE")
    for sender in senders:
        sender.start()
    eventually(lambda: total(senders)[429] > 0)  # the engine waits for 30 seconds
    waiting = service.client().get("/v1/status").json()["events_waiting"]
    before = total(senders)[202]
    stalled.execute("ROLLBACK")
    stalled.close()
    eventually(lambda: total(senders)[202] > before + SENDERS // 2)
    stop.set()
    for sender in senders:
        sender.join(120)
    assert not any(sender.is_alive() for sender in senders)

    accepted = {key for sender in senders for key in sender.accepted}
    lost = len(accepted - kept(service))
    answers = total(senders)
    waited = sorted(took for sender in senders for took in sender.waited)
    figures(
        "under more than it can take nothing accepted is lost",
        answers=dict(answers),
        waiting=waiting,
        accepted=len(accepted),
        accepted_p50_s=round(waited[len(waited) // 2], 2),
        accepted_p99_s=round(waited[len(waited) * 99 // 100], 2),
        lost=lost,
    )
    assert lost == 0
    assert waiting <= MOST
    assert set(answers) == {202, 429} and not any(sender.untold for sender in senders)
    assert service.post(closed("after", 1)).json() == {"accepted": 1, "duplicates": 0}
