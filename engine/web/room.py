"""How many events may wait: as many as will be written soon, so that whoever is let in is answered soon."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 20_000
"""Events that may wait, however fast they are written."""

LEAST = 2_000
"""As many may wait however slowly they are written: two transactions."""

SOON = 2.0
"""Seconds that somebody who is let in should wait, at most."""


@dataclass
class Room:
    """Learns from transactions that were as large as they may be; smaller ones say nothing of what could be done. Not
    for several threads at once."""

    most: int = MOST
    rate: float | None = None
    """Events a second; None: nobody knows yet."""

    def wrote(self, events: int, seconds: float) -> None:
        """A full transaction took so long, from one commit to the next."""
        now = events / max(seconds, 0.001)
        self.rate = now if self.rate is None else (self.rate + now) / 2

    @property
    def events(self) -> int:
        """How many may wait now."""
        if self.rate is None:
            return self.most
        return min(self.most, max(LEAST, int(self.rate * SOON)))
