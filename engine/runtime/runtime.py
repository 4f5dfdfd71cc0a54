"""The engine as its callers see it: take events in, tick, move cohorts, deliver. The shell (flows, web, command line)
calls this and nothing below it.

Law 1: the database decides. Every method may be called again, from any process, at any time, and changes nothing that
is already done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from secrets import token_bytes
from threading import RLock

from sqlalchemy import Connection

from engine.cohort.chance import Chance
from engine.cohort.gate import TEAM
from engine.cohort.program import Program
from engine.cohort.step import Step
from engine.language.content import Content
from engine.language.errors import ContentError
from engine.language.graph import Graph
from engine.language.registry import Registry
from engine.language.vocabulary import TRANSACTIONAL
from engine.progress import Tell, untold
from engine.runtime import admission, advance, broadcasts, delivery, feedback, parking, rates, shortened, versions
from engine.runtime.advance import WHOLE, Shard, StepReport
from engine.runtime.clock import Clock
from engine.runtime.customers import People, strangers
from engine.runtime.feedback import Feedback, Taken
from engine.runtime.fence import Memory, alive, fence, identity
from engine.runtime.identity import Who
from engine.runtime.ingest import BATCH, Incoming, Receipt, ingest
from engine.runtime.outlived import outlived
from engine.runtime.pace import Pace
from engine.runtime.pausing import ALL, pauses
from engine.runtime.post import Post
from engine.runtime.recovery import recover_all
from engine.runtime.rewards import Rules
from engine.runtime.rivals import rivals_of
from engine.runtime.tick import CHUNKS, refresh, tick
from engine.runtime.ticked import Ticked
from engine.runtime.versions import Published
from engine.runtime.waiting import Watch
from engine.segments.survey import prepare
from engine.steps.call import Call
from engine.store import published
from engine.store.database import Database
from engine.store.local_time import ensure_used_zones
from engine.store.merges import looks_stay

log = logging.getLogger("karibu.runtime")

NOTHING = Memory()
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


class CameMeanwhile(Exception):
    """An event that was new a moment ago has come by another way."""


def _unless_one_came(take: Callable[[Connection], Receipt], connection: Connection) -> Receipt:
    receipt = take(connection)
    if receipt.duplicates:
        raise CameMeanwhile
    return receipt


class Runtime:
    """One engine. Safe to use from several threads: state between calls is the database's."""

    def __init__(
        self,
        database: Database,
        content: Content,
        registry: Registry,
        clock: Clock,
        post: Post,
        chance: Chance = token_bytes,
    ) -> None:
        self.database = database
        self.content = content
        self.registry = registry
        self.clock = clock
        self.post = post
        self.chance = chance
        self.pace = Pace(database.dialect)
        self._watch = Watch()
        self._programs: dict[int, Program] = {}
        self._seen: tuple[object, ...] | None = None
        self._as_of: int | None = None
        self._reading = RLock()

    @property
    def as_of(self) -> int | None:
        """`published.times` of when the content was read."""
        return self._as_of

    def programs(self) -> dict[int, Program]:
        """The versions that may have something to do, by id; read again when one was published or stopped anywhere."""
        with self._reading, self.database.read() as connection:
            if self._as_of is None:
                self._as_of = published.times(connection)
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

    def names(self, versions: Iterable[int]) -> list[str]:
        """The journeys of these versions, as last read."""
        return sorted({program.name for one in versions if (program := self._programs.get(one)) is not None})

    def _program(self, version_id: int) -> Program | None:
        """A version as last read: `work` looks whether one was published or stopped, and a move asks the database
        again."""
        return self._programs.get(version_id) or self.programs().get(version_id)

    def renew(self, content: Content, post: Post, as_of: int | None = None) -> None:
        """Go on with the project's files as they are now: what was published since may speak of what they declare.
        `as_of`: `published.times` of before they were read (default: of now)."""
        with self._reading:
            self.content, self.post, self._as_of = content, post, as_of
            self._programs, self._seen = {}, None

    def publish(self, names: Iterable[str] | None = None, tell: Tell = untold) -> list[Published]:
        """Make journeys of the content live (all of them by default), those that changed as new versions. `tell` hears
        how the segments are filled and their members let in, which may take minutes.

        Raises ContentError, and publishes nothing, while customers are inside a version that the content has no words
        for any more."""
        chosen = sorted(self.content.journeys) if names is None else list(names)
        now = self.clock.now()
        if self.database.dialect == "sqlite":
            with self.database.read() as connection:
                self._refuse_outlived(connection, chosen)
            # Told before the segments are filled bit by bit: an engine that goes by the files of before would undo it.
            self.database.written(published.count)
        prepare(self.database, self.content, now, tell=tell)
        tell(1.0, "segments")

        def write(connection: Connection) -> tuple[int, list[Published]]:
            looks_stay(connection)
            ensure_used_zones(connection, self.content.project.brand.timezone)
            times = published.count(connection)
            done = versions.publish(connection, self.content, chosen, now)
            self._refuse_outlived(connection)
            programs = versions.load(connection, self.content, self.registry, now)
            refresh(connection, self.content, list(programs.values()), now)
            versions.let_members_in(connection, programs, done)
            parking.afresh(connection, [one.journey for one in done if one.changed])
            return times, done

        self._as_of, done = self.database.written(write)
        self._admit(tell)
        return done

    def _refuse_outlived(self, connection: Connection, renewed: Sequence[str] = ()) -> None:
        if broken := outlived(connection, self.content, self.registry, renewed):
            raise ContentError(problem for problems in broken.values() for problem in problems)

    def _admit(self, tell: Tell) -> None:
        """Let in whom a publish names. Another engine may go on with it, and does so if this one is killed."""
        ticked = Ticked(more=True)
        while ticked.more:
            ticked.more = False
            programs = list(self.programs().values())
            admission.go_on(self.database, programs, self.clock.now(), self.pace, ticked, CHUNKS)
            tell(admission.done(self.database), "members let in")

    def ingest(self, batch: Sequence[Incoming], *, live: bool = True, all_new: bool = False) -> Receipt:
        """Accept events: when this returns they are durable and have found their journeys. `all_new`: whoever sends
        them has looked that none has come before; CameMeanwhile, and none is taken, when one has by now."""
        programs = list(self.programs().values())
        rules = Rules.of(self.content.project)
        worth = self._worth()
        total = Receipt()
        if live:
            self.pace.gives_way()
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            take = partial(
                ingest, programs=programs, worth=worth, batch=part, now=self.clock.now(), live=live, rules=rules
            )
            receipt = self.database.written(partial(_unless_one_came, take) if all_new else take)
            total.accepted += receipt.accepted
            total.duplicates += receipt.duplicates
            total.parked += receipt.parked
            total.wakes |= receipt.wakes
        return total

    def hear(self, batch: Sequence[Feedback]) -> Taken:
        """Take in what came back about messages: when this returns it is durable, and journeys have heard of it."""
        programs, worth, total = list(self.programs().values()), self._worth(), Taken()
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            taken = self.database.written(
                partial(feedback.take, batch=part, now=self.clock.now(), programs=programs, worth=worth)
            )
            total.recorded += taken.recorded
            total.repeated += taken.repeated
            total.unknown += taken.unknown
            total.wakes |= taken.wakes
        return total

    def leads(self, code: str) -> tuple[str, str] | None:
        """The message that a short link stands in, and where it leads, see shortened.leads."""
        with self.database.read() as connection:
            return shortened.leads(connection, code)

    def answered(
        self, channel: str, address_hash: str, text: str, key: str, at: datetime | None = None, *, written: bool = True
    ) -> Taken:
        """Take in what somebody has written to the shop's number, see feedback.answered."""
        programs, worth, now = list(self.programs().values()), self._worth(), self.clock.now()
        return self.database.written(
            partial(
                feedback.answered,
                channel=channel,
                address_hash=address_hash,
                text=text,
                key=key,
                now=now,
                at=at,
                written=written,
                programs=programs,
                worth=worth,
            )
        )

    def _worth(self) -> dict[str, str]:
        return {name: event.value for name, event in self.content.project.events.items() if event.value}

    def people(self) -> People:
        """What is done to customers from outside: introduce, merge, describe."""
        return People(self.database, list(self.programs().values()), self._worth(), self.clock.now())

    def strangers(self, whos: Sequence[Who]) -> list[Who]:
        """Those of them who are to be introduced."""
        with self.database.read() as connection:
            return strangers(connection, whos)

    def introduce(self, whos: Sequence[Who]) -> int:
        """Have all names of each of these lead to one customer, as `People.introduce`. How many customers that made
        fewer. Before their events are taken in; costs a look when there is nothing to do."""
        merged, left = 0, list(whos)
        while new := self.strangers(left):
            people = self.people()
            merged += sum(people.introduce(who).merged for who in new)
            left = [who for who in left if who not in new]  # what one says may concern another of them
        return merged

    def tick(self, *, once: bool = False) -> Ticked:
        """Let in whom dates, schedules and segments name now, and judge again who waits at the door.

        once: one look, after which `more` says whether somebody is still to be let in."""
        ticked = self._look()
        while ticked.more and not once:
            ticked.followed_by(self._look())
        return ticked

    def _look(self) -> Ticked:
        programs = list(self.programs().values())
        return tick(self.database, self.content, programs, self.clock.now(), self.pace, self._watch, as_of=self._as_of)

    def work(self) -> list[Work]:
        """The versions that have something to do now, those of higher priority first."""
        programs = self.programs()
        with self.database.read() as connection:
            running = [program for program in programs.values() if program.state != versions.STOPPED]
            now = self.clock.now()
            found = advance.steps_with_work(connection, running, now, self._held(connection, now))
        return [
            Work(program.name, program.number, version_id, program.graph, tuple(found[version_id]))
            for version_id, program in sorted(programs.items(), key=lambda one: -one[1].journey.priority)
            if version_id in found
        ]

    def steps_with_work(self, version_id: int) -> list[str]:
        """The steps of one version that have a cohort or messages due, in graph order."""
        program = self._program(version_id)
        if program is None:
            return []
        with self.database.read() as connection:
            now = self.clock.now()
            held = self._held(connection, now)
            return advance.steps_with_work(connection, [program], now, held).get(version_id, [])

    def _held(self, connection: Connection, now: datetime) -> Callable[[Program, str], bool]:
        """Whether the messages of a step can't leave now: paused, no provider takes any, or their rate is used up."""
        silent, paused = self.post.breakers.open(now), pauses(connection)
        spent = {one: rates.used_up(connection, self.post.rates, now, transactional=one) for one in (False, True)}
        holding = broadcasts.holding(connection, now)
        if not silent and not paused and not any(spent.values()) and not holding:
            return lambda program, step_id: False

        def held(program: Program, step_id: str) -> bool:
            step = program.graph.nodes[step_id].step
            if (program.version_id, step_id) in holding:
                return True
            if ALL in paused or program.name in paused or not isinstance(step, Step):
                return True
            urgent = program.topic == TRANSACTIONAL or TEAM in step.channels()
            return all(
                self.post.silent(channel, now) or ((limited := self.post.rate(channel)) and limited[0] in spent[urgent])
                for channel in step.channels()
            )

        return held

    def move(self, version_id: int, step_id: str, pass_id: str, shard: Shard = WHOLE) -> StepReport:
        """Move the cohort of one step and deliver its messages."""
        program = self._program(version_id)
        if program is None:  # stopped meanwhile
            return StepReport(step_id)
        rivals = rivals_of(program, step_id, self._programs.values())
        report = advance.move_step(
            self.database, program, step_id, self.clock.now(), pass_id, shard, self.pace, self.chance, rivals
        )
        # Those who came and queued nothing leave nothing to deliver; who finds nobody came for messages that are due.
        if has_messages(program, step_id) and (report.queued or not report.came):
            sent = delivery.deliver(self.database, program, step_id, self.clock, self.post, pass_id, self.pace, rivals)
            report.add(sent)
        return report

    def advance(self, pass_id: str = "advance") -> list[StepReport]:
        """Pass after pass until nothing is due: what the compiled flows do, without Prefect."""
        reports: list[StepReport] = []
        for _ in range(PASSES):
            work = self.work()
            if not work:
                return reports
            before = len(reports)
            for one in work:
                due = set(one.steps)
                for step_id in one.graph.nodes:
                    if step_id in due:
                        reports.append(self.move(one.version_id, step_id, pass_id))
                        due = set(self.steps_with_work(one.version_id))  # who is ahead in the order comes in this pass
            if not any(report.did_something() for report in reports[before:]):
                return reports  # what is left can't leave now
        raise RuntimeError(f"no rest after {PASSES} passes: {[(one.journey, one.steps) for one in work]}")

    def awake(self, *, starting: bool = False, memory: Memory = NOTHING) -> datetime | None:
        """Write down that an engine is at work. When the database was put back to an earlier time, or one starts where
        nobody was for long, nothing is sent until a person has looked: since when nobody was. Channels that overwrite
        their own messages need no such care."""
        now = self.clock.now()
        careless = self.post.repeatable() == self.post.channels.keys() and not self._calls()
        with self.database.write() as connection:
            database = identity(connection)
            remembered = memory.last(database)
            since = None if careless else fence(connection, now, remembered, starting=starting)
            at = alive(connection, now)
        memory.keep(database, at)
        return since

    def _calls(self) -> bool:
        """Whether a journey asks another system."""
        return any(
            isinstance(node.step, Call) for program in self.programs().values() for node in program.graph.nodes.values()
        )

    def recover(self, *, alone: bool = False) -> dict[str, int]:
        """Take up what a crash left of messages. `alone`: this is the only engine, so every claim is its dead
        predecessor's."""
        programs = list(self.programs().values())
        return recover_all(self.database, programs, self.post, self.clock.now(), alone=alone)


def has_messages(program: Program, step_id: str) -> bool:
    """Whether a step sends anything."""
    step = program.graph.nodes[step_id].step
    return isinstance(step, Step) and step.sends
