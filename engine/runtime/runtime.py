"""The engine as its callers see it: take events in, tick, move cohorts, deliver. The shell (flows, web, command line)
calls this and nothing below it.

Law 1: the database decides. Every method may be called again, from any process, at any time, and changes nothing that
is already done.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from engine.cohort.program import Program
from engine.cohort.step import Step
from engine.language.content import Content
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.runtime import advance, delivery, versions
from engine.runtime.advance import WHOLE, Shard, StepReport
from engine.runtime.clock import Clock
from engine.runtime.customers import People, strangers
from engine.runtime.delivery import Post
from engine.runtime.identity import Who
from engine.runtime.ingest import BATCH, Incoming, Receipt, ingest
from engine.runtime.outlived import outlived
from engine.runtime.tick import Ticked, refresh, tick
from engine.runtime.versions import Published
from engine.segments.survey import prepare
from engine.store.database import Database
from engine.store.failures import deadlocked
from engine.store.local_time import ensure_used_zones
from engine.store.merges import looks_stay

log = logging.getLogger("karibu.runtime")

PASSES = 1_000
"""Passes of one advance, at most: a loop of steps that never waits would turn for ever. Check refuses such loops; this
is the net."""


@dataclass(frozen=True)
class Work:
    """A version with something to do now: its steps that have a cohort or messages due, in graph order."""

    journey: str
    number: int
    version_id: int
    graph: Graph
    steps: tuple[str, ...]


class Runtime:
    """One engine. Safe to use from several threads: state between calls is the database's."""

    def __init__(self, database: Database, content: Content, registry: Registry, clock: Clock, post: Post) -> None:
        self.database = database
        self.content = content
        self.registry = registry
        self.clock = clock
        self.post = post
        self.pace = advance.Pace(database.dialect)
        self._programs: dict[int, Program] = {}
        self._seen: tuple[object, ...] | None = None

    def programs(self) -> dict[int, Program]:
        """The versions that may have something to do, by id; read again when one was published or stopped anywhere."""
        with self.database.read() as connection:
            seen = versions.fingerprint(connection)
            if seen != self._seen:
                loaded = versions.load(connection, self.content, self.registry, self.clock.now())
                # A version that hasn't changed keeps its program, with what it has parsed.
                self._programs = {
                    key: old if (old := self._programs.get(key)) and old.state == new.state else new
                    for key, new in loaded.items()
                }
                self._seen = seen
        return self._programs

    def _program(self, version_id: int) -> Program | None:
        """A version as last read: `work` looks whether one was published or stopped, and a move asks the database
        again."""
        return self._programs.get(version_id) or self.programs().get(version_id)

    def renew(self, content: Content, post: Post) -> None:
        """Go on with the project's files as they are now: what was published since may speak of what they declare."""
        self.content, self.post = content, post
        self._programs, self._seen = {}, None

    def publish(self, names: Iterable[str] | None = None) -> list[Published]:
        """Make journeys of the content live (all of them by default), those that changed as new versions.

        Raises ContentError, and publishes nothing, while customers are inside a version that the content has no words
        for any more."""
        chosen = sorted(self.content.journeys) if names is None else list(names)
        now = self.clock.now()
        prepare(self.database, self.content, now)
        with self.database.write() as connection:
            looks_stay(connection)
            ensure_used_zones(connection, self.content.project.brand.timezone)
            published = versions.publish(connection, self.content, chosen, now)
            if broken := outlived(connection, self.content, self.registry):
                raise ContentError(problem for problems in broken.values() for problem in problems)
            programs = versions.load(connection, self.content, self.registry, now)
            refresh(connection, self.content, list(programs.values()), now)
            versions.let_members_in(connection, programs, published, now)
        self.programs()
        return published

    def ingest(self, batch: Sequence[Incoming], *, live: bool = True) -> Receipt:
        """Accept events: when this returns they are durable and have found their journeys."""
        programs = list(self.programs().values())
        worth = {name: event.value for name, event in self.content.project.events.items() if event.value}
        total = Receipt()
        if live:
            self.pace.gives_way()
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            for attempt in range(_DEADLOCKS):
                try:
                    with self.database.write() as connection:
                        receipt = ingest(connection, programs, worth, part, self.clock.now(), live=live)
                    break
                except OperationalError as error:
                    if attempt == _DEADLOCKS - 1 or not deadlocked(error):
                        raise
            total.accepted += receipt.accepted
            total.duplicates += receipt.duplicates
            total.parked += receipt.parked
            total.wakes |= receipt.wakes
        return total

    def people(self) -> People:
        """What is done to customers from outside: introduce, merge, describe."""
        worth = {name: event.value for name, event in self.content.project.events.items() if event.value}
        return People(self.database, list(self.programs().values()), worth, self.clock.now())

    def strangers(self, whos: Sequence[Who]) -> list[Who]:
        """Those of them who are to be introduced."""
        with self.database.read() as connection:
            return strangers(connection, whos)

    def introduce(self, whos: Sequence[Who]) -> int:
        """Have all names of each of these lead to one customer, as `People.introduce`. How many customers that made
        fewer. Before their events are taken in; costs a look when there is nothing to do."""
        new = self.strangers(whos)
        people = self.people() if new else None
        return sum(people.introduce(who).merged for who in new) if people is not None else 0

    def tick(self) -> Ticked:
        """Let in whom dates, schedules and segments name now, and judge again who waits at the door."""
        return tick(self.database, self.content, list(self.programs().values()), self.clock.now())

    def work(self) -> list[Work]:
        """The versions that have something to do now."""
        programs = self.programs()
        with self.database.read() as connection:
            running = [program for program in programs.values() if program.state != versions.STOPPED]
            found = advance.steps_with_work(connection, running, self.clock.now())
        return [
            Work(program.name, program.number, version_id, program.graph, tuple(found[version_id]))
            for version_id, program in programs.items()
            if version_id in found
        ]

    def steps_with_work(self, version_id: int) -> list[str]:
        """The steps of one version that have a cohort or messages due, in graph order."""
        program = self._program(version_id)
        if program is None:
            return []
        with self.database.read() as connection:
            return advance.steps_with_work(connection, [program], self.clock.now()).get(version_id, [])

    def move(self, version_id: int, step_id: str, pass_id: str, shard: Shard = WHOLE) -> StepReport:
        """Move the cohort of one step and deliver its messages."""
        program = self._program(version_id)
        if program is None:  # stopped meanwhile
            return StepReport(step_id)
        report = advance.move_step(self.database, program, step_id, self.clock.now(), pass_id, shard, self.pace)
        # Those who came and queued nothing leave nothing to deliver; who finds nobody came for messages that are due.
        if has_messages(program, step_id) and (report.queued or not report.came):
            sent = delivery.deliver(self.database, program, step_id, self.clock, self.post, pass_id)
            report.add(sent)
        return report

    def advance(self, pass_id: str = "advance") -> list[StepReport]:
        """Pass after pass until nothing is due: what the compiled flows do, without Prefect."""
        reports: list[StepReport] = []
        for _ in range(PASSES):
            work = self.work()
            if not work:
                return reports
            for one in work:
                due = set(one.steps)
                for step_id in one.graph.nodes:
                    if step_id in due:
                        reports.append(self.move(one.version_id, step_id, pass_id))
                        due = set(self.steps_with_work(one.version_id))  # who is ahead in the order comes in this pass
        raise RuntimeError(f"no rest after {PASSES} passes: {[(one.journey, one.steps) for one in work]}")

    def recover(self, *, alone: bool = False) -> dict[str, int]:
        """Take up what a crash left of messages. `alone`: this is the only engine, so every claim is its dead
        predecessor's."""
        return delivery.recover_all(
            self.database, list(self.programs().values()), self.post, self.clock.now(), alone=alone
        )


def has_messages(program: Program, step_id: str) -> bool:
    """Whether a step sends anything."""
    step = program.graph.nodes[step_id].step
    return isinstance(step, Step) and step.sends


_DEADLOCKS = 5
