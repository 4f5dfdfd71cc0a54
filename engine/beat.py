"""Looks one after another in a thread: at an even beat while they are quick, a short rest apart when they are not.

A scheduler that leaves out the beats which come while a look is under way makes a look that takes a little longer than
the beat half as frequent, so that whoever has just missed one waits for two.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

REST = 0.05
"""Seconds between two looks that take longer than the beat: others want the database's writer, too."""


def rest(took: float, beat: float) -> float:
    """Seconds until the next look, after one that took so long."""
    return max(beat - took, REST)


class Beat:
    """Calls `look`, which raises nothing, every `seconds`, and never twice at once. Start it once, then stop it."""

    def __init__(self, look: Callable[[], object], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="karibu-beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After the look that is under way."""
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        wait = self._seconds
        while not self._over.wait(wait):
            begun = time.monotonic()
            self._look()
            wait = rest(time.monotonic() - begun, self._seconds)
