"""Moving cohorts: one step of one version at a time, in chunks, each chunk its own commit.

Nothing here remembers anything between chunks: run twice, run by two engines at once, or killed anywhere, what is due
is found in the database again. A step reached in a pass is moved once; a way back goes on in the next pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    literal,
    not_,
    null,
    or_,
    select,
    union_all,
)

from engine.cohort.chance import Chance, no_chance
from engine.cohort.cohort import EXITED, Cohort
from engine.cohort.program import Program
from engine.cohort.scope import Scope
from engine.cohort.standing import NOT_SENT
from engine.cohort.step import Step
from engine.runtime.pace import Pace
from engine.runtime.rivals import Place, comes_first
from engine.steps.send import CAPPED_OUT
from engine.store.database import Database
from engine.store.tables import IN_JOURNEY, UNSETTLED, customer, enrolment, journey_version, message
from engine.store.types import Instant


@dataclass
class StepReport:
    """What became of a step's cohort in one look: how many came, and how many went which way. `stopped` is by reason
    code."""

    step: str
    came: int = 0
    moved: int = 0
    waiting: int = 0
    queued: int = 0
    sent: int = 0
    ended: int = 0
    stopped: Counter[str] = field(default_factory=Counter)

    def did_something(self) -> bool:
        return bool(self.came or self.sent or self.stopped)

    def add(self, other: StepReport) -> None:
        self.came += other.came
        self.moved += other.moved
        self.waiting += other.waiting
        self.queued += other.queued
        self.sent += other.sent
        self.ended += other.ended
        self.stopped.update(other.stopped)


@dataclass(frozen=True)
class Shard:
    """A part of the customers, by their hash: `of` parts, this one is `part`."""

    part: int = 0
    of: int = 1


WHOLE = Shard()

PROBES = 400
"""Steps one statement asks for: SQLite puts at most 500 SELECTs together."""


def steps_with_work(
    connection: Connection,
    programs: Sequence[Program],
    now: datetime,
    held: Callable[[Program, str], bool] = lambda program, step_id: False,
) -> dict[int, list[str]]:
    """For each version (by id) the steps that have a cohort or messages due, in graph order. Two seeks a step.

    held: true for a step whose messages can't leave now."""
    places = [
        (program.version_id, step_id, not held(program, step_id))
        for program in programs
        for step_id in program.graph.nodes
    ]
    found: dict[int, list[str]] = {}
    for start in range(0, len(places), PROBES):
        for version_id, step_id in connection.execute(_probes(*places[start : start + PROBES]), {"at": now}):
            found.setdefault(version_id, []).append(step_id)
    return found


@lru_cache(512)
def _probes(*places: tuple[int, str, bool]) -> CompoundSelect[int, str]:
    """Kept: every look and every move asks, and to write this down takes longer than to ask it."""
    return union_all(*(_probe(*place) for place in places))


def _probe(version_id: int, step_id: str, messages: bool) -> Select[int, str]:
    at = bindparam("at", type_=Instant())
    due = exists().where(
        enrolment.c.version_id == version_id, enrolment.c.step == step_id, IN_JOURNEY, enrolment.c.due_at <= at
    )
    queued = exists().where(
        message.c.version_id == version_id,
        message.c.step == step_id,
        message.c.state == "queued",
        message.c.due_at <= at,
        UNSETTLED,
    )
    return select(literal(version_id), literal(step_id)).where(or_(due, queued) if messages else due)


def running(version_id: int) -> ColumnElement[bool]:
    """Whether the version hasn't been stopped: asked again in every chunk, for a stop counts at once."""
    version = journey_version.c
    return exists().where(version.id == version_id, version.state != "stopped")


def move_step(
    database: Database,
    program: Program,
    step_id: str,
    now: datetime,
    pass_id: str,
    shard: Shard = WHOLE,
    pace: Pace | None = None,
    chance: Chance = no_chance,
    rivals: Sequence[Place] = (),
) -> StepReport:
    """Move everybody who is due at this step, chunk by chunk. A chunk that fails is rolled back whole and raises.

    rivals: steps of other journeys; whoever is just about to be moved there is left for the next time."""
    node = program.graph.nodes[step_id]
    step = node.step
    assert isinstance(step, Step)
    scope = Scope(program, now, chance=chance, step=step_id)
    judgement = step.judge(node, scope)
    if program.exits_when:
        leaves = scope.exits()
        judgement = replace(
            judgement,
            verdict=case((leaves, EXITED), else_=judgement.verdict),
            reason=case((leaves, "when"), else_=null() if judgement.reason is None else judgement.reason),
        )
    who = and_(
        enrolment.c.version_id == program.version_id,
        enrolment.c.step == step_id,
        enrolment.c.due_at <= literal(now, Instant()),
        running(program.version_id),
    )
    if rivals:
        who = and_(who, not_(comes_first(rivals, now)))
    if shard.of > 1:
        who = and_(who, customer.c.bucket % shard.of == shard.part)
    pace = pace or Pace(database.dialect)

    def move(connection: Connection) -> StepReport:
        cohort = Cohort.freeze(
            connection,
            step=step_id,
            who=who,
            judgement=judgement,
            now=now,
            pass_id=pass_id,
            limit=limit,
            family=program.family,
        )
        if not cohort.size:
            return StepReport(step_id)
        step.move(node, scope, cohort)
        if program.exits_when:
            cohort.finish(EXITED, EXITED)
        cohort.close()
        return _of(cohort, step_id, reasons=step.sends or bool(program.exits_when))

    report = StepReport(step_id)
    while True:
        limit = pace.chunk()
        chunk = database.written(move)
        report.add(chunk)
        if chunk.came < limit:
            return report


def _of(cohort: Cohort, step_id: str, *, reasons: bool) -> StepReport:
    report = StepReport(step_id, cohort.size, cohort.moved, cohort.stayed, cohort.queued, ended=cohort.ended)
    if reasons:
        for (verdict, reason), n in cohort.verdicts().items():
            if reason is not None and verdict in (NOT_SENT, CAPPED_OUT, EXITED):
                report.stopped[reason] += n
    return report
