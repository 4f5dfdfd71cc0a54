"""`karibu deploy`: the journeys as deployments on a Prefect work pool, for workers on other machines.

A worker takes a run, a process each, and finds its flow by the name of a module's attribute (engine/worker.py). What it
needs to know, the address of the database above all, is in the worker's own environment (KARIBU_…), never in Prefect.
On many machines the engine's data is on PostgreSQL; with `shards` a journey gets a deployment for each part of its
customers, by their hash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from engine.cohort.program import Program
from engine.flows import ENTRYPOINTS, MARK, attribute, compiled, session, tags
from engine.prefect_server import QUIET
from engine.runtime.advance import Shard
from engine.runtime.runtime import Runtime

POOL = "karibu"
EVERY = timedelta(minutes=1)
"""How often a worker looks for work of a journey. Wakes need an engine: `karibu up` takes runs in its own process."""


class NotAProcessPool(Exception):
    """The work pool is there and of another type: a run needs the engine's environment, which a process inherits."""


@dataclass(frozen=True)
class Deployed:
    """A deployment as it stands in Prefect now: `welcome/karibu`, or `welcome/part-1-of-4`."""

    journey: str
    name: str
    number: int


def deploy(
    runtime: Runtime, api_url: str, *, pool: str = POOL, shards: int = 1, every: timedelta | None = EVERY
) -> list[Deployed]:
    """Register each journey that may have something to do, and take away those that haven't any more. Again: nothing
    new. `every`: None for runs that only a person or a program starts. Raises NotAProcessPool, and what Prefect's API
    raises.
    """
    return asyncio.run(_deploy(runtime, api_url, pool, shards, every))


async def _deploy(runtime: Runtime, api_url: str, pool: str, shards: int, every: timedelta | None) -> list[Deployed]:
    async with session(api_url) as client:
        await _pool(client, pool)
        deployed = []
        for program in _newest(runtime.programs().values()):
            for part in range(shards):
                deployed.append(await _one(client, runtime, program, Shard(part, shards), pool, every))
        await _take_away(client, pool, deployed)
    return deployed


async def _pool(client: PrefectClient, name: str) -> None:
    try:
        found = await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        try:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
            return
        except ObjectAlreadyExists:  # another deploy was first
            found = await client.read_work_pool(name)
    if found.type != "process":
        raise NotAProcessPool(f'the work pool "{name}" is of type {found.type}; Karibu needs one of type process')


async def _one(
    client: PrefectClient, runtime: Runtime, program: Program, shard: Shard, pool: str, every: timedelta | None
) -> Deployed:
    flow = compiled(runtime, program)
    name = "karibu" if shard.of == 1 else f"part-{shard.part + 1}-of-{shard.of}"
    parameters = {"journey": program.name, "version": program.number, "part": shard.part, "of": shard.of}
    steps = " → ".join(program.graph.nodes)
    await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=name,
        version=flow.version,
        description=f"{program.journey.title or program.name}\n\n{steps}",
        tags=tags(program),
        parameters=parameters,
        parameter_openapi_schema=_schema(flow),
        enforce_parameter_schema=False,
        entrypoint=f"{ENTRYPOINTS}.{attribute(program.name)}",
        work_pool_name=pool,
        job_variables={"env": dict(QUIET)},
        schedules=[] if every is None else [DeploymentScheduleCreate(schedule=IntervalSchedule(interval=every))],
        # One at a time: a second run would find nothing to do and wait for the first one's locks.
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
    return Deployed(program.name, f"{program.name}/{name}", program.number)


async def _take_away(client: PrefectClient, pool: str, deployed: Iterable[Deployed]) -> None:
    """Delete our deployments on this pool that aren't among these: journeys that are over, other numbers of shards."""
    names = {one.name for one in deployed}
    ours = DeploymentFilter.model_validate({"tags": {"all_": [MARK]}})
    for found in await client.read_deployments(deployment_filter=ours):
        if found.work_pool_name == pool and f"{found.parameters.get('journey')}/{found.name}" not in names:
            await client.delete_deployment(found.id)


def _newest(programs: Iterable[Program]) -> list[Program]:
    newest: dict[str, Program] = {}
    for program in programs:
        if program.name not in newest or program.number > newest[program.name].number:
            newest[program.name] = program
    return [newest[name] for name in sorted(newest)]


def _schema(flow: Any) -> dict[str, Any]:
    return parameter_schema(flow).model_dump_for_openapi()
