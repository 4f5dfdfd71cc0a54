"""Breakers: a channel whose provider does not take messages is left alone for a while.

Else an outage would use up the attempts of everything in the queue, and a provider that answers nothing at all would
bring every message in doubt. Each engine has its own: it is a courtesy, and no promise depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from engine.channels.base import Accepted, Refused, Result

TRIPS = 5
"""So many messages in a row that the provider does not take are no fault of the messages."""
FIRST, LONGEST = timedelta(seconds=30), timedelta(minutes=10)


@dataclass
class _Trouble:
    """`failed` in a row; left alone until `until`, and for so long."""

    failed: int = 0
    until: datetime | None = None
    pause: timedelta = timedelta()


class Breakers:
    """One for each channel. Safe to use from several threads."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._lock = Lock()

    def heard(self, channel: str, result: Result, now: datetime) -> None:
        """Take note of what a provider said of one message."""
        with self._lock:
            trouble = self._troubles.setdefault(channel, _Trouble())
            if isinstance(result, Accepted) or (isinstance(result, Refused) and result.retry_after is None):
                self._troubles[channel] = _Trouble()  # it answers: what it refuses for good is the message's own fault
                return
            trouble.failed += 1
            if trouble.failed < TRIPS or (trouble.until is not None and now < trouble.until):
                return
            asked = result.retry_after or timedelta() if isinstance(result, Refused) else timedelta()
            trouble.pause = min(max(trouble.pause * 2, FIRST), LONGEST)
            trouble.until = now + max(trouble.pause, asked)

    def open(self, now: datetime) -> frozenset[str]:
        """The channels that are left alone now."""
        with self._lock:
            return frozenset(
                name for name, trouble in self._troubles.items() if trouble.until is not None and now < trouble.until
            )

    def doubted(self, channel: str) -> bool:
        """Whether a channel has been left alone and has taken nothing since: one message is to try it."""
        with self._lock:
            return channel in self._troubles and self._troubles[channel].until is not None


def wait(result: Refused, attempts: int, chance: float) -> timedelta:
    """How long a message waits after its so-manieth attempt: at least what the provider asks for, doubled from attempt
    to attempt, and spread, so that they don't all come back at once. `chance`: 0 to 1."""
    assert isinstance(result.retry_after, timedelta)
    longer = min(FIRST * (1 << (attempts - 1)), timedelta(hours=1))
    return max(result.retry_after, longer) * (1 + chance / 4)
