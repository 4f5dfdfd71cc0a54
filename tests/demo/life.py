"""The demo's eight weeks for a tenth of its customers, looked at once a fortnight: small enough to be lived
several times."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Self

from engine import starter
from engine.app import App
from engine.demo.data import START, Shop
from engine.demo.load import incoming, profiles
from engine.demo.replay import import_history, looks
from engine.runs import Manner
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from tests.demo.part import part
from tests.patience import PATIENCE

LOOKS = looks()[::14]
PATIENT = Manner(linger=None, patience=PATIENCE)
"""Every pass waits for Prefect, however slow it is, so each is in a run."""


@cache
def tenth() -> Shop:
    return part("0")


@dataclass
class Life:
    """One engine over the starter journeys, with the events that will happen and when."""

    app: App
    clock: VirtualClock
    moments: list[datetime]
    events: list[Incoming]

    @classmethod
    def open(cls, database: str, home: Path) -> Self:
        """The history is taken in and the journeys are published, by whoever is first."""
        clock = VirtualClock(START)
        app = App(
            Settings.of(starter.root(), home=home, database_url=database, secret_key="of the tests, no secret"), clock
        )
        shop = tenth()
        if not app.runtime.programs():
            import_history(app, shop, lambda count: None)
            app.runtime.publish()
        coming = list(incoming(shop.replay, app.door, profiles(shop.arriving, app.door)))
        return cls(app, clock, [at for at, _ in coming], [event for _, event in coming])

    def comes(self, look: int) -> None:
        """What has happened since the look before is taken in, and the clock is looked at."""
        self.clock.advance_to(LOOKS[look])
        lower, upper = (bisect_right(self.moments, LOOKS[n]) for n in (look - 1, look))
        self.app.runtime.ingest(self.events[lower:upper])
        failed = self.app.runtime.tick().failed
        assert not failed, failed

    def due(self) -> list[str]:
        """The journeys that have something to do."""
        return sorted({work.journey for work in self.app.runtime.work()})

    def named(self, journey: str) -> str:
        """What a run of now is called."""
        return f"{journey} {self.clock.now():%Y-%m-%d}"
