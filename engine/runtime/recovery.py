"""Taking up what a crash left of messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, and_, literal, or_, true, update

from engine.cohort.gate import FETCH
from engine.cohort.program import Program
from engine.runtime import doubts
from engine.runtime.post import Post
from engine.runtime.settling import Settled, record
from engine.store.database import Database
from engine.store.tables import UNSETTLED, message
from engine.store.types import Instant

log = logging.getLogger("karibu.delivery")


def recover_all(
    database: Database, programs: Sequence[Program], post: Post, now: datetime, *, alone: bool = False
) -> dict[str, int]:
    """Take up what a crash left: expired claims go back to the queue, expired dispatches become in doubt, with their
    customers' move; then what was long enough in doubt is sent once more, if it is transactional.

    A channel whose send overwrites itself may repeat it: its dispatches are queued again. `alone`: at the start of the
    only engine there is, whatever is claimed was claimed by its dead predecessor, expired or not.

    Counts messages, and as `failed` the journeys whose messages wait for the next time."""
    counts = {"queued": 0, "in_doubt": 0, "failed": 0}
    for program in programs:
        try:
            queued, in_doubt = database.written(partial(_take_up, program=program, post=post, now=now, alone=alone))
        except Exception as error:  # one journey's fault costs the others nothing
            log.error("messages of %s can't be taken up: %s", program.name, type(error).__name__)
            counts["failed"] += 1
            continue
        counts["queued"] += queued
        counts["in_doubt"] += in_doubt
    counts["queued"] += database.written(partial(doubts.repeat, now=now))
    return counts


def _take_up(connection: Connection, program: Program, post: Post, now: datetime, alone: bool) -> tuple[int, int]:
    expired = true() if alone else message.c.lease_until <= literal(now, Instant())
    repeatable = or_(message.c.channel.in_(sorted(post.repeatable())), message.c.channel.startswith(FETCH))
    again = or_(message.c.state == "claimed", and_(message.c.state == "dispatching", repeatable))
    mine = and_(message.c.version_id == program.version_id, UNSETTLED)
    back = update(message).where(mine, again, expired)
    back = back.values(state="queued", lease_until=None, fence=message.c.fence + 1)
    queued = connection.execute(back).rowcount
    lost = update(message).where(mine, message.c.state == "dispatching", expired)
    lost = lost.values(lease_until=None)  # locked; `record` makes them doubtful
    doubtful: dict[str, list[Settled]] = {}
    for message_id, fence, step_id in connection.execute(lost.returning(message.c.id, message.c.fence, message.c.step)):
        doubtful.setdefault(step_id, []).append(Settled(message_id, fence, "in_doubt", "crash"))
    for step_id, settled in sorted(doubtful.items()):
        record(connection, program, step_id, settled, now, "recovery")
    return queued, sum(map(len, doubtful.values()))
