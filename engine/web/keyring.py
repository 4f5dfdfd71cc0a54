"""The live keys as they were a moment ago, so that a request costs no look at the database.

All of them are read at once: a shop has a handful, and then somebody who tries keys at random costs no look either.
What was read counts for HELD seconds, so a revoked key is dead within one second in every process, whoever revoked it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from engine.runtime import keys
from engine.runtime.keys import Key
from engine.store.database import Database, DatabaseError

log = logging.getLogger("karibu.web")

HELD = 0.5
"""Seconds for which what was read counts: with the way there and back it stays below the second that is promised."""


class KeysAway(Exception):
    """The keys can't be read now, so nobody knows who this is."""


@dataclass(frozen=True)
class _Seen:
    """`at`: when the reading began, for what was written later may be missing. No keys: they could not be read."""

    at: float
    keys: Mapping[str, Key] | None


class Keyring:
    """`seconds` is a clock that never goes back."""

    def __init__(self, database: Database, seconds: Callable[[], float]) -> None:
        self._database = database
        self._seconds = seconds
        self._seen: _Seen | None = None
        self._reader = ThreadPoolExecutor(1, "karibu-keys")
        self._mutex = threading.Lock()
        self._reading: Future[None] | None = None

    async def live(self) -> Mapping[str, Key]:
        """The live keys by prefix, none of it older than HELD. Raises KeysAway; that is remembered as long, so that a
        database which is away isn't asked by everybody."""
        oldest = self._seconds() - HELD
        while (seen := self._seen) is None or seen.at < oldest:
            # One reads for all who wait; one who gives up waiting doesn't take it from the others.
            await asyncio.shield(asyncio.wrap_future(self._look()))
        if seen.keys is None:
            raise KeysAway
        return seen.keys

    def _look(self) -> Future[None]:
        with self._mutex:
            if self._reading is None or self._reading.done():
                self._reading = self._reader.submit(self._read)
            return self._reading

    def _read(self) -> None:
        at = self._seconds()
        try:
            with self._database.read() as connection:
                self._seen = _Seen(at, keys.live(connection))
        except DatabaseError as error:
            log.error("the API keys can't be read: %s", type(error).__name__)
            self._seen = _Seen(at, None)
