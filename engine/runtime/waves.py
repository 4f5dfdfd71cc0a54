"""How many messages leave together.

A message leaves on what the gate said of it a moment before. So messages leave in waves: each wave is asked about, then
marked as leaving, in one transaction, and what hasn't begun to leave `FRESH` later is asked about again. A wave grows
while all of it begins in time, so that neither a fast channel nor one that takes many at once is held up by commits,
and shrinks when a part of it came too late, but not below what a channel has under way at once: where each takes long
they would leave one after another."""

from __future__ import annotations

from datetime import timedelta

FRESH = timedelta(milliseconds=500)
"""For so long it is good enough what the gate has said of a message: an opt-out, an exit and a stop count within it."""


FIRST, MOST = 8, 1_000


class Waves:
    """The size of the next wave, by how the last ones went. It is kept from delivery to delivery."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, messages: int, late: int, time: timedelta) -> None:
        """The last wave had so many messages, so many of them came too late, and it was over after so long."""
        if late:
            self.size = max(self.size // 2, FIRST)
        elif messages >= self.size and time < FRESH:
            self.size = min(self.size * 2, MOST)
