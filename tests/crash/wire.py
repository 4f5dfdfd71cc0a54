"""The wire between an engine and PostgreSQL, which can be cut at any message: before it has got there, behind it, or
before its answer has come back. Cut at a COMMIT, nobody on this side knows whether it was done.
"""

from __future__ import annotations

import random
import select
import shutil
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sqlalchemy.engine import make_url

Where = Literal["before", "behind", "unanswered"]
"""The message doesn't arrive; it does, and the connection is gone; it does, and is answered to nobody."""

SOCKET = ".s.PGSQL.5432"
LARGEST = 1 << 20


@dataclass
class Wire:
    """A socket before the server's own. While `armed`, it is cut every so often, `apart` messages at most from one to
    the next; every other cut waits for a COMMIT. `cuts`: at what it was cut, and how often."""

    url: str
    server: str
    listening: socket.socket
    where: Where
    chance: random.Random
    apart: int
    armed: bool = False
    cuts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._waits = 0, False
        self._draw()

    def accept(self) -> None:
        with suppress(OSError):  # it is closed at the end
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _draw(self) -> None:
        self._left, self._waits = self.chance.randint(1, self.apart), self.chance.random() < 0.5

    def _cut_at(self, said: bytes) -> bool:
        with self._lock:
            if not self.armed:
                return False
            self._left -= 1
            commit = b"COMMIT" in said
            if self._left > 0 or (self._waits and not commit):
                return False
            self.cuts["commit" if commit else "other"] += 1
            self._draw()
            return True

    def _carry(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server)
        cut = False
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for one in ready:
                    if not (said := one.recv(LARGEST)):
                        return
                    if one is server:
                        if cut:  # this was the answer
                            return
                        client.sendall(said)
                        continue
                    cut = cut or self._cut_at(said)
                    if not cut or self.where != "before":
                        server.sendall(said)
                    if cut and self.where != "unanswered":
                        return


@contextmanager
def wire(url: str, where: Where, seed: int, apart: int) -> Iterator[Wire]:
    """A wire to the server of this address, which is on a socket of this machine."""
    address = make_url(url)
    folder = Path(tempfile.mkdtemp(prefix="karibu-wire-"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / SOCKET))
        listening.listen(64)
        here = address.set(query={"host": str(folder)}).render_as_string(hide_password=False)
        made = Wire(here, f"{address.query['host']}/{SOCKET}", listening, where, random.Random(seed), apart)
        threading.Thread(target=made.accept, daemon=True).start()
        yield made
        listening.shutdown(socket.SHUT_RDWR)
    shutil.rmtree(folder, ignore_errors=True)
