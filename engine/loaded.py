"""What is loaded stays until the end, so Python's collector needn't look at it.

The collector stops every thread while it looks at what there is: a million objects of Prefect, SQLAlchemy and the
journeys, a tenth of a second each time, and half a second on a loaded machine. While events come it does so every few
seconds, and whoever sends one then waits for it.
"""

from __future__ import annotations

import gc
import sys

YOUNG = 5_000
"""New objects that make the collector look, instead of 700: a few hundred requests that wait for their commit are no
garbage, and to look at them again and again took a twentieth of an event's time."""


class Loaded:
    """Not for several threads at once."""

    def __init__(self) -> None:
        self._seen = 0
        self._settled = 0

    def settle(self) -> bool:
        """Leave what there is out of further looks, if modules have come since the last time and none since the last
        call: some are loaded late, in threads. Asked again and again; true when it was done."""
        before, self._seen = self._seen, len(sys.modules)
        if self._seen != before or self._seen == self._settled:
            return False
        gc.collect()  # what is garbage now would stay for ever
        gc.freeze()
        gc.set_threshold(YOUNG)
        self._settled = self._seen
        return True
