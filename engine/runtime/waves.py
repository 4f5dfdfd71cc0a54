"""How many messages leave together.

A message leaves on what the gate said of it a moment before. So messages leave in waves: each wave is asked about, then
marked as leaving, in one transaction, and what hasn't begun to leave `FRESH` later is asked about again. A wave grows
while waves are over quickly, so that a fast channel is not held up by commits, and shrinks when they are not."""

from __future__ import annotations

from datetime import timedelta

FRESH = timedelta(milliseconds=500)
"""For so long it is good enough what the gate has said of a message: an opt-out, an exit and a stop count within it."""

SOON = timedelta(milliseconds=100)


class Waves:
    """The size of the next wave: `least` at first and at least, so many as can leave at once."""

    def __init__(self, least: int) -> None:
        self._least = least
        self.size = least

    def took(self, time: timedelta) -> None:
        """The last wave was out after so long."""
        if time < SOON:
            self.size *= 2
        elif time > 2 * SOON:
            self.size = max(self.size // 2, self._least)
