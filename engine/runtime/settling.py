"""Recording what became of messages: the message's row and its customer's move commit together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    or_,
    select,
    update,
)

from engine.cohort import coupons
from engine.cohort.caps import give_back
from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.gate import TEAM
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.cohort.standing import IN_DOUBT, NOT_SENT, SENT
from engine.runtime.doubts import spoken_of
from engine.steps.call import Call
from engine.steps.send import CAPPED_OUT, Send
from engine.store.scratch import fill, scratch
from engine.store.tables import enrolment, message
from engine.store.types import id_type, json_type

SETTLED = ("accepted", "refused", "stopped", "in_doubt")
UNDER_WAY = ("claimed", "dispatching")
NEVER_SENT = ("refused", "stopped")
"""Settled without having been sent: such a message counts under no cap."""


class Settled(NamedTuple):
    """What became of a message: accepted, refused, stopped or in_doubt. `fence` is that of the claim it was under;
    `kept`: what the steps after it may name of the answer, as JSON."""

    message_id: int
    fence: int
    state: str
    reason: str | None = None
    provider_id: str | None = None
    leaves: int = 0
    """1: stopped by a cap that ends the journey."""
    kept: str | None = None


settling = Table(
    "settling",
    MetaData(),
    Column("message_id", id_type(), primary_key=True, autoincrement=False),
    Column("fence", Integer),
    Column("state", Text),
    Column("reason", Text),
    Column("provider_id", Text),
    Column("leaves", Integer),
    Column("kept", json_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


def under(claims: Table) -> ColumnElement[bool]:
    """The messages that are still under these claims: rows of message_id and fence, in a scratch table."""
    return and_(
        message.c.id == claims.c.message_id,
        message.c.fence == claims.c.fence,
        message.c.id.in_(select(claims.c.message_id)),  # or SQLite may read every message there is
    )


def record(
    connection: Connection, program: Program, step_id: str, settled: Sequence[Settled], now: datetime, pass_id: str
) -> None:
    """Write down what became of these messages, and move on the customers who stood here for them, in one transaction.

    A claim that was lost meanwhile (the fence has risen) records nothing. An answer that comes when the message was
    given up as doubtful ends the doubt if it was sent, and counts for nothing else: another doubt of the same try would
    use up the repeat of a receipt. A message that was in doubt and is to be sent once more stays in doubt when that
    comes to nothing: the first one may have arrived."""
    if not settled:
        return
    scratch(connection, settling)
    fill(connection, settling, settled)
    in_time = or_(settling.c.state == "accepted", message.c.state.in_(UNDER_WAY))
    doubted = and_(message.c.doubts > 0, settling.c.state.in_(NEVER_SENT))
    connection.execute(
        update(message)
        .where(under(settling), in_time)
        .values(
            state=case((doubted, "in_doubt"), else_=settling.c.state),
            reason=settling.c.reason,
            provider_id=settling.c.provider_id,
            settled_at=now,
            lease_until=None,
            doubts=message.c.doubts + case((or_(doubted, settling.c.state == "in_doubt"), 1), else_=0),
        )
    )
    if program.project.caps and any(one.state in NEVER_SENT for one in settled):
        visits = select(message.c.customer_id, message.c.enrolment_id, message.c.visit)
        give_back(connection, visits.where(under(settling), message.c.state.in_(NEVER_SENT)))
    if program.names.coupons:
        accepted = select(settling.c.message_id).where(settling.c.state == "accepted")
        coupons.issue(connection, message.c.id.in_(accepted), now)
    if any(one.state == "in_doubt" for one in settled):
        spoken_of(connection, select(settling.c.message_id), now)
    leaves = any(one.leaves for one in settled)
    settle(connection, program, step_id, now, pass_id, leaves=leaves)


def settle(
    connection: Connection, program: Program, step_id: str, now: datetime, pass_id: str, *, leaves: bool
) -> None:
    """Move on those who stand at this step for a message in `settling`. `leaves`: some of them are capped out."""
    node = program.graph.nodes[step_id]
    if not isinstance(node.step, Send | Call):
        return
    on = and_(
        message.c.enrolment_id == enrolment.c.id,
        message.c.visit == enrolment.c.visit,
        message.c.route != TEAM,
        message.c.state.in_(SETTLED),
    )
    messages = Onward(settling, message, message.c.id == settling.c.message_id)
    verdict = case(
        (message.c.state == "accepted", SENT),
        (message.c.state == "in_doubt", IN_DOUBT),
        (settling.c.leaves == 1, CAPPED_OUT),
        else_=NOT_SENT,
    )
    cohort = Cohort.freeze(
        connection,
        step=step_id,
        who=and_(enrolment.c.state == "standing", enrolment.c.step == step_id),
        judgement=Judgement(verdict, message.c.reason, detail=settling.c.kept),
        now=now,
        pass_id=pass_id,
        first=(messages, on),
        wait=True,
        family=program.family,
    )
    if cohort.size:
        node.step.settle(node, cohort, leaves=leaves)
        cohort.close()
