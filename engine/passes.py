"""The passes of one journey: step after step in graph order, until nothing is due.

What is due, and where it goes, stands in the database (law 1); nothing here remembers anything. A step is moved by the
`Move` that is handed in: directly, or as a Prefect task (engine/flows.py). The engine's calls are plain and wait for
its database, so they run in threads; the loop stays free.
"""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import uuid4
from zoneinfo import ZoneInfo

from engine.cohort.program import Program
from engine.runtime.advance import WHOLE, Shard, StepReport
from engine.runtime.runtime import PASSES, Runtime

log = logging.getLogger("karibu.flows")

T = TypeVar("T")

Place = tuple[int, str]
"""A version's id and a step's."""


class StepFailed(Exception):
    """A step could not move its cohort. Says what and where, never with whose data."""


@dataclass
class Outcome:
    """What a run or an advance did, by place in the order it came there; `failed` holds why, `idle` the places with
    work that no pass could move (locked by another engine, say)."""

    reports: dict[Place, StepReport] = field(default_factory=dict)
    failed: dict[Place, str] = field(default_factory=dict)
    idle: set[Place] = field(default_factory=set)
    moves: int = 0

    def count(self, place: Place, report: StepReport) -> None:
        self.reports.setdefault(place, StepReport(place[1])).add(report)

    def add(self, other: Outcome) -> None:
        for place, report in other.reports.items():
            self.count(place, report)
        self.failed |= other.failed
        self.idle = other.idle
        self.moves += other.moves

    def total(self) -> StepReport:
        total = StepReport("")
        for report in self.reports.values():
            total.add(report)
        return total


@dataclass(frozen=True)
class Ask:
    """The versions of a journey that have work, and the places to leave alone."""

    programs: tuple[Program, ...]
    held: frozenset[Place] = frozenset()


Move = Callable[[Program, str, str], Awaitable[StepReport]]
"""Moves one step of a program in a pass: directly, or as a Prefect task. Raises StepFailed."""


class Passes:
    """The passes of one journey: the same with Prefect and without. `threads`: where the engine's calls wait for its
    database."""

    def __init__(self, runtime: Runtime, journey: str, threads: Executor | None = None) -> None:
        self.runtime = runtime
        self.journey = journey
        self.threads = threads

    def run_name(self) -> str:
        """What a run that begins now is called: the journey, and the time on the brand's clock."""
        local = self.runtime.clock.now().astimezone(ZoneInfo(self.runtime.content.project.brand.timezone))
        return f"{self.journey} {local:%Y-%m-%d %H:%M}"

    async def due(self, held: frozenset[Place] = frozenset()) -> Ask | None:
        """What is due now and isn't held back."""
        found = await self._call(self._work)
        places = {(program.version_id, step_id) for program, steps in found for step_id in steps}
        return Ask(tuple(program for program, _ in found), held) if places - held else None

    async def until_rest(self, move: Move, ask: Ask | None = None) -> Outcome:
        """Pass after pass until nothing is due, or nothing of what is due moves. Without an `ask`, whatever is due."""
        outcome = Outcome()
        ask = ask or await self.due()
        if ask is None:
            return outcome
        for _ in range(PASSES):
            again = [await self._once(program, move, ask.held, outcome) for program in ask.programs]
            if not any(again):
                return outcome
        log.error("journey %s finds no rest after %d passes", self.journey, PASSES)
        return outcome

    async def directly(self, program: Program, step_id: str, pass_id: str, shard: Shard = WHOLE) -> StepReport:
        """Move one step. Whatever goes wrong becomes a StepFailed that names no customer."""
        try:
            return await self._call(partial(self.runtime.move, program.version_id, step_id, pass_id, shard))
        except Exception as error:
            told = described(error)
            log.error("journey %s, version %d, step %s: %s", program.name, program.number, step_id, told)
            raise StepFailed(f"step {step_id}: {told}") from None

    async def _once(self, program: Program, move: Move, held: frozenset[Place], outcome: Outcome) -> bool:
        """One pass over one version: each step at most once, in graph order. Whether somebody went back: they go on in
        the next pass."""
        order = {step_id: n for n, step_id in enumerate(program.graph.nodes)}
        pass_id = uuid4().hex
        reached = -1
        while True:
            leave = held | outcome.idle | outcome.failed.keys()
            due = await self._call(partial(self._steps, program.version_id))
            due = [step_id for step_id in due if (program.version_id, step_id) not in leave]
            step_id = next((step_id for step_id in due if order[step_id] > reached), None)
            if step_id is None:
                return bool(due)
            reached = order[step_id]
            place = (program.version_id, step_id)
            try:
                report = await move(program, step_id, pass_id)
            except StepFailed as failure:
                outcome.failed[place] = str(failure)
                continue
            outcome.count(place, report)
            if report.came or report.moved or report.sent or report.queued or report.stopped or report.ended:
                outcome.moves += 1
            else:
                outcome.idle.add(place)

    def newest(self) -> Program | None:
        """The newest version that may have something to do."""
        mine = [program for program in self.runtime.programs().values() if program.name == self.journey]
        return max(mine, key=lambda program: program.number, default=None)

    def _work(self) -> list[tuple[Program, tuple[str, ...]]]:
        programs = self.runtime.programs()
        mine = [work for work in self.runtime.work() if work.journey == self.journey]
        return [(programs[work.version_id], work.steps) for work in mine if work.version_id in programs]

    def _steps(self, version_id: int) -> list[str]:
        # A version that was stopped meanwhile has nothing to do.
        return self.runtime.steps_with_work(version_id) if version_id in self.runtime.programs() else []

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function)


_OURS = re.compile(r"(?:engine|triggers)/[a-z_/]+\.py$")


def described(error: BaseException) -> str:
    """An error by its class and the line of ours that met it. Its own words stay out: they may quote a customer."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        found = _OURS.search(frame.filename.replace("\\", "/"))
        if found is not None and not found[0].endswith("engine/passes.py"):
            return f"{type(error).__name__} at {found[0]}:{frame.lineno}"
    return type(error).__name__


def told_of(outcome: Outcome) -> str:
    """An outcome in a line."""
    stuck = sorted(step_id for _, step_id in outcome.idle)
    return told(outcome.total()) + (f"; could not move {', '.join(stuck)}" if stuck else "")


def told(report: StepReport) -> str:
    """A report in a line, without what is nothing."""
    parts = [
        f"{name} {number}"
        for name in ("came", "moved", "waiting", "queued", "sent", "ended")
        if (number := getattr(report, name))
    ]
    if report.stopped:
        parts.append("stopped " + reasons(report))
    return ", ".join(parts) or "nobody was due"


def reasons(report: StepReport) -> str:
    """Why messages were stopped, the most frequent reason first."""
    return ", ".join(f"{reason} {number}" for reason, number in report.stopped.most_common())
