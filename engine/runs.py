"""The runs of journeys in the engine's own process: one resident Prefect run a journey, for as long as there is work.

    with JourneyRuns(runtime, server.api_url) as runs:
        runs.wake("welcome")                # somebody may be due: returns at once

Wakes that come while a pass is under way become one (group commit). How runs live and what happens without Prefect:
engine/lanes.py. The loop has a thread of its own, so that Prefect's signal handlers and waits are nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from types import TracebackType
from typing import Any, TypeVar

from engine.lanes import Manner, Office
from engine.passes import Outcome
from engine.runtime.runtime import Runtime

__all__ = ["JourneyRuns", "Manner"]

T = TypeVar("T")


class JourneyRuns:
    """Open it around an engine's life. `api_url` is Prefect's API; without it journeys move, and nobody sees it.
    `alone`: no other engine uses this Prefect server, so what it still shows as running is dead. Every method may be
    called from any thread."""

    def __init__(
        self, runtime: Runtime, api_url: str | None = None, manner: Manner | None = None, *, alone: bool = False
    ) -> None:
        self.runtime = runtime
        self.api_url = api_url
        self.manner = manner or Manner()
        self.alone = alone
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="karibu-step")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def __enter__(self) -> JourneyRuns:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> JourneyRuns:
        """Take wakes from now on. Doesn't wait for Prefect, which may come later."""
        started: Future[Office] = Future()

        async def live() -> None:
            office = Office(self.runtime, self.api_url, self.manner, self._threads, alone=self.alone)
            started.set_result(office)
            await office.live()

        self._thread = Thread(target=lambda: asyncio.run(live()), name="karibu-runs", daemon=True)
        self._thread.start()
        self._office = started.result()
        self._loop = self._office.loop
        return self

    def close(self, patience: float = 20.0) -> None:
        """Close every run, after the pass it is in. What takes longer than `patience` seconds is left to the next
        engine."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._office.closing.set)
        self._thread.join(patience)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._thread = None

    def connected(self, patience: float) -> bool:
        """Whether Prefect is there, or comes within `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            return self._ask(asyncio.wait_for(self._office.connected.wait(), patience))
        return False

    def wake(self, *journeys: str) -> None:
        """Somebody may be due in these journeys; in any of them, when none is named. Returns at once."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: the next engine finds what is due
                self._loop.call_soon_threadsafe(self._office.wake, journeys)

    def advance(self, journey: str, name: str | None = None) -> Outcome:
        """Make the passes of a journey until nothing is due, and wait for it; in the run that is open, or in a new one
        of this name. For drivers with a clock of their own. A journey without work opens no run."""
        return self._ask(self._office.advance(journey, name))

    def begin(self, names: Mapping[str, str]) -> None:
        """Begin to open runs of these journeys (journey to name), in the background: an `advance` then finds its run
        open while others still moved. For drivers that know who has work."""
        self._ask(self._office.begin(names))

    def end(self, *journeys: str) -> None:
        """Close the runs of these journeys (all, when none is named), in the background."""
        self._ask(self._office.end(journeys))

    def settle(self) -> None:
        """Wait until no run is opening or closing."""
        self._ask(self._office.settle())

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            raise RuntimeError("start the runs first")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
