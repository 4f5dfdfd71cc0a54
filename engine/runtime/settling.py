"""Recording what became of messages: the message's row and its customer's move commit together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, and_, case, select, update

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.gate import TEAM
from engine.cohort.onward import Onward
from engine.cohort.program import Program
from engine.cohort.standing import IN_DOUBT, NOT_SENT, SENT
from engine.steps.call import Call
from engine.steps.send import Send
from engine.store.scratch import fill, scratch
from engine.store.tables import enrolment, message
from engine.store.types import id_type, json_type

SETTLED = ("accepted", "refused", "stopped", "in_doubt")


class Settled(NamedTuple):
    """What became of a message: accepted, refused, stopped or in_doubt. `fence` is that of the claim it was under;
    `kept`: what the steps after it may name of the answer, as JSON."""

    message_id: int
    fence: int
    state: str
    reason: str | None = None
    provider_id: str | None = None
    kept: str | None = None


settling = Table(
    "settling",
    MetaData(),
    Column("message_id", id_type(), primary_key=True, autoincrement=False),
    Column("fence", Integer),
    Column("state", Text),
    Column("reason", Text),
    Column("provider_id", Text),
    Column("kept", json_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


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
            doubts=message.c.doubts + case((settling.c.state == "in_doubt", 1), else_=0),
        )
    )
    settle(connection, program, step_id, now, pass_id)


def settle(connection: Connection, program: Program, step_id: str, now: datetime, pass_id: str) -> None:
    """Move on those who stand at this step for a message in `settling`."""
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
    verdict = case((message.c.state == "accepted", SENT), (message.c.state == "in_doubt", IN_DOUBT), else_=NOT_SENT)
    cohort = Cohort.freeze(
        connection,
        step=step_id,
        who=and_(enrolment.c.state == "standing", enrolment.c.step == step_id),
        judgement=Judgement(verdict, message.c.reason, detail=settling.c.kept),
        now=now,
        pass_id=pass_id,
        first=(messages, on),
        people=False,
        wait=True,
        family=program.family,
    )
    if cohort.size:
        node.step.settle(node, cohort)
        cohort.close()
