"""The resident runs of journeys, from the inside: everything here happens on one loop.

A lane is one journey: its wakes, and its run. A visit is one run, from the side that asks it for passes. The office is
what the lanes share. A run lives while there is work and closes after a while without, or when it has grown old
(docs/decisions/0002).

Customers' messages matter more than the page that shows them: where Prefect doesn't answer within our patience, the
journey moves without it, and later passes are shown again. A step that fails ends its run as failed and is left alone
for a while; the journey's other steps, and other journeys, go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from engine import prefect_server
from engine.cohort.program import Program
from engine.passes import Ask, Outcome, Passes, Place, described
from engine.runtime.runtime import Runtime

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

    from engine.flows import JourneyFlow

log = logging.getLogger("karibu.flows")

T = TypeVar("T")


@dataclass(frozen=True)
class Manner:
    """How runs live; seconds, but for `moves`. `linger`: without work, until a run closes (None: until it is told).
    `age` and `moves`: how old and how long a run may get. `patience`: for Prefect to open a run, before a journey moves
    without it. `away`: between two tries to reach it, doubled up to `away_most`. `hold`: a failed step is left alone,
    doubled up to `hold_most`. `idle`: the same for a step that had work and moved nobody. `turns`: runs are
    opened and closed one after the other, which Prefect on SQLite needs; its requests wait 2 to 30 s for each other's
    locks otherwise."""

    linger: float | None = 30.0
    age: float = 600.0
    moves: int = 500
    patience: float = 2.0
    away: float = 1.0
    away_most: float = 60.0
    hold: float = 5.0
    hold_most: float = 300.0
    idle: float = 1.0
    idle_most: float = 30.0
    turns: bool = True


class Office:
    """What the lanes share: the loop, Prefect's client, and the turn to open or close a run."""

    def __init__(
        self, runtime: Runtime, api_url: str | None, manner: Manner, threads: Executor, *, alone: bool
    ) -> None:
        self.runtime = runtime
        self.manner = manner
        self.threads = threads
        self.loop = asyncio.get_running_loop()
        self.closing = asyncio.Event()
        self.connected = asyncio.Event()
        self.turn: asyncio.Semaphore = asyncio.Semaphore(1 if manner.turns else 1_000)
        self.ending: set[asyncio.Task[None]] = set()
        self._api_url = api_url
        self._alone = alone
        self._client: PrefectClient | None = None
        self._context = contextvars.copy_context()
        self.away = False
        self._away_until = 0.0
        self._away_for = self.manner.away
        self._lanes: dict[str, Lane] = {}
        self._flows: dict[str, JourneyFlow] = {}
        self._looking: asyncio.Task[None] | None = None
        self._again = False

    async def live(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if self._api_url is not None:
                try:
                    await self._reach(self._api_url, stack)
                except Exception as error:
                    log.error("Prefect can't be used (%s); journeys move without it", described(error))
            await self.closing.wait()
            for lane in self._lanes.values():
                await lane.stop()
            if self.ending:
                await asyncio.wait(self.ending, timeout=15)

    async def _reach(self, api_url: str, stack: contextlib.AsyncExitStack) -> None:
        """Have a client of Prefect's; while that takes, journeys move without."""
        prefect_server.quiet(os.environ)
        flows = await self.call(partial(importlib.import_module, "engine.flows"))
        client = await stack.enter_async_context(flows.session(api_url))
        self._context = contextvars.copy_context()  # holds the session: runs are made in copies of it
        while self._alone and not self.closing.is_set():
            try:
                await flows.bury(client)
                break
            except Exception as error:  # our own server, which may still be starting
                self.lost(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), self.manner.away)
        self._client = client
        if self._alone:
            self.found()
        else:
            self.spawn(self._probe(client))
        self.connected.set()

    async def _probe(self, client: PrefectClient) -> None:
        """Find out that nobody is there before the first message waits for it."""
        if (error := await client.api_healthcheck()) is not None:
            self.lost(error)

    def client(self) -> PrefectClient | None:
        """Prefect's client, when it is worth a try."""
        return self._client if self.loop.time() >= self._away_until else None

    def found(self) -> None:
        """Prefect has answered."""
        if self.away:
            log.info("Prefect is there: its page shows the runs")
        self.away = False
        self._away_for, self._away_until = self.manner.away, 0.0

    def lost(self, error: BaseException) -> None:
        """Prefect doesn't answer: leave it alone for a while."""
        if not self.away:
            log.warning("Prefect doesn't answer (%s); journeys move without it", type(error).__name__)
        self.away = True
        self._away_until = self.loop.time() + self._away_for
        self._away_for = min(2 * self._away_for, self.manner.away_most)

    def wake(self, journeys: Iterable[str]) -> None:
        if journeys:
            for journey in journeys:
                self.lane(journey).due.set()
        elif self._looking is None or self._looking.done():
            self._looking = self.loop.create_task(self._look())
        else:
            self._again = True

    async def _look(self) -> None:
        """Wake every journey that has work."""
        while True:
            self._again = False
            try:
                for journey in dict.fromkeys(work.journey for work in await self.call(self.runtime.work)):
                    self.lane(journey).due.set()
            except Exception as error:  # the database is away: the next wake looks again
                log.error("could not look for work: %s", described(error))
            if not self._again:
                return

    def lane(self, journey: str) -> Lane:
        if journey not in self._lanes:
            self._lanes[journey] = Lane(self, journey)
        return self._lanes[journey]

    def compiled(self, program: Program) -> JourneyFlow:
        """The flow of a journey; compiled again when it has a newer version."""
        from engine.flows import JourneyFlow  # imported by _reach

        known = self._flows.get(program.name)
        if known is None or known.program.version_id != program.version_id:
            known = self._flows[program.name] = JourneyFlow(self.runtime, program, self.threads)
        return known

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task inside the session with Prefect."""
        return self.loop.create_task(work, context=self._context.copy())

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return self.loop.run_in_executor(self.threads, function)

    async def advance(self, journey: str, name: str | None) -> Outcome:
        return await self.lane(journey).advance(name)

    async def begin(self, names: Mapping[str, str]) -> None:
        for journey, name in names.items():
            await self.lane(journey).begin(name)

    async def end(self, journeys: Iterable[str]) -> None:
        for journey in journeys or list(self._lanes):
            await self.lane(journey).close()

    async def settle(self) -> None:
        while self.ending:
            await asyncio.wait(self.ending)


class Lane:
    """One journey: its wakes, the run that is open, and the steps that are left alone for now."""

    def __init__(self, office: Office, journey: str) -> None:
        self.office = office
        self.journey = journey
        self.manner = office.manner
        self.passes = Passes(office.runtime, journey, office.threads)
        self.due = asyncio.Event()
        self.visit: Visit | None = None
        self._one = asyncio.Lock()
        self._held: dict[Place, tuple[float, float]] = {}
        self._task = office.loop.create_task(self._live())

    async def _live(self) -> None:
        while True:
            try:
                linger = self.manner.linger if self.visit is not None else None
                await asyncio.wait_for(self.due.wait(), linger)
            except TimeoutError:
                await self.close()
                continue
            self.due.clear()
            try:
                await self.advance()
            except Exception as error:
                log.error("journey %s could not look for its work: %s", self.journey, described(error))
                self._wake_after(self.manner.hold)

    async def advance(self, name: str | None = None) -> Outcome:
        async with self._one:
            held = frozenset(place for place, (until, _) in self._held.items() if until > self.office.loop.time())
            if (due := await self.passes.due(held)) is None:
                return Outcome()
            visit = await self._open(name)
            outcome = await visit.ask(due) if visit is not None else None
            if outcome is None:  # without Prefect, or the run ended under it: what it didn't do is still due
                outcome = await self.passes.until_rest(self.passes.directly, due)
            self._learn(outcome)
            if visit is not None and (outcome.failed or visit.ended or visit.old):
                self._leave()
            return outcome

    async def begin(self, name: str) -> None:
        """Begin to open a run, unless one is open, and don't wait for it."""
        async with self._one:
            await self._visit(name)

    async def close(self) -> None:
        """Close the run that is open, after the pass it is in."""
        async with self._one:
            self._leave()

    async def stop(self) -> None:
        await self.close()
        self._task.cancel()

    async def _open(self, name: str | None) -> Visit | None:
        """The run that is open, or a new one. None: Prefect is away, or takes longer than our patience."""
        visit = await self._visit(name)
        if visit is not None and not visit.awaited:
            # While Prefect is away nobody waits for it: whether it is back is found out beside the passes.
            waits = not self.office.away or self.manner.linger is None
            await visit.wait(self.manner.patience if waits else 0)
        return visit if visit is not None and visit.open else None

    async def _visit(self, name: str | None) -> Visit | None:
        """The visit there is, or a new one, whose run is being opened."""
        if self.visit is not None and self.visit.ended:
            self._leave()
        client = self.office.client() if self.visit is None else None
        if client is not None and (program := await self.office.call(self.passes.newest)) is not None:
            self.visit = Visit(self.office, self.office.compiled(program), client, name or self.passes.run_name())
        return self.visit

    def _leave(self) -> None:
        if self.visit is not None:
            self.visit.leave()
            self.visit = None

    def _learn(self, outcome: Outcome) -> None:
        """Leave alone what failed or could not move, longer each time. Under a driver everything is tried when it says
        so."""
        if self.manner.linger is None:
            return
        for place in outcome.reports:
            self._held.pop(place, None)
        for places, first, most in (
            (outcome.failed, self.manner.hold, self.manner.hold_most),
            (outcome.idle, self.manner.idle, self.manner.idle_most),
        ):
            for place in places:
                delay = min(2 * self._held[place][1], most) if place in self._held else first
                self._held[place] = (self.office.loop.time() + delay, delay)
                self._wake_after(delay)

    def _wake_after(self, seconds: float) -> None:
        if self.manner.linger is not None:
            self.office.loop.call_later(seconds + 0.01, self.due.set)


class Visit:
    """One run, from our side: opens it, asks it for passes, closes it. It is the flow's `Visitor`."""

    def __init__(self, office: Office, compiled: JourneyFlow, client: PrefectClient, name: str) -> None:
        self.office = office
        self.open = False
        self.awaited = False
        self._asks: asyncio.Queue[tuple[Ask, asyncio.Future[Outcome]] | None] = asyncio.Queue()
        self._answer: asyncio.Future[Outcome] | None = None
        self._opened = asyncio.Event()
        self._has_turn = False
        self._since = office.loop.time()
        self._moves = 0
        self._task = office.spawn(self._live(compiled, client, name))
        office.ending.add(self._task)
        self._task.add_done_callback(office.ending.discard)

    @property
    def ended(self) -> bool:
        return self._task.done()

    @property
    def old(self) -> bool:
        manner = self.office.manner
        return self._moves >= manner.moves or self.office.loop.time() - self._since >= manner.age

    async def wait(self, patience: float) -> None:
        """Until the run is open, or won't be, for `patience` seconds at most. Once: after that passes go without it."""
        self.awaited = True
        opened = asyncio.ensure_future(self._opened.wait())
        waiting: list[asyncio.Future[Any]] = [opened, self._task]
        await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if patience and not self.open and not self.ended:
            log.warning("Prefect takes its time to open a run; the journey moves without it")

    async def ask(self, due: Ask) -> Outcome | None:
        """Passes until nothing is due. None: the run ended without an answer."""
        answer: asyncio.Future[Outcome] = self.office.loop.create_future()
        self._asks.put_nowait((due, answer))
        waiting: list[asyncio.Future[Any]] = [answer, self._task]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            return None
        outcome = answer.result()
        self._moves += outcome.moves
        return outcome

    def leave(self) -> None:
        self._asks.put_nowait(None)

    async def _live(self, compiled: JourneyFlow, client: PrefectClient, name: str) -> None:
        try:
            await self._take_turn()
            await compiled.run(client, name, self)
        except Exception as error:
            self.office.lost(error)
        finally:
            self.open = False
            self._end_turn()

    @contextlib.asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        self._end_turn()
        self.open = True
        self._opened.set()
        self.office.found()
        try:
            yield
        finally:
            self.open = False
            await self._take_turn()

    async def asks(self) -> AsyncIterator[Ask | None]:
        while (asked := await self._asks.get()) is not None:
            due, self._answer = asked
            yield due

    def answer(self, outcome: Outcome) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(outcome)

    async def _take_turn(self) -> None:
        await self.office.turn.acquire()
        self._has_turn = True

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.office.turn.release()
