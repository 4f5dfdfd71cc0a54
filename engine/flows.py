"""A journey as a Prefect flow: one task a step, named by its id, in graph order, drawn with its edges.

The flow only wakes work (law 1): what is due, and where it goes, stands in the engine's database, so a run that dies
anywhere costs nothing but its picture. A run makes passes until nothing is due. In the engine's own process it stays
open while there is work and takes cohort after cohort, as a `Visitor` asks it to (engine/runs.py); on a worker nobody
asks, and it ends when nothing is due.

Prefect sees names of journeys and steps, and numbers. Never a customer: not in parameters, names, artifacts, logs or
errors.

This is one of the three files that import prefect; import it late, it takes 2 to 5 seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, cast
from uuid import UUID, uuid4

import orjson
from httpx import Response
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, FlowRunCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, RunInput, State, StateType, TaskRunResult
from prefect.context import AsyncClientContext, FlowRunContext, SyncClientContext
from prefect.events.worker import EventsWorker
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import AsyncFlowRunEngine
from prefect.settings import temporary_settings
from prefect.states import Completed, Crashed, Failed, Running, to_state_create
from prefect.task_engine import run_task_async
from sqlalchemy import select

from engine.cohort.program import Program
from engine.passes import Ask, Outcome, Passes, Place, StepFailed, reasons, told, told_of
from engine.runtime.advance import Shard, StepReport
from engine.runtime.runtime import Runtime
from engine.store.tables import journey_version

RETRY_AFTER = [0.5, 2.0]
"""Seconds before a failed step is tried again in its run. After that the run fails."""

ENTRYPOINTS = "engine.worker"
"""Where a Prefect worker finds the flow of a journey: a module with an attribute for each."""

MARK = "karibu"
"""The tag of every run of ours."""

MEETINGS = 100
"""Times a request is repeated soon when Prefect's database was busy."""

DRAIN = 10.0
"""Seconds for telling Prefect of the last task runs before we leave."""


class Visitor(Protocol):
    """Who asks a run for passes."""

    def present(self) -> AbstractAsyncContextManager[None]:
        """Around the passes: entering tells that the run is open; leaving waits for a turn to close it."""

    def asks(self) -> AsyncIterator[Ask | None]:
        """Each ask is for passes until nothing is due (None: of whatever is due). The run ends with the asks."""

    def answer(self, outcome: Outcome) -> None:
        """What became of the last ask."""


class JourneyFlow:
    """A journey, compiled. `flow` is the Prefect flow of `program`, its newest version; customers on older versions
    move in the same runs, by the tasks of their own version."""

    def __init__(self, runtime: Runtime, program: Program, threads: Executor | None = None) -> None:
        self.program = program
        self.passes = Passes(runtime, program.name, threads)
        self._visitors: dict[str, Visitor] = {}
        self._tasks: dict[Place, Task[..., Any]] = {}
        self._version = _version(runtime, program)
        self._flow_id: UUID | None = None
        self.flow: Flow[..., Any] = _flow(self._body, program, self._version)

    async def run(self, client: PrefectClient, name: str, visitor: Visitor) -> State[Any]:
        """One run in this process, for a visitor. Returns its last state; raises what Prefect's API raises."""
        token = uuid4().hex
        parameters = {"journey": self.program.name, "version": self.program.number, "run": token}
        self._visitors[token] = visitor
        try:
            engine = _Engine(flow=self.flow, parameters=parameters)
            engine.opened = await self._opened(client, name, parameters, tags(self.program))
            async with engine.start():
                while engine.is_running():
                    async with engine.run_context():
                        _ = await engine.call_flow_fn()
            state = engine.state
            assert isinstance(state, State)
            return state
        finally:
            self._visitors.pop(token, None)

    async def _opened(self, client: PrefectClient, name: str, parameters: dict[str, Any], tags: list[str]) -> FlowRun:
        """A run that Prefect shows as running: in one request, the first time in two."""
        if self._flow_id is None:
            self._flow_id = await client.create_flow_from_name(self.program.name)
        request = FlowRunCreate(
            flow_id=self._flow_id,
            flow_version=self._version,
            name=name,
            parameters=parameters,
            tags=tags,
            state=to_state_create(Running()),
            empirical_policy=FlowRunPolicy(retries=0, retry_delay=0),
        )
        try:
            answer = await client.request(
                "POST", "/flow_runs/", json=request.model_dump(mode="json", exclude_unset=True)
            )
        except Exception:
            self._flow_id = None  # another server may have come in its place
            raise
        return FlowRun.model_validate(answer.json())

    async def _body(self, journey: str, version: int = 0, run: str = "", part: int = 0, of: int = 1) -> State[Any]:
        visitor = self._visitors.pop(run, None) or _Nobody()
        done = Outcome()
        drawn = _Drawn(self, Shard(part, of))
        async with visitor.present():
            async for ask in visitor.asks():
                outcome = await self.passes.until_rest(drawn.move, ask)
                done.add(outcome)
                visitor.answer(outcome)
                if outcome.failed:
                    break
        if done.reports:
            await _show(self.program.name, done, _table(done, self.passes.runtime.programs()))
        if done.failed:
            return Failed(message="; ".join(done.failed.values()))
        # The state's name stays Prefect's own: events are named after it, and the watch for crashed runs waits for
        # them.
        return Completed(message=told_of(done))

    def task(self, program: Program, step_id: str) -> Task[..., Any]:
        """The task of a step, built when somebody first comes to it."""
        place = (program.version_id, step_id)
        if place not in self._tasks:
            self._tasks[place] = _task(program, step_id, self.program, self._version)
        return self._tasks[place]


def compiled(runtime: Runtime, program: Program) -> Flow[..., Any]:
    """The flow of a journey, to be run by whoever wants to: its runs find their names themselves."""
    journey = JourneyFlow(runtime, program)
    journey.flow.flow_run_name = journey.passes.run_name
    return journey.flow


def tags(program: Program) -> list[str]:
    """What the runs of a journey are found by: that they are ours, the journey, its version, its trigger."""
    return [MARK, program.name, f"v{program.number}", program.journey.enter.type]


class _Engine(AsyncFlowRunEngine[..., Any]):
    """Prefect's engine for a run that was opened as running: it has nothing to create, describe or propose before it
    begins. Four requests a run, instead of eight."""

    opened: FlowRun

    async def create_flow_run(self, client: PrefectClient) -> FlowRun:
        return self.opened

    async def begin_run(self) -> State[Any]:
        return self.state


class _Drawn:
    """Moves steps as tasks of the flow run it is made in, each with edges from the steps that lead to it."""

    def __init__(self, compiled: JourneyFlow, shard: Shard) -> None:
        self.compiled = compiled
        self.shard = shard
        self._last: dict[Place, UUID] = {}

    async def move(self, program: Program, step_id: str, pass_id: str) -> StepReport:
        moving = _Moving(self.compiled.passes, program, step_id, self.shard)
        token = _moving.set(moving)
        try:
            leads_here: set[RunInput] = {
                TaskRunResult(id=self._last[program.version_id, node.id])
                for node in program.graph.nodes.values()
                if step_id in node.leads_to and (program.version_id, node.id) in self._last
            }
            task, parameters = self.compiled.task(program, step_id), {"pass_id": pass_id}
            # What `task(…, wait_for=…)` does; that would fetch the results of finished tasks through another thread.
            # Made here, the task run is told of twice, as running and as ended, and not as pending before.
            run = await task.create_local_run(
                parameters=parameters,
                flow_run_context=FlowRunContext.get(),
                wait_for=[None],
                extra_task_inputs={"wait_for": leads_here},
            )
            state = await run_task_async(task, task_run=run, parameters=parameters, return_type="state")
            assert isinstance(state, State)
        finally:
            _moving.reset(token)
        if moving.report is None:
            raise StepFailed(moving.failure or f"step {step_id}: {state.name}")
        assert state.state_details.task_run_id is not None
        self._last[program.version_id, step_id] = state.state_details.task_run_id
        return moving.report


class _Moving:
    """One move, handed to its task past Prefect, which would look into what it gets as an argument."""

    def __init__(self, passes: Passes, program: Program, step_id: str, shard: Shard) -> None:
        self.passes, self.program, self.step_id, self.shard = passes, program, step_id, shard
        self.report: StepReport | None = None
        self.failure: str | None = None

    async def make(self, pass_id: str) -> State[Any]:
        try:
            self.report = await self.passes.directly(self.program, self.step_id, pass_id, self.shard)
        except StepFailed as failure:
            self.failure = str(failure)
            raise
        return Completed(message=told(self.report))


_moving: ContextVar[_Moving] = ContextVar("karibu_moving")


class _Nobody:
    """On a worker nobody asks: one ask, until nothing is due."""

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        yield

    async def asks(self) -> AsyncIterator[Ask | None]:
        yield None

    def answer(self, outcome: Outcome) -> None:
        return


async def _show(key: str, done: Outcome, table: list[dict[str, Any]]) -> None:
    """Write the artifact, through the client of the run: Prefect's own function makes a client each time, 20 ms."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    request = ArtifactCreate(
        type="table",
        key=key,
        description=told_of(done),
        data=orjson.dumps(table).decode(),
        flow_run_id=context.flow_run.id,
    )
    await cast(PrefectClient, context.client).create_artifact(request)


def _flow(body: Callable[..., Awaitable[State[Any]]], program: Program, version_: str) -> Flow[..., Any]:
    async def journey(journey: str, version: int = 0, run: str = "", part: int = 0, of: int = 1) -> State[Any]:
        return await body(journey, version, run, part, of)

    journey.__module__ = ENTRYPOINTS
    journey.__name__ = journey.__qualname__ = attribute(program.name)
    flow: Flow[..., Any] = Flow(
        journey,
        name=program.name,
        version=version_,
        description=program.journey.title or program.name,
        persist_result=False,
        validate_parameters=False,
        log_prints=False,
    )
    # Nothing is stored, but a flow without a storage asks the server for the default one, blocking the loop, at each
    # run.
    flow.result_storage = LocalFileSystem()
    return flow


def _task(program: Program, step_id: str, newest: Program, version: str) -> Task[..., Any]:
    async def step(pass_id: str) -> State[Any]:
        return await _moving.get().make(pass_id)

    step.__module__ = ENTRYPOINTS
    step.__name__ = step_id
    step.__qualname__ = f"{attribute(program.name)}.{step_id}"
    name = step_id if program.number == newest.number else f"{step_id} (v{program.number})"
    return Task(
        step,
        name=name,
        task_run_name=name,
        version=version,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_AFTER),
        retry_delay_seconds=RETRY_AFTER,
        log_prints=False,
    )


def _version(runtime: Runtime, program: Program) -> str:
    """`3-1f2e3d4c`: the number the marketer knows, and what the journey said."""
    mine = select(journey_version.c.digest).where(journey_version.c.id == program.version_id)
    with runtime.database.read() as connection:
        digest = connection.execute(mine).scalar_one()
    return f"{program.number}-{digest[:8]}"


def attribute(journey: str) -> str:
    """The name of a journey as Python may write it: `win-back` is `win_back`. No two journeys meet: their names have no
    `_`."""
    return journey.replace("-", "_")


def _table(done: Outcome, programs: Mapping[int, Program]) -> list[dict[str, Any]]:
    """The run's artifact: a row a step, in the order customers came to them."""
    newest = max((programs[version].number for version, _ in done.reports if version in programs), default=0)
    rows = []
    for (version, step_id), report in done.reports.items():
        number = programs[version].number if version in programs else newest
        rows.append(
            {
                "step": step_id if number == newest else f"{step_id} (v{number})",
                "came": report.came,
                "moved": report.moved,
                "waiting": report.waiting,
                "queued": report.queued,
                "sent": report.sent,
                "ended": report.ended,
                "stopped": reasons(report),
            }
        )
    return rows


@asynccontextmanager
async def session(api_url: str) -> AsyncIterator[PrefectClient]:
    """A client of this Prefect server (and a plain one), shared by all runs inside: making one costs 20 ms. At the end
    every task run is told."""
    settings = {"api.url": api_url, "api.request_timeout": 10.0, "client.max_retries": 3}
    with temporary_settings(settings), SyncClientContext():
        async with AsyncClientContext() as context:
            # Not as a setting of the context: Prefect then takes it for another client's and makes one for every task.
            context.client._client.event_hooks["response"].append(_soon)
            try:
                yield context.client
            finally:
                # Task runs are told in the background; Prefect shares that thread in the process, and a server may have
                # gone.
                with suppress(Exception):
                    await asyncio.wait_for(_drain(), DRAIN)


async def _soon(answer: Response) -> None:
    """Prefect on SQLite answers 503 whenever two of its transactions meet, and its client then waits 2 s and more; a
    twentieth of a second is enough. Told in the words in which a server asks its client to come back.
    """
    if answer.status_code == 503 and "Retry-After" not in answer.headers:
        tries = answer.request.extensions.get("karibu_tries", 0)
        answer.request.extensions["karibu_tries"] = tries + 1
        if tries < MEETINGS:
            answer.headers["Retry-After"] = "0.05"
            answer.headers["Prefect-Maintenance"] = "true"  # doesn't count as a try


async def _drain() -> None:
    drained = EventsWorker.drain_all(at_exit=False)
    if not isinstance(drained, tuple):
        await drained


async def bury(client: PrefectClient) -> int:
    """Runs that a dead engine left as running are marked as crashed, without waiting for the watch. Only for the one
    engine of its own server. Returns how many."""
    running = FlowRunFilter.model_validate(
        {
            "tags": {"all_": [MARK]},
            "state": {"type": {"any_": [StateType.RUNNING, StateType.PENDING]}},
            "deployment_id": {"is_null_": True},
        }
    )
    buried = 0
    for run in await client.read_flow_runs(flow_run_filter=running, limit=200):
        await client.set_flow_run_state(
            run.id, Crashed(message="the engine ended without closing this run"), force=True
        )
        buried += 1
    return buried
