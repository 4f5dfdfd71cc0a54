"""Group commit: events of many requests in one transaction, by one thread.

Each commit costs a disk's promise, so requests that come while one is being written go together with the next. A
request is answered when the commit that holds its events is done; the queue has an end, and who comes then is told to
come again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import Text, bindparam, select

from engine.runtime.identity import Who, known
from engine.runtime.ingest import BATCH, Incoming
from engine.runtime.runtime import CameMeanwhile, Runtime
from engine.store.given import among, listed
from engine.store.tables import event
from engine.web.room import MOST, Room

log = logging.getLogger("karibu.web")

MANY, GATHER = 60, 0.015
"""After a commit of more requests than this, so many seconds until the next one: a commit costs as much as fifty
events, and meanwhile they gather. Fewer come at a thousand a second: nobody waits for others then; nor when a full
transaction waits already."""

ROUNDS = 10
"""Events of one customer in a transaction: each is judged after the one before, which takes as long as a thousand of a
thousand customers. A request with more of them goes in parts, and others go in between."""

SOURCE = "api"
"""Whose keys they are when they come at /v1/events: an import and a shop's own hook may use the same ones."""

Verdict = Literal["accepted", "duplicate", "conflict"]
"""What became of an event. A conflict has the key of another event with another content: nothing of it was taken."""


class Full(Exception):
    """More waits than will be taken soon."""


class Reused(Exception):
    """The request's own key came with another body before. Nothing of this one was taken."""


@dataclass(eq=False)
class Request:
    """Events that belong together; made in a running event loop, which hears the verdicts. `dated` are the places of
    those that say when they happened; `named` of those whose key is made of the request's own: all of them have come
    before, or none. `unless`: a key that a longer body with the same request key would have used."""

    events: Sequence[Incoming]
    dated: frozenset[int] = frozenset()
    named: frozenset[int] = frozenset()
    unless: str | None = None
    verdicts: asyncio.Future[list[Verdict]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def longer(self) -> set[tuple[str, str]]:
        """The source and key that a longer body's event would have."""
        return set() if self.unless is None else {(self.events[0].source, self.unless)}


class Intake:
    """`wake` is told the journeys that have work, after each commit. Start it before the first request."""

    def __init__(self, runtime: Runtime, wake: Callable[..., None], most: int = MOST) -> None:
        self.runtime = runtime
        self.waiting = 0
        self._coming = 0
        self.wake = wake
        self._room = Room(most)
        self._queue: deque[Request] = deque()
        self._parts: deque[Request] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._live, name="karibu-intake", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def full(self) -> bool:
        """Whether even a single event would be told to come again: then nobody need receive what is sent."""
        with self._changed:
            return not self._takes(1)

    @contextmanager
    def reading(self, events: int) -> Iterator[None]:
        """Keeps room for about so many events, while a body that is here is made events of, or something is done that
        takes as long: who would find none then is told at once. Not while a body is on its way: whoever sends slowly
        would keep everybody out. Raises Full."""
        with self._changed:
            if not self._takes(events):
                raise Full
            self._coming += events
        try:
            yield
        finally:
            with self._changed:
                self._coming -= events

    def _takes(self, events: int) -> bool:
        return not self._closing and self.waiting + self._coming + events <= self._room.events

    def close(self, patience: float = 20.0) -> None:
        """Write what waits, and take no more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(patience)

    def submit(self, request: Request) -> asyncio.Future[list[Verdict]]:
        """Takes the request: its verdicts, in order, once they are durable; or Reused. Raises Full."""
        with self._changed:
            if not self._takes(len(request.events)):
                raise Full
            self.waiting += len(request.events)
            return self._enqueue(request)

    def _enqueue(self, request: Request) -> asyncio.Future[list[Verdict]]:
        parts = _parts(request)
        if len(parts) > 1:
            self._parts += [part for part, _ in parts]
        else:
            self._queue.append(request)
        self._changed.notify()
        return request.verdicts if len(parts) == 1 else _joined(request, parts)

    @contextmanager
    def room(self, events: int) -> Iterator[Callable[[Request], asyncio.Future[list[Verdict]]]]:
        """Room in the queue for so many events, kept while something is done that has to come before them. What it
        gives takes the request, as `submit` does. Raises Full."""
        with self._changed:
            if not self._takes(events):
                raise Full
            self.waiting += events
        left = events

        def take(request: Request) -> asyncio.Future[list[Verdict]]:
            nonlocal left
            with self._changed:
                if self._closing:
                    raise Full
                left -= len(request.events)
                return self._enqueue(request)

        try:
            yield take
        finally:
            with self._changed:
                self.waiting -= left

    def contradicts(self, request: Request, whos: Mapping[int, Who]) -> set[int]:
        """The places of events that will be refused, as far as can be told before: another one has their key, or the
        request's own key came with another body. `whos`: all names of their customers, by place."""
        came, _ = self._known(request.events, request.longer)
        if not came:
            return set()
        with self.runtime.database.read() as connection:
            ids = known(connection, {name for who in whos.values() for name in who.names})
        found: list[Verdict] = []
        for place, one in enumerate(request.events):
            names = whos[place].names if place in whos else (one.customer,)
            old = came.get((one.source, one.key))
            if old is None:
                found.append("accepted")
                continue
            meant = (_Known.of(replace(one, customer=name), ids) for name in names)
            same = any(old.same(this, place in request.dated) for this in meant)
            found.append("duplicate" if same else "conflict")
        if request.named and _reused(request, found, came):
            return set(range(len(found)))
        return {place for place, verdict in enumerate(found) if verdict == "conflict"}

    def _live(self) -> None:
        many = part = False
        while True:
            with self._changed:
                while not self._queue and not self._parts and not self._closing:
                    self._changed.wait()
                if not self._queue and not self._parts:
                    return
            if many and self.waiting < BATCH:
                time.sleep(GATHER)
            begun = time.monotonic()
            part = bool(self._parts) and not (part and self._queue)  # in turn with the others
            group, size, left = self._next(self._parts if part else self._queue)
            try:
                self._write(group)
            finally:
                with self._changed:
                    self.waiting -= size
                    if left:
                        self._room.wrote(size, time.monotonic() - begun)
            many = len(group) > MANY

    def _next(self, queue: deque[Request]) -> tuple[list[Request], int, bool]:
        """Who of this queue goes together, how many events that is, and whether others had no place any more. At least
        one waits; a part goes alone."""
        with self._changed:
            group = [queue.popleft()]
            size = len(group[0].events)
            while queue is self._queue and queue and size + len(queue[0].events) <= BATCH:
                group.append(queue.popleft())
                size += len(group[-1].events)
            return group, size, bool(queue)

    def _write(self, group: Sequence[Request]) -> None:
        try:
            verdicts = self._take(group)
        except Exception as error:
            if len(group) > 1:  # whoever is at fault, the others shall not pay for it
                for request in group:
                    self._write([request])
                return
            log.error("events could not be taken: %s", type(error).__name__)
            _tell([(group[0].verdicts, error)])
            return
        told = (Reused() if found is None else found for found in verdicts)
        _tell([(request.verdicts, one) for request, one in zip(group, told, strict=True)])

    def _take(self, group: Sequence[Request]) -> list[list[Verdict] | None]:
        """What becomes of the requests, in order; None of one whose own key came with another body."""
        while True:  # not for ever: each time one more of the keys has come
            verdicts, fresh = self._judged(group)
            if not fresh:
                return verdicts
            try:
                receipt = self.runtime.ingest(fresh, all_new=True)
            except CameMeanwhile:  # another service beside this one took the same key in between
                continue
            if names := self.runtime.names(receipt.wakes):
                self.wake(*names)
            return verdicts

    def _judged(self, group: Sequence[Request]) -> tuple[list[list[Verdict] | None], list[Incoming]]:
        """What becomes of them by what has come until now, and the events that are new."""
        longer = {name for request in group for name in request.longer}
        came, ids = self._known([one for request in group for one in request.events], longer)
        fresh: list[Incoming] = []
        verdicts: list[list[Verdict] | None] = []
        for request in group:
            new: dict[tuple[str, str], _Known] = {}
            mine: list[Incoming] = []
            found: list[Verdict] = []
            for place, one in enumerate(request.events):
                key, this = (one.source, one.key), _Known.of(one, ids)
                old = new.get(key) or came.get(key)
                if old is None:
                    new[key] = this
                    mine.append(one)
                    found.append("accepted")
                else:
                    same = old.same(this, place in request.dated)
                    found.append("duplicate" if same else "conflict")
            if request.named and _reused(request, found, came):
                verdicts.append(None)
                continue
            came |= new
            fresh += mine
            verdicts.append(found)
        return verdicts, fresh

    def _known(
        self, events: Sequence[Incoming], others: set[tuple[str, str]]
    ) -> tuple[dict[tuple[str, str], _Known], dict[str, int]]:
        """What has come before with the source and key of these events, or with other ones; and, if one comes again,
        whose the events are."""
        dialect = self.runtime.database.dialect
        names = {(one.source, one.key) for one in events}
        came: dict[tuple[str, str], _Known] = {}
        with self.runtime.database.read() as connection:
            for source in sorted({source for source, _ in names | others}):
                keys = sorted(key for one, key in names | others if one == source)
                whose = {"source": source, "keys": listed(dialect, keys)}
                found = connection.execute(_came(dialect), whose)
                came |= {(source, key): _Known(*rest) for key, *rest in found}
            again = came or len(names) < len(events)
            ids = known(connection, (one.customer for one in events)) if again else {}
        return came, ids


Part = tuple[Request, list[int]]
"""A part of a request, and the places of its events in it."""


def _parts(request: Request) -> list[Part]:
    """The request in parts, in the order in which its events happened, with at most ROUNDS of one customer each. One
    whose events are all taken or none stays whole."""
    places = range(len(request.events))
    whole = [(request, list(places))]
    if len(places) <= ROUNDS or request.named or request.unless is not None:
        return whole
    counts = Counter(one.customer for one in request.events)
    if max(counts.values()) <= ROUNDS:
        return whole
    parts: list[list[int]] = [[]]
    counts.clear()
    for place in sorted(places, key=lambda place: request.events[place].occurred_at):
        who = request.events[place].customer
        if counts[who] == ROUNDS:
            parts.append([])
            counts.clear()
        counts[who] += 1
        parts[-1].append(place)
    return [(_part(request, mine), mine) for mine in parts]


def _part(request: Request, places: Sequence[int]) -> Request:
    dated = frozenset(at for at, place in enumerate(places) if place in request.dated)
    loop = request.verdicts.get_loop()
    return Request([request.events[place] for place in places], dated, verdicts=loop.create_future())


def _joined(request: Request, parts: Sequence[Part]) -> asyncio.Future[list[Verdict]]:
    """The verdicts of the whole, once all its parts have theirs."""
    told = asyncio.gather(*(part.verdicts for part, _ in parts))

    def join(_: object) -> None:
        if request.verdicts.done():  # whoever asked has gone
            told.cancelled() or told.exception()
        elif told.cancelled():
            request.verdicts.cancel()
        elif (error := told.exception()) is not None:
            request.verdicts.set_exception(error)
        else:
            of = {
                place: one
                for (_, places), found in zip(parts, told.result(), strict=True)
                for place, one in zip(places, found, strict=True)
            }
            request.verdicts.set_result([of[place] for place in range(len(request.events))])

    told.add_done_callback(join)
    return request.verdicts


@cache
def _came(dialect: str) -> Any:
    rows = select(event.c.key, event.c.customer_id, event.c.name, event.c.occurred_at, event.c.properties, event.c.said)
    return rows.where(event.c.source == bindparam("source", type_=Text), among(dialect, event.c.key, "keys"))


Outcome = tuple["asyncio.Future[list[Verdict]]", list[Verdict] | Exception]


def _tell(outcomes: Sequence[Outcome]) -> None:
    """Answer them. Each event loop is woken once for all who wait in it, because to wake it costs as much as to read an
    event."""
    loops: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for one in outcomes:
        loops.setdefault(one[0].get_loop(), []).append(one)
    for loop, mine in loops.items():
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(_settle, mine)


def _settle(outcomes: Sequence[Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():  # whoever asked has gone
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _reused(request: Request, found: Sequence[Verdict], known: Mapping[Any, object]) -> bool:
    """Whether the request's key came with another body: an event of it was another one, or there were more or fewer."""
    before = {found[place] for place in request.named}
    return "conflict" in before or len(before) > 1 or bool(request.longer & known.keys())


@dataclass(frozen=True)
class _Known:
    """An event that has come before. `customer`: their row's id, whatever name it came under; of somebody who is new,
    the name."""

    customer: int | str
    name: str
    occurred_at: datetime
    properties: Mapping[str, Any]
    said: str | None

    @classmethod
    def of(cls, one: Incoming, ids: Mapping[str, int]) -> _Known:
        return cls(ids.get(one.customer, one.customer), one.name, one.occurred_at, one.properties, one.said)

    def same(self, one: _Known, dated: bool) -> bool:
        """Whether it says the same. An event without a time of its own came when it came; what was said of the customer
        with one is compared where both tell."""
        then = self.occurred_at == one.occurred_at or not dated
        alike = None in (self.said, one.said) or self.said == one.said
        mine, theirs = ((it.customer, it.name, it.properties) for it in (self, one))
        return mine == theirs and then and alike
