"""Delivery: claim, gate, render, gate again, dispatch, record.

A message is queued → claimed (a lease and a fence that only rises) → dispatching, committed before anything leaves the
house → accepted | refused | stopped | in_doubt. An expired claim goes back to the queue. An expired dispatch is in
doubt and is never queued again, unless the channel's send overwrites itself. The record of a message and the move of
its customer commit together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from zlib import crc32

from sqlalchemy import ColumnElement, Connection, and_, bindparam, literal, not_, select, true, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate

from engine.channels.base import Accepted, InDoubt, Outgoing, Refused, Result
from engine.cohort.gate import TEAM
from engine.cohort.program import Program
from engine.cohort.step import Step
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.values import RenderError
from engine.runtime import broadcasts, calls, holding, letters, matching, rates, shortened
from engine.runtime.advance import StepReport, running
from engine.runtime.breakers import wait
from engine.runtime.clock import Clock
from engine.runtime.gone import Gone, suppress
from engine.runtime.holding import Asked
from engine.runtime.letters import Letter
from engine.runtime.pace import Pace
from engine.runtime.pausing import paused
from engine.runtime.post import Post
from engine.runtime.rivals import Place, goes_first
from engine.runtime.settling import UNDER_WAY, Settled, record
from engine.store.database import Database
from engine.store.merges import facts_stay
from engine.store.tables import UNSETTLED, message
from engine.store.types import Instant

log = logging.getLogger("karibu.delivery")

BATCH, LARGE_BATCH = 250, 1_000
"""How many messages are claimed at once: on SQLite few while events come in, because their loading keeps the writer."""
LEASE = timedelta(minutes=5)
"""How long a claim, and a dispatch, is ours. No channel may take longer over one message."""
KEPT = LEASE / 2
"""What has not left so long after its claim goes back to the queue: its content has grown old, and its lease too."""
RENDERED = KEPT / 2
"""A batch is rendered for so long: what has had no turn by then goes back, and what has still has time to leave."""
ATTEMPTS = 8
"""Tries of a message that a provider refuses for now, over about an hour; then it is refused."""


Ready = tuple[Letter, Outgoing]


@dataclass(frozen=True)
class Delivery:
    """The sending of one step's messages in one pass. `report` counts what became of them. `rivals`: the steps of
    other journeys whose held messages go first."""

    database: Database
    program: Program
    step_id: str
    clock: Clock
    post: Post
    pass_id: str
    report: StepReport
    rivals: Sequence[Place] = ()
    batch: Callable[[], int] = lambda: BATCH

    def claim(self) -> tuple[list[Letter], bool]:
        """Claim a batch, ask the gate, and read what its messages need. True when the queue had no more than that."""
        now, version_id, most = self.clock.now(), self.program.version_id, self.batch()
        silent = self._silent(now)
        mine = and_(
            message.c.version_id == version_id,
            message.c.step == self.step_id,
            message.c.state == "queued",
            message.c.due_at <= literal(now, Instant()),
            UNSETTLED,
            running(version_id),
            not_(paused(self.program.name)),
        )

        def take(connection: Connection) -> tuple[list[Letter], list[Settled], bool]:
            first = broadcasts.may_leave(connection, self.program, self.step_id, now)
            room = self._room(connection, now)
            closed = [*silent, *(channel for channel, n in room.items() if not n)]
            which = and_(mine, message.c.channel.not_in(closed), true() if first is None else first)
            if self.rivals and self.program.project.holds:
                which = and_(which, not_(goes_first(self.rivals, now)))
            ids = sorted(connection.scalars(self._claim(which, min([most, *filter(None, room.values())]), now)))
            if not ids:
                return [], [], True
            people = select(message.c.customer_id).where(message.c.id.in_(ids)).distinct().subquery("people")
            matching.exit_when(connection, self.program, people, now)
            found = letters.load(connection, self.program, self.step_id, ids, now, self.post.renderer)
            may = [letter for letter in found if letter.stop is None]
            asked = holding.ask(connection, self.program, may, now)
            holding.hold(connection, self.step_id, may, asked.held, now)
            stopped = [_of(letter, "stopped", letter.stop) for letter in found if letter.stop is not None]
            stopped += _stopped(may, asked)
            self._record(connection, stopped)
            going = asked.may(may)
            self._spend(connection, room, going, now)
            return going, stopped, len(ids) < most

        claimed, stopped, done = self.database.written(take)
        self._count(stopped)
        return claimed, done

    def _claim(self, which: ColumnElement[bool], most: int, now: datetime) -> ReturningUpdate[int]:
        """Claims at most so many of these messages, and tells their ids."""
        free = select(message.c.id).where(which).order_by(message.c.due_at).limit(most)
        return (
            update(message)
            .where(message.c.id.in_(free.with_for_update(skip_locked=True)))
            .values(
                state="claimed",
                fence=message.c.fence + 1,
                attempts=message.c.attempts + 1,
                lease_until=literal(now + LEASE, Instant()),
            )
            .returning(message.c.id)
        )

    def dispatch(self, claimed: Sequence[Letter]) -> None:
        """Render what was claimed, and let it leave wave by wave."""
        begun = self.clock.now()
        ready, settled, unmade = self._made(claimed, begun)
        refused: list[tuple[Letter, timedelta]] = []
        gone: list[Gone] = []
        while ready or settled or refused or unmade:
            ready, unsent = self._parted(ready, begun)
            unsent, unmade = unsent + unmade, []
            size = 1 if any(self.post.doubted(letter.channel) for letter, _ in ready) else self.post.waves.size
            wave, ready = ready[:size], ready[size:]
            turn = partial(self._turn, settled=settled, refused=refused, gone=gone, unsent=unsent, wave=wave)
            going, stopped, asked = self.database.written(turn)
            self._count(settled + stopped)
            settled, refused, gone = [], [], []
            results = self.post.send_all([outgoing for _, outgoing in going], self.clock, asked)
            late = []
            for (letter, outgoing), result in zip(going, results, strict=True):
                if result is None:
                    late.append((letter, outgoing))
                elif isinstance(result, Refused) and result.retry_after and letter.attempts < ATTEMPTS:
                    refused.append((letter, wait(result, letter.attempts, _chance(letter))))
                else:
                    settled.append(_settled(letter, result, self.program))
                    if isinstance(result, Refused) and result.ends and letter.route != TEAM:
                        gone.append(Gone(letter.message_id, letter.channel, letter.address, result.ends))
            self.post.waves.took(len(going), len(late), self.clock.now() - asked)
            ready = late + ready

    def _parted(self, ready: list[Ready], begun: datetime) -> tuple[list[Ready], list[Letter]]:
        """What is still to leave, and what goes back to the queue: all that has grown old since the claim, and what
        the provider doesn't take at present."""
        now = self.clock.now()
        if now - begun > KEPT:
            return [], [letter for letter, _ in ready]
        silent = self._silent(now)
        return (
            [(letter, outgoing) for letter, outgoing in ready if letter.channel not in silent],
            [letter for letter, _ in ready if letter.channel in silent],
        )

    def _made(self, claimed: Sequence[Letter], begun: datetime) -> tuple[list[Ready], list[Settled], list[Letter]]:
        """The messages, rendered; those that couldn't be; and those that time didn't suffice for, never all of them."""
        ready: list[Ready] = []
        unfit: list[Settled] = []
        for n, letter in enumerate(claimed):
            if n and self.clock.now() - begun > RENDERED:
                return ready, unfit, list(claimed[n:])
            try:
                ready.append((letter, self.post.make(letter, self.clock.now())))
            except RenderError as error:
                log.warning("a message of %s at %s was not rendered: %s", self.program.name, self.step_id, error)
                unfit.append(_of(letter, "stopped", f"render:{error.reason}"))
            except Exception as error:  # one customer's message costs the others of the batch nothing
                # The class of the error only: its text may quote the customer.
                fault = type(error).__name__
                log.error("a message of %s at %s could not be made: %s", self.program.name, self.step_id, fault)
                unfit.append(_of(letter, "stopped", f"render:{fault}"))
        return ready, unfit, []

    def _turn(
        self,
        connection: Connection,
        settled: list[Settled],
        refused: list[tuple[Letter, timedelta]],
        gone: list[Gone],
        unsent: list[Letter],
        wave: list[Ready],
    ) -> tuple[list[Ready], list[Settled], datetime]:
        """Between two waves: write down what became of the one before, and let this one leave. With the moment at which
        the gate was asked: on PostgreSQL a no may be committed beside the rest of this transaction."""
        if gone:
            facts_stay(connection)
        self._record(connection, settled)
        suppress(connection, gone, self.clock.now())
        _later(connection, refused, self.clock.now())
        _give_back(connection, unsent)
        asked = self.clock.now()
        going, stopped = self._leaving(connection, wave, asked) if wave else ([], [])
        return going, stopped, asked

    def _leaving(self, connection: Connection, wave: list[Ready], now: datetime) -> tuple[list[Ready], list[Settled]]:
        """Ask the gate once more, for what was committed while these were rendered, and mark as leaving those that
        may; the others are stopped. What may go, but not now, is in the queue again."""
        stops = letters.stops(connection, self.program, self.step_id, [letter for letter, _ in wave], now)
        may_go = [letter for letter, _ in wave if letter.message_id not in stops]
        asked = holding.ask_again(connection, self.program, may_go, now)
        holding.hold(connection, self.step_id, may_go, asked.held, now)
        stops |= broadcasts.same_address(connection, self.program, self.step_id, asked.may(may_go))
        stopped = [_of(letter, "stopped", stops[letter.message_id]) for letter, _ in wave if letter.message_id in stops]
        stopped += _stopped(may_go, asked)
        self._record(connection, stopped)
        gone = {*stops, *asked.stopped, *asked.held}
        may = [(letter, outgoing) for letter, outgoing in wave if letter.message_id not in gone]
        going = _mark_dispatching(connection, self.program, [letter for letter, _ in may], now)
        _give_back(connection, [letter for letter, _ in may if letter.message_id not in going])
        leaving = [(letter, outgoing) for letter, outgoing in may if letter.message_id in going]
        shortened.keep(connection, ((letter.message_id, outgoing.links) for letter, outgoing in leaving))
        return leaving, stopped

    def _silent(self, now: datetime) -> list[str]:
        """The channels of this step's messages that are left alone for now."""
        return [channel for channel in self._channels() if self.post.silent(channel, now)]

    def _room(self, connection: Connection, now: datetime) -> dict[str, int]:
        """Of this step's channels that have a rate, how many messages may go now."""
        transactional = self.program.topic == TRANSACTIONAL
        return {
            channel: rates.hold(connection, *limited, now, transactional=transactional or channel == TEAM)
            for channel in self._channels()
            if (limited := self.post.rate(channel)) is not None
        }

    def _spend(self, connection: Connection, room: Mapping[str, int], going: Sequence[Letter], now: datetime) -> None:
        for channel, n in Counter(letter.channel for letter in going).items():
            limited = self.post.rate(channel)
            if channel in room and limited is not None:
                rates.spend(connection, *limited, now, n)

    def _channels(self) -> list[str]:
        step = self.program.graph.nodes[self.step_id].step
        return sorted(step.channels()) if isinstance(step, Step) else []

    def _record(self, connection: Connection, settled: Sequence[Settled]) -> None:
        record(connection, self.program, self.step_id, settled, self.clock.now(), self.pass_id)

    def _count(self, settled: Sequence[Settled]) -> None:
        self.report.sent += sum(one.state == "accepted" for one in settled)
        stopped = [one for one in settled if one.state != "accepted"]
        self.report.stopped.update(str(one.reason) if one.state == "stopped" else one.state for one in stopped)


def deliver(
    database: Database,
    program: Program,
    step_id: str,
    clock: Clock,
    post: Post,
    pass_id: str,
    pace: Pace,
    rivals: Sequence[Place] = (),
) -> StepReport:
    """Send what is queued at this step, batch by batch, and move on those whose messages are settled."""

    def batch() -> int:
        return LARGE_BATCH if pace.chunk() > Pace.SMALL else BATCH

    delivery = Delivery(database, program, step_id, clock, post, pass_id, StepReport(step_id), rivals, batch)
    while True:
        claimed, done = delivery.claim()
        delivery.dispatch(claimed)
        if done:
            return delivery.report


def _settled(letter: Letter, result: Result, program: Program) -> Settled:
    match result:
        case Accepted(provider_id, answer):
            settled = _of(letter, "accepted", None, provider_id)
            return settled if letter.call is None else calls.kept(settled, letter.call, answer, program.vocabulary)
        case Refused(reason):
            return _of(letter, "refused", reason)
        case InDoubt(reason):
            return _of(letter, "in_doubt", reason)


def _chance(letter: Letter) -> float:
    """From 0 to 1, the same for the same attempt."""
    return crc32(f"{letter.ref}.{letter.attempts}".encode()) / 2**32


def _of(letter: Letter, state: str, reason: str | None, provider_id: str | None = None) -> Settled:
    return Settled(letter.message_id, letter.fence, state, reason, provider_id)


def _stopped(letters_: Sequence[Letter], asked: Asked) -> list[Settled]:
    """What caps, quiet hours and missing coupons stopped of these."""
    return [
        Settled(letter.message_id, letter.fence, "stopped", why, leaves=int(letter.message_id in asked.leaves))
        for letter in letters_
        if (why := asked.stopped.get(letter.message_id)) is not None
    ]


def _mark_dispatching(connection: Connection, program: Program, going: Sequence[Letter], now: datetime) -> set[int]:
    """Commit that these are about to leave. Those whose claim was lost meanwhile stay, and so do all when the journey
    was stopped or its messages are held."""
    may = and_(_claimed_as(going), running(program.version_id), not_(paused(program.name)))
    leave = update(message).where(may).values(state="dispatching", lease_until=literal(now + LEASE, Instant()))
    return set(connection.scalars(leave.returning(message.c.id)))


def _give_back(connection: Connection, unsent: Sequence[Letter]) -> None:
    """Back to the queue: these never left, which is no attempt."""
    if unsent:
        back = update(message).where(_claimed_as(unsent))
        connection.execute(back.values(state="queued", lease_until=None, attempts=message.c.attempts - 1))


def _claimed_as(letters_: Sequence[Letter]) -> ColumnElement[bool]:
    """These messages, where they are still under the claim that was made then: their fence hasn't risen."""
    claims = [(letter.message_id, letter.fence) for letter in letters_]
    return and_(
        message.c.id.in_([message_id for message_id, _ in claims]),  # SQLite seeks by a list, but not by pairs
        tuple_(message.c.id, message.c.fence).in_(claims),
        message.c.state.in_(UNDER_WAY),  # dispatching: marked before, and its turn didn't come
    )


def _later(connection: Connection, refused: Sequence[tuple[Letter, timedelta]], now: datetime) -> None:
    """Back to the queue until so long from now. Whatever they were held for before is over: they were let go."""
    if refused:
        statement = (
            update(message)
            .where(
                message.c.id == bindparam("of"),
                message.c.fence == bindparam("under"),
                message.c.state == "dispatching",
            )
            .values(state="queued", due_at=bindparam("at"), lease_until=None, reason=None)
        )
        rows = [{"of": letter.message_id, "under": letter.fence, "at": now + after} for letter, after in refused]
        connection.execute(statement, rows)
