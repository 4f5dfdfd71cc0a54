"""An engine that dies when it is told to. Run as a script with the project's directory as its argument.

It imports everything once; then each line of its input, `RUN FIRST EVENTS DEATH`, is one life of an engine, in a
process of its own that is forked from it: it takes up what the last one left, takes in the events numbered from FIRST to
before EVENTS, and does what is due. At its DEATH-th boundary it kills itself with SIGKILL; boundaries are each statement,
each commit (before and after), and each message (before it is handed over, and before its answer is looked at). DEATH 0:
it lives. The answer is a line of JSON: `died`, whether it said that the events were `taken`, and of one that lived how
many `boundaries` it passed and the seconds that `recovery` took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

import engine.store.migrate  # noqa: F401  - a life would import it anew, which takes half of one
from engine.app import App
from engine.channels.base import Fresh, Outgoing, Result, Settle
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.runtime.calls import Caller
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
APART = timedelta(minutes=6)
"""Between one life and the next: longer than a claim, so that the leases of the dead have run out."""


class Boundaries:
    """Counts them, and dies at one."""

    def __init__(self, death: int) -> None:
        self.passed, self._death, self._lock = 0, death, threading.Lock()

    def __call__(self, *_: Any) -> None:
        with self._lock:
            self.passed += 1
            if self.passed == self._death:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        event.listen(Engine, "before_cursor_execute", self)
        event.listen(Engine, "commit", self)
        event.listen(Pool, "checkin", self)


class Watched(SendGrid):
    """The real channel, with a boundary on each side of the wire."""

    boundary: Boundaries

    def send_many(self, messages: Sequence[Outgoing], fresh: Fresh, settle: Settle) -> None:
        def may_leave() -> bool:
            self.boundary()
            return fresh()

        def settled(at: int, result: Result) -> None:
            self.boundary()
            settle(at, result)

        super().send_many(messages, may_leave, settled)


class WatchedCaller:
    """The real caller, with a boundary on each side of the wire."""

    def __init__(self, caller: Caller, boundary: Boundaries) -> None:
        self._caller, self._boundary = caller, boundary

    def send(self, message: Outgoing) -> Result:
        self._boundary()
        result = self._caller.send(message)
        self._boundary()
        return result


def customer(number: int) -> Profile:
    name = f"c{number}"
    columns = {"first_name": name, "email": f"{name}@shop.example", "email_hash": f"hash-{name}", "country": "KE"}
    return Profile(columns=columns, consents=(Consented("email", "offers"),))


def live(app: App, run: int, events: range, boundary: Boundaries, taken: Callable[[], object]) -> float:
    """One life. The seconds it took to take up what the last one left."""
    now = START + run * APART
    app.clock = VirtualClock(now)
    key = app.settings.value_of("sendgrid_api_key")
    url = app.settings.value_of("sendgrid_base_url")
    assert key and url
    channel = Watched(key, url, SendGridOptions(timeout=1, share=3))
    channel.boundary = boundary
    app.__dict__["channels"] = {"email": channel}
    app.__dict__["caller"] = WatchedCaller(app.caller, boundary)
    runtime = app.runtime
    boundary.watch()
    begun = time.monotonic()
    runtime.recover()
    recovery = time.monotonic() - begun
    batch = [
        Incoming(f"c{n}", name, f"{name}-{n}", now, {"total": n}, customer(n))
        for n in events
        for name in ("purchase", "shipped")
    ]
    runtime.ingest(batch)
    taken()
    runtime.tick()
    runtime.advance()
    return recovery


def answer(app: App, run: int, events: range, death: int) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        boundary = Boundaries(death)
        recovery = live(app, run, events, boundary, lambda: os.write(writing, b"taken\n"))
        os.write(writing, json.dumps({"boundaries": boundary.passed, "recovery": recovery}).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        taken, _, told = pipe.read().partition(b"\n")
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not died and os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"life {run} failed")
    return {"died": died, "taken": bool(taken)} | (json.loads(told) if told else {})


def main() -> None:
    app = App.of(Path(sys.argv[1]))
    for template in (
        "email/hello",
        "email/again",
        "email/receipt",
    ):  # what needs no database is made once for all lives
        app.renderer.needs(template)
    print("ready", flush=True)
    for line in sys.stdin:
        run, first, events, death = map(int, line.split())
        print(json.dumps(answer(app, run, range(first, events), death)), flush=True)


if __name__ == "__main__":
    main()
