"""Delivery: claim, gate, render, dispatch, record.

A message is queued → claimed (a lease and a fence that only rises) → dispatching, committed before anything leaves the
house → accepted | refused | stopped | in_doubt. An expired claim goes back to the queue. An expired dispatch is in
doubt and is never queued again, unless the channel's send overwrites itself. The record of a message and the move of
its customer commit together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    case,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)

from engine.channels.base import Accepted, Channel, InDoubt, Outgoing, Refused, Result, Sender
from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.gate import TEAM
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.language.vocabulary import TRANSACTIONAL
from engine.rendering.links import Subscription
from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, RenderError
from engine.runtime import letters, matching
from engine.runtime.advance import StepReport, running
from engine.runtime.clock import Clock
from engine.runtime.letters import Letter
from engine.steps.send import IN_DOUBT, NOT_SENT, SENT, Send
from engine.store.database import Database
from engine.store.scratch import fill, scratch
from engine.store.tables import UNSETTLED, enrolment, message
from engine.store.types import Instant, id_type

log = logging.getLogger("karibu.delivery")

BATCH = 250
LEASE = timedelta(minutes=5)
ATTEMPTS = 5
"""Tries of a message that a provider refuses for now; then it is refused."""

SETTLED = ("accepted", "refused", "stopped", "in_doubt")


class Settled(NamedTuple):
    """What became of a message: accepted, refused, stopped or in_doubt. `fence` is that of the claim it was under."""

    message_id: int
    fence: int
    state: str
    reason: str | None = None
    provider_id: str | None = None


settling = Table(
    "settling",
    MetaData(),
    Column("message_id", id_type(), primary_key=True, autoincrement=False),
    Column("fence", Integer),
    Column("state", Text),
    Column("reason", Text),
    Column("provider_id", Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


@dataclass(frozen=True)
class Post:
    """What delivery needs of the world. `unsubscribe` makes the link that ends a subscription."""

    channels: Mapping[str, Channel]
    renderer: Renderer
    sender: Sender
    unsubscribe: Callable[[Subscription], str]
    team: Mapping[str, str] = field(default_factory=dict)
    threads: int = 8


def deliver(database: Database, program: Program, step_id: str, clock: Clock, post: Post, pass_id: str) -> StepReport:
    """Send what is queued at this step, batch by batch, and move on those whose messages are settled."""
    report = StepReport(step_id)
    while True:
        letters_, done = _claim(database, program, step_id, clock.now(), post, pass_id, report)
        if letters_:
            _dispatch(database, program, step_id, letters_, clock, post, pass_id, report)
        if done:
            return report


def recover_all(
    database: Database, programs: Sequence[Program], post: Post, now: datetime, *, alone: bool = False
) -> dict[str, int]:
    """Take up what a crash left: expired claims go back to the queue, expired dispatches become in doubt, with their
    customers' move.

    A channel whose send overwrites itself may repeat it: its dispatches are queued again. `alone`: at the start of the
    only engine there is, whatever is claimed was claimed by its dead predecessor, expired or not."""
    repeatable = [name for name, channel in post.channels.items() if getattr(channel, "idempotent", False)]
    expired = true() if alone else message.c.lease_until <= literal(now, Instant())
    again = or_(message.c.state == "claimed", and_(message.c.state == "dispatching", message.c.channel.in_(repeatable)))
    counts = {"queued": 0, "in_doubt": 0}
    for program in programs:
        mine = and_(message.c.version_id == program.version_id, UNSETTLED)
        with database.write() as connection:
            back = update(message).where(mine, again, expired)
            back = back.values(state="queued", lease_until=None, fence=message.c.fence + 1)
            counts["queued"] += connection.execute(back).rowcount
            lost = update(message).where(mine, message.c.state == "dispatching", expired)
            lost = lost.values(state="in_doubt", reason="crash", settled_at=now, lease_until=None)
            doubtful: dict[str, list[Settled]] = {}
            rows = lost.returning(message.c.id, message.c.fence, message.c.step)
            for message_id, fence, step_id in connection.execute(rows):
                doubtful.setdefault(step_id, []).append(Settled(message_id, fence, "in_doubt", "crash"))
            for step_id, settled in sorted(doubtful.items()):
                counts["in_doubt"] += len(settled)
                record(connection, program, step_id, settled, now, "recovery")
    return counts


def _claim(
    database: Database,
    program: Program,
    step_id: str,
    now: datetime,
    post: Post,
    pass_id: str,
    report: StepReport,
) -> tuple[list[Letter], bool]:
    """Claim a batch, ask the gate again, and read what its messages need. True when the queue had no more than that."""
    mine = and_(
        message.c.version_id == program.version_id,
        message.c.step == step_id,
        message.c.state == "queued",
        message.c.due_at <= literal(now, Instant()),
        UNSETTLED,
        running(program.version_id),
    )
    with database.write() as connection:
        free = select(message.c.id).where(mine).order_by(message.c.due_at).limit(BATCH)
        claim = (
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
        ids = sorted(connection.scalars(claim))
        if not ids:
            return [], True
        people = select(message.c.customer_id).where(message.c.id.in_(ids)).distinct().subquery("people")
        matching.exit_when(connection, program, people, now)
        found = letters.load(connection, program, step_id, ids, now, post.renderer)
        stopped = [letter for letter in found if letter.stop is not None]
        record(connection, program, step_id, [_of(letter, "stopped", letter.stop) for letter in stopped], now, pass_id)
        report.stopped.update(letter.stop for letter in stopped if letter.stop is not None)
    return [letter for letter in found if letter.stop is None], len(ids) < BATCH


def _dispatch(
    database: Database,
    program: Program,
    step_id: str,
    claimed: list[Letter],
    clock: Clock,
    post: Post,
    pass_id: str,
    report: StepReport,
) -> None:
    ready: list[tuple[Letter, Outgoing]] = []
    unfit: list[Settled] = []
    for letter in claimed:
        try:
            ready.append((letter, _outgoing(letter, clock.now(), post)))
        except RenderError as error:
            log.warning("a message of %s at %s was not rendered: %s", program.name, step_id, error)
            unfit.append(_of(letter, "stopped", f"render:{error.reason}"))
        except Exception as error:  # one customer's message costs the others of the batch nothing
            # The class of the error only: its text may quote the customer.
            log.error("a message of %s at %s could not be made: %s", program.name, step_id, type(error).__name__)
            unfit.append(_of(letter, "stopped", f"render:{type(error).__name__}"))
    with database.write() as connection:
        going = _mark_dispatching(connection, ready)
        record(connection, program, step_id, unfit, clock.now(), pass_id)
    report.stopped.update(str(one.reason) for one in unfit)
    ready = [(letter, outgoing) for letter, outgoing in ready if letter.message_id in going]
    if not ready:
        return
    with ThreadPoolExecutor(min(post.threads, len(ready))) as pool:
        results = list(pool.map(lambda pair: _send(post, pair[1]), ready))
    now = clock.now()
    again: list[tuple[Letter, timedelta]] = []
    settled: list[Settled] = []
    for (letter, _), result in zip(ready, results, strict=True):
        if isinstance(result, Refused) and result.retry_after is not None and letter.attempts < ATTEMPTS:
            again.append((letter, result.retry_after))
        else:
            settled.append(_settled(letter, result))
    with database.write() as connection:
        _requeue(connection, again, now)
        record(connection, program, step_id, settled, now, pass_id)
    report.sent += sum(one.state == "accepted" for one in settled)
    report.stopped.update(one.state for one in settled if one.state != "accepted")


def _outgoing(letter: Letter, now: datetime, post: Post) -> Outgoing:
    transactional = letter.topic == TRANSACTIONAL
    url = None
    if not transactional:
        url = post.unsubscribe(Subscription(letter.external_id, letter.channel, letter.topic, letter.locale or ""))
    if letter.route == TEAM:
        content: Any = letters.notice(letter)
        to, channel = post.team.get(letter.template, ""), "email"
        if not to:
            raise RenderError("no_template", f"project.yaml's team has no {letter.template}")
    else:
        content = post.renderer.render(letter.template, letter.locale, letter.values, Links(unsubscribe=url))
        to, channel = letter.address, letter.channel
    return Outgoing(
        ref=letter.ref,
        channel=channel,
        to=to,
        to_name=letter.name,
        content=content,
        sender=post.sender,
        at=now,
        topic=letter.topic,
        transactional=transactional,
        unsubscribe_url=url,
        labels={"journey": letter.journey, "step": letter.step},
    )


def _send(post: Post, outgoing: Outgoing) -> Result:
    channel = post.channels.get(outgoing.channel)
    if channel is None:
        return Refused("no_channel")
    try:
        return channel.send(outgoing)
    except Exception as error:  # a channel that breaks its word: nobody knows what left the house
        log.error("channel %s failed: %s", outgoing.channel, type(error).__name__)
        return InDoubt(f"error:{type(error).__name__}")


def _settled(letter: Letter, result: Result) -> Settled:
    match result:
        case Accepted(provider_id):
            return _of(letter, "accepted", None, provider_id)
        case Refused(reason):
            return _of(letter, "refused", reason)
        case InDoubt(reason):
            return _of(letter, "in_doubt", reason)


def _of(letter: Letter, state: str, reason: str | None, provider_id: str | None = None) -> Settled:
    return Settled(letter.message_id, letter.fence, state, reason, provider_id)


def _mark_dispatching(connection: Connection, ready: Sequence[tuple[Letter, Outgoing]]) -> set[int]:
    """Commit that these are about to leave. Those whose claim was lost meanwhile (their fence has risen) stay."""
    if not ready:
        return set()
    claims = [(letter.message_id, letter.fence) for letter, _ in ready]
    mine = and_(
        message.c.id.in_([message_id for message_id, _ in claims]),  # SQLite seeks by a list, but not by pairs
        tuple_(message.c.id, message.c.fence).in_(claims),
    )
    rows = update(message).where(mine, message.c.state == "claimed").values(state="dispatching").returning(message.c.id)
    return set(connection.scalars(rows))


def _requeue(connection: Connection, again: Sequence[tuple[Letter, timedelta]], now: datetime) -> None:
    if again:
        statement = (
            update(message)
            .where(
                message.c.id == bindparam("of"),
                message.c.fence == bindparam("under"),
                message.c.state == "dispatching",
            )
            .values(state="queued", due_at=bindparam("at"), lease_until=None)
        )
        rows = [{"of": letter.message_id, "under": letter.fence, "at": now + after} for letter, after in again]
        connection.execute(statement, rows)


def record(
    connection: Connection, program: Program, step_id: str, settled: Sequence[Settled], now: datetime, pass_id: str
) -> None:
    """Write down what became of these messages, and move on the customers who stood here for them, in one transaction.

    A claim that was lost meanwhile (the fence has risen) records nothing."""
    if not settled:
        return
    scratch(connection, settling)
    fill(connection, settling, settled)
    mine = and_(
        message.c.id == settling.c.message_id,
        message.c.fence == settling.c.fence,
        message.c.id.in_(select(settling.c.message_id)),  # or SQLite may read every message there is
    )
    connection.execute(
        update(message)
        .where(mine)
        .values(
            state=settling.c.state,
            reason=settling.c.reason,
            provider_id=settling.c.provider_id,
            settled_at=now,
            lease_until=None,
        )
    )
    settle(connection, program, step_id, now, pass_id)


def settle(connection: Connection, program: Program, step_id: str, now: datetime, pass_id: str) -> None:
    """Move on those who stand at this step for a message in `settling`."""
    node = program.graph.nodes[step_id]
    if not isinstance(node.step, Send):
        return
    on = and_(
        message.c.enrolment_id == enrolment.c.id,
        message.c.visit == enrolment.c.visit,
        message.c.route != TEAM,
        message.c.state.in_(SETTLED),
    )
    messages = Onward(settling, message, message.c.id == settling.c.message_id)
    verdict = case((message.c.state == "accepted", SENT), (message.c.state == "in_doubt", IN_DOUBT), else_=NOT_SENT)
    cohort = Cohort.freeze(
        connection,
        step=step_id,
        who=and_(enrolment.c.state == "standing", enrolment.c.step == step_id),
        judgement=Judgement(verdict, message.c.reason),
        now=now,
        pass_id=pass_id,
        first=(messages, on),
        people=False,
        wait=True,
    )
    if cohort.size:
        node.step.settle(node, cohort)
        cohort.close()
