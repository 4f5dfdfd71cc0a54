"""`POST /v1/events`: one event, a list, or a stream of lines; the answer when they are durable.

    application/json      one event or a list                          all of it in one transaction
    application/x-ndjson  an event a line, any number up to LINES      a thousand lines a transaction

`Idempotency-Key` names a request: the events in it that have no key of their own get `<key>:<place>`, and the
database's unique key decides, so nothing is forgotten; beside it only the length of a whole stream is remembered. The
same body again answers the same; another body with the key is refused with 409, and nothing of it is taken. (The draft
would answer 422 there; here 409 is what a key with another content always gets.)

Idempotency-Key: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.store.failures import DatabaseError
from engine.web import bodies, streams
from engine.web.accepting import accept
from engine.web.answers import answer
from engine.web.headers import header
from engine.web.intake import Full, Intake, Reused, Verdict
from engine.web.intake import Request as Taking
from engine.web.reading import MOST_EVENTS, Fault, Lines, Posted, Unreadable, read

T = TypeVar("T")

LARGEST_BODY = 2 * 1024 * 1024
SMALL_BODY = 8 * 1024
"""Up to so many bytes a body is read at once; a larger one in a thread, so that nobody waits for it."""

BYTES = 100
"""Of an event in a body, about."""

LARGEST_STREAM = 4 * 1024 * 1024 * 1024
LINES = 10_000_000
TOLD = 100
"""Errors and warnings that the answer to a stream tells; the others are counted."""

LINE_TYPES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
PATIENCE = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Seconds between the tries of a stream while the queue is full: it can wait where a request can't."""

KEY_PATTERN = r'''{0}|"{0}"'''.format(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,148}[!#-\[\]-~])?")
"""A key of a request: up to 150 printable ASCII characters but quote and backslash, quoted as the draft writes it, or
bare as many clients send it."""

_KEY = re.compile(KEY_PATTERN)

FULL = "too many events are waiting"
NOT_KEPT = "the events could not be kept"
REUSED = "this Idempotency-Key came with another body before; nothing of this one was taken"


async def take(request: Request, intake: Intake, app: App, *, page: bool = False) -> Response:
    """Take what was posted, and say what became of it. `page`: with a browser key. Raises HTTPException."""
    key = idempotency_key(header(request, b"idempotency-key"))
    if (header(request, b"content-type") or "").partition(";")[0].strip().lower() in LINE_TYPES:
        if page:
            raise HTTPException(403, "a browser key may not send a stream: it needs a key that is kept secret")
        return await _Stream(request, intake, app, key).take()
    if intake.full():
        return _full()
    body = await bodies.whole(request, LARGEST_BODY)
    now = app.clock.now()
    try:
        if len(body) <= SMALL_BODY:  # at once: nobody takes the room meanwhile
            posted = read(body, app.door, now, key, page=page)
        else:
            with intake.reading(min(MOST_EVENTS, len(body) // BYTES)):
                posted = await run_in_threadpool(read, body, app.door, now, key, page=page)
    except Full:
        return _full()
    except Unreadable as why:
        return answer(400, {"error": str(why)})
    try:
        verdicts = await _submit(intake, posted, None if key is None else f"{key}:{posted.count}")
    except Full:
        return _full()
    except Reused:
        return answer(409, {"error": REUSED})
    except Exception:
        told = {"error": f"{NOT_KEPT}; nothing of this request was taken, send it again"}
        return answer(503, told, {"Retry-After": "5"})
    counts = Counts()
    counts.add(posted, verdicts)
    said: dict[str, Any] = {"accepted": counts.accepted, "duplicates": counts.duplicates}
    if counts.faults:
        said["errors"] = [one.plain() for one in counts.faults]
    if posted.warnings:
        said["warnings"] = [one.plain() for one in posted.warnings]
    return answer(counts.status(), said)


def _full() -> Response:
    return answer(429, {"error": f"{FULL}; nothing of this request was taken, send it again"}, {"Retry-After": "2"})


def idempotency_key(header: str | None) -> str | None:
    """The key of a request. Raises HTTPException."""
    if header is None:
        return None
    if _KEY.fullmatch(header) is None:
        raise HTTPException(400, "Idempotency-Key is 1 to 150 printable ASCII characters, without quotes in it")
    return header.strip('"')


async def _submit(intake: Intake, posted: Posted, unless: str | None = None) -> list[Verdict]:
    """The verdicts on the posted events, once they are durable."""
    if not posted.events:
        return []
    places = {index: place for place, (index, _) in enumerate(posted.events)}
    dated, named = _at(places, posted.dated), _at(places, posted.named)
    whos = {places[index]: who for index, who in posted.whos.items() if index in places}
    events = [incoming for _, incoming in posted.events]
    found = await accept(intake, Taking(events, dated, named, unless), whos)
    # An event that this request's own key names has come with this request before: the answer is the same again.
    return ["accepted" if place in named else verdict for place, verdict in enumerate(found)] if named else found


def _at(places: Mapping[int, int], indexes: set[int]) -> frozenset[int]:
    return frozenset(places[index] for index in indexes if index in places)


@dataclass
class Counts:
    """What became of the events of a request."""

    count: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    faults: list[Fault] = field(default_factory=list)

    def add(self, posted: Posted, verdicts: Sequence[Verdict]) -> None:
        self.count += posted.count
        self.accepted += verdicts.count("accepted")
        self.duplicates += verdicts.count("duplicate")
        faults = list(posted.faults)
        for (index, _), verdict in zip(posted.events, verdicts, strict=True):
            if verdict == "conflict":
                self.conflicts += 1
                hint = "a key names one event for ever"
                faults.append(Fault(index, "key", "another event has this key", hint))
        self.faults += sorted(faults, key=lambda one: one.index)

    def status(self) -> int:
        if self.accepted or self.duplicates:
            return 202
        return 409 if self.conflicts == self.count else 422


@dataclass
class _Stream:
    """Lines of a body, a batch after the other: each is durable before the next one is read. `length`: the lines of the
    whole stream that came with this key before."""

    request: Request
    intake: Intake
    app: App
    key: str | None
    durable: int = 0
    length: int | None = None
    counts: Counts = field(default_factory=Counts)
    warnings: list[Fault] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=lambda: {"errors": 0, "warnings": 0})

    async def take(self) -> Response:
        lines = Lines(self.app.door, self.app.clock.now, self.key, LINES)
        try:
            if self.key is not None:
                self.length = await _done(self._length, self.key)
            async for piece in bodies.pieces(self.request, LARGEST_STREAM):
                for posted in await run_in_threadpool(lines.feed, piece):
                    await self._batch(posted, lines)
            for posted in await run_in_threadpool(lines.end):
                await self._batch(posted, lines)
            if self.key is not None:
                await self._end(self.key, lines.number)
        except HTTPException as broken:
            return self._stopped(broken.status_code, str(broken.detail), dict(broken.headers or {}))
        except Unreadable as why:
            return self._stopped(413, str(why))
        except Full:
            return self._stopped(429, f"{FULL}; send the rest again", {"Retry-After": "2"})
        except Reused:
            return self._stopped(409, "this Idempotency-Key came with another body before")
        except _NotKept:
            return self._stopped(503, f"{NOT_KEPT}; send the rest again", {"Retry-After": "5"})
        if not lines.number:
            return answer(400, {"error": "the body is empty"})
        return answer(self.counts.status(), {"lines": lines.number, **self._plain()})

    def _length(self, key: str) -> int | None:
        with self.app.database.read() as connection:
            return streams.length(connection, key)

    async def _end(self, key: str, lines: int) -> None:
        """Raises Reused if the stream with this key had another length."""
        if self.length is None and (self.counts.accepted or self.counts.duplicates):
            database = self.app.database
            await _done(database.written, lambda connection: streams.ended(connection, key, lines))
            self.length = await _done(self._length, key)
        if self.length not in (None, lines):
            raise Reused

    async def _batch(self, posted: Posted, lines: Lines) -> None:
        if self.length is not None and posted.last > self.length:
            raise Reused
        for pause in (*PATIENCE, None):
            try:
                verdicts = await _submit(self.intake, posted)
                break
            except Full:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            except Reused:
                raise
            except Exception:
                raise _NotKept from None
        self.counts.add(posted, verdicts)
        self.durable = posted.last
        self._keep("errors", self.counts.faults)
        self.warnings += posted.warnings
        self._keep("warnings", self.warnings)

    def _keep(self, what: str, faults: list[Fault]) -> None:
        self.left_out[what] += max(0, len(faults) - TOLD)
        del faults[TOLD:]

    def _stopped(self, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
        """It ended in the middle: lines 1 to `durable_lines` are dealt with, and of the others nothing was taken."""
        return answer(status, {"error": why, "durable_lines": self.durable, **self._plain()}, headers)

    def _plain(self) -> dict[str, Any]:
        found: dict[str, Any] = {"accepted": self.counts.accepted, "duplicates": self.counts.duplicates}
        for what, faults in (("errors", self.counts.faults), ("warnings", self.warnings)):
            if faults:
                found[what] = [one.plain("line") for one in faults]
            if self.left_out[what]:
                found[f"{what}_left_out"] = self.left_out[what]
        return found


async def _done(does: Callable[..., T], *given: Any) -> T:
    """What it gives, from a thread. Raises _NotKept."""
    try:
        return await run_in_threadpool(does, *given)
    except DatabaseError:
        raise _NotKept from None


class _NotKept(Exception):
    """A batch of a stream could not be written, and nothing of it was taken; or how long the stream is."""
