"""A lock whose waiters are served in the order they came.

`threading.Lock` makes no such promise: a thread that writes chunk after chunk takes it again before a waiting one wakes
up, and an event at the door then waits until the whole cohort has moved.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from types import TracebackType


class Turns:
    """First come, first served. Not re-entrant; the holder may hand over from another thread."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._waiting: deque[Lock] = deque()
        self._taken = False

    def __enter__(self) -> Turns:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return self
            ticket = Lock()
            ticket.acquire()
            self._waiting.append(ticket)
        try:
            ticket.acquire()
        except BaseException:  # Ctrl-C while waiting: leave the queue, or pass on a turn that came in that very moment
            with self._mutex:
                still_waiting = ticket in self._waiting
                if still_waiting:
                    self._waiting.remove(ticket)
            if not still_waiting:
                self._next()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next()

    def _next(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
