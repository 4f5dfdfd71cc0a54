"""A channel that takes messages one by one gets no more of them at the same time than it says."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from engine.channels.base import Accepted, Limits, Outgoing, Result
from engine.store.database import Database
from tests.channels.conftest import outgoing
from tests.engine.shop import START, Shop, Sink


class Narrow(Sink):
    """Says how many it takes at once, and remembers how many it was given."""

    limits: ClassVar[Limits] = Limits(at_once=2)

    def __init__(self) -> None:
        super().__init__()
        self.inside = self.most = 0

    def send(self, message: Outgoing) -> Result:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.02)
        with self._lock:
            self.inside -= 1
        return super().send(message)


def test_no_more_are_handed_over_at_once_than_the_channel_takes(database: Database, tmp_path: Path) -> None:
    shop, narrow = Shop.of(tmp_path, database, {}, publish=False), Narrow()
    post = replace(shop.runtime.post, channels={"email": narrow})
    wave = [outgoing(ref=f"msg-{n}", at=START) for n in range(12)]
    assert post.send_all(wave, shop.clock, START) == [Accepted("sink")] * 12
    assert narrow.most == 2 and len(narrow.sent) == 12
