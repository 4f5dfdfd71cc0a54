"""How many messages leave together.

A message leaves on what the gate said of it a moment before. So messages leave in waves: each wave is asked about, then
marked as leaving, in one transaction, and what hasn't begun to leave `FRESH` later is asked about again. A wave grows
while waves are over quickly, so that a fast channel is not held up by commits, and shrinks when they are not."""

from __future__ import annotations

from datetime import timedelta

FRESH = timedelta(milliseconds=500)
"""For so long it is good enough what the gate has said of a message: an opt-out, an exit and a stop count within it."""

SOON = timedelta(milliseconds=100)


FIRST, MOST = 8, 1_000


class Waves:
    """The size of the next wave, by how the last ones went. It is kept from delivery to delivery."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, messages: int, time: timedelta) -> None:
        """The last wave had so many messages, and was out after so long."""
        if time > 2 * SOON:
            self.size = max(self.size // 2, 1)
        elif messages >= self.size and time < SOON:
            self.size = min(self.size * 2, MOST)
