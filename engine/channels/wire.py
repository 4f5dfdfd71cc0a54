"""An event loop in a thread of its own, for the channels that keep many requests under way at once.

Whoever sends waits for the whole wave, so the loop has the processor to itself: threads that send one message each
would take it from one another at every answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Wire:
    """Runs coroutines for whatever thread asks; it is started by the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result()

    def close(self) -> None:
        """End the loop and its thread. May be called twice, and before anything ran."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def running(self) -> bool:
        """Whether anything has run, so that there may be something to let go of."""
        return self._loop is not None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="karibu-wire", daemon=True)
                self._thread.start()
            return self._loop
