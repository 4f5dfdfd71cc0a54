"""What is asked more carefully of a broadcast: marketing that goes to a whole audience at once.

A slice of it goes first, and the rest only when the slice has come to no harm (`Canary`). And no address gets it twice,
whoever else has it too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    type_coerce,
)

from engine.cohort.gate import ADDRESS
from engine.cohort.program import Program
from engine.language.vocabulary import TRANSACTIONAL
from engine.runtime import pausing
from engine.runtime.letters import Letter
from engine.store import marks
from engine.store.scratch import insert_ignore
from engine.store.tables import (
    NO_CHILD,
    UNSETTLED,
    broadcast_address,
    customer,
    enrolment,
    mark,
    message,
    message_event,
)
from engine.store.types import Instant, micros, moment

log = logging.getLogger("karibu.delivery")

MANY = 1_000
"""So many messages at one step are a broadcast whose first slice is watched."""
GOOD_FOR = timedelta(hours=12)
"""So long after a slice has come to no harm the messages of its step go as they come."""
_NAME = "canary:"
_CANARIES = select(mark.c.name, mark.c.value).where(mark.c.name >= _NAME, mark.c.name < _NAME[:-1] + ";")
_DAY = 86_400_000_000


def is_broadcast(program: Program) -> bool:
    """Whether a journey lets a whole audience in at once, and sends it marketing."""
    return program.journey.enter.broadcasts() and program.topic != TRANSACTIONAL


@dataclass(frozen=True)
class Canary:
    """The watched slice of one step: messages up to id `bound`, since it `began`. Once all of them are settled the rest
    waits `until` then; `passed`: when the rest was let go; `failed`: they came to harm."""

    bound: int
    began: datetime
    until: datetime | None = None
    passed: datetime | None = None
    failed: bool = False

    @classmethod
    def read(cls, value: dict[str, Any]) -> Canary:
        until, passed = (None if value[key] is None else moment(value[key]) for key in ("until", "passed"))
        return cls(value["bound"], moment(value["began"]), until, passed, value["failed"])

    def plain(self) -> dict[str, Any]:
        until, passed = (None if at is None else micros(at) for at in (self.until, self.passed))
        began = micros(self.began)
        return {"bound": self.bound, "began": began, "until": until, "passed": passed, "failed": self.failed}


def may_leave(connection: Connection, program: Program, step_id: str, now: datetime) -> ColumnElement[bool] | None:
    """Which of the step's messages may leave now, in the transaction that claims them; None: all of them."""
    if not is_broadcast(program):
        return None
    name = f"{_NAME}{program.version_id}:{step_id}"
    mine = and_(message.c.version_id == program.version_id, message.c.step == step_id)
    waiting = and_(mine, message.c.state == "queued", message.c.due_at <= literal(now, Instant()), UNSETTLED)
    kept = connection.scalar(marks.kept(name).with_for_update())
    canary = None if kept is None else Canary.read(kept)
    if canary is not None and canary.passed is not None and now - canary.passed < GOOD_FOR:
        return None
    if canary is not None:
        canary = None if canary.passed is not None else _look(connection, program, canary, mine, now)
    if canary is None:
        few = select(message.c.id).where(waiting).limit(MANY + 1).subquery()
        if (connection.scalar(select(func.count()).select_from(few)) or 0) <= MANY:
            return None
        canary = _begin(connection, program, waiting, now)
        log.info("%s at %s is sent to many: a first slice goes, the rest waits", program.name, step_id)
    marks.put(connection, name, canary.plain())
    return None if canary.passed is not None else message.c.id <= canary.bound


def _begin(connection: Connection, program: Program, waiting: ColumnElement[bool], now: datetime) -> Canary:
    count = connection.scalar(select(func.count()).select_from(message).where(waiting)) or 0
    size = max(1, count * program.journey.canary.share // 10_000)
    ids = select(message.c.id).where(waiting).order_by(message.c.id).offset(size - 1).limit(1)
    return Canary(connection.scalar(ids) or 0, now)


def _look(
    connection: Connection, program: Program, canary: Canary, mine: ColumnElement[bool], now: datetime
) -> Canary | None:
    """How the slice has fared by now. When it comes to harm the journey is paused; that somebody resumes it says that
    the rest may go. None: all of it was stopped or is held, which says nothing, so another slice is to be watched."""
    if canary.failed:
        held = connection.scalar(select(pausing.paused(program.name)))
        return canary if held else replace(canary, passed=now)
    bad, spam, size, open_ = _harm(connection, canary, mine, now)
    if not size:
        return None
    limit = program.journey.canary.stop_at
    if bad * 10_000 > limit * size or spam * 100_000 > limit * size:
        why = f"of the first {size} messages {bad} were refused or came back, {spam} as spam; resume sends the rest"
        pausing.pause(connection, program.name, now, why)
        log.warning("%s is paused: %s", program.name, why)
        return replace(canary, failed=True)
    if open_:
        return canary
    until = canary.until or now + program.journey.canary.for_
    return replace(canary, until=until, passed=now if until <= now else None)


def _harm(
    connection: Connection, canary: Canary, mine: ColumnElement[bool], now: datetime
) -> tuple[int, int, int, int]:
    """Of the slice: how many were refused, bounced or called spam, how many were called spam, how many those are that
    went out or are about to, and how many are still to go. Those that are held till later are none of them."""
    began = literal(canary.began, Instant())
    later = and_(message.c.state == "queued", message.c.due_at > literal(now, Instant()))
    slice_ = and_(mine, message.c.id <= canary.bound, or_(UNSETTLED, message.c.settled_at >= began), not_(later))

    def back(*kinds: str) -> ColumnElement[bool]:
        of = and_(message_event.c.message_id == message.c.id, message_event.c.kind.in_(kinds))
        return exists().where(of).correlate(message)

    bad, spam, size, open_ = connection.execute(
        select(
            func.count(case((message.c.state == "refused", 1), (back("bounced", "complained"), 1))),
            func.count(case((back("complained"), 1))),
            func.count(case((message.c.state != "stopped", 1))),
            func.count(case((UNSETTLED, 1))),
        ).where(slice_)
    ).one()
    return bad, spam, size, open_


def holding(connection: Connection, now: datetime) -> frozenset[tuple[int, str]]:
    """The steps (of a version, by id) whose messages wait for the time after their first slice to be over."""
    return frozenset(place for place, one in _open(connection) if one.until is not None and now < one.until)


@dataclass(frozen=True)
class Watched:
    """A step whose first slice is watched: how many messages wait for it, and until when (None: it isn't out yet)."""

    waiting: int
    until: datetime | None


def watched(connection: Connection) -> dict[tuple[int, str], Watched]:
    """The steps (of a version, by id) of which messages wait for the end of their first slice."""
    found = {}
    for (version, step), canary in _open(connection):
        behind = and_(
            message.c.version_id == version,
            message.c.step == step,
            message.c.state == "queued",
            message.c.id > canary.bound,
            UNSETTLED,
        )
        waiting = connection.scalar(select(func.count()).select_from(message).where(behind)) or 0
        if waiting:
            found[version, step] = Watched(waiting, canary.until)
    return found


def _open(connection: Connection) -> Iterator[tuple[tuple[int, str], Canary]]:
    """The slices that have neither come to harm nor been let pass, by version and step."""
    for name, value in connection.execute(_CANARIES):
        canary = Canary.read(value)
        if canary.passed is None and not canary.failed:
            version, _, step = name.removeprefix(_NAME).partition(":")
            yield (int(version), step), canary


def same_address(connection: Connection, program: Program, step_id: str, going: Sequence[Letter]) -> dict[int, str]:
    """Those of these messages (by id) whose address another customer has, who has got this broadcast or is about to.

    A row for each address, under a unique key, in the transaction that lets messages leave: of two engines one is
    first. A message that is tried again finds its own row."""
    found: dict[int, str] = {}
    if not is_broadcast(program):
        return found
    for channel in sorted({letter.channel for letter in going if letter.channel in ADDRESS}):
        ids = [letter.message_id for letter in going if letter.channel == channel]
        address_hash = ADDRESS[channel][1]
        key = {
            "version_id": message.c.version_id,
            "step": message.c.step,
            "visit": message.c.visit,
            "fire": _fire(),
            "channel": message.c.channel,
            "address_hash": address_hash,
        }
        source = message.join(enrolment, enrolment.c.id == message.c.enrolment_id).join(
            customer, customer.c.id == message.c.customer_id
        )
        asked = and_(message.c.id.in_(ids), NO_CHILD, address_hash.is_not(None))
        rows = select(*key.values(), message.c.id).select_from(source).where(asked).order_by(address_hash, message.c.id)
        add = insert_ignore(connection, broadcast_address).from_select([*key, "message_id"], rows)
        connection.execute(add)
        there = broadcast_address.c
        first = and_(*(there[name] == column for name, column in key.items()), there.message_id != message.c.id)
        others = select(message.c.id).select_from(source.join(broadcast_address, first)).where(asked)
        found |= dict.fromkeys(connection.scalars(others), "same_address")
    return found


def _fire() -> ColumnElement[str]:
    """What makes two entries the same broadcast: the time of a schedule, or the day on which a segment was let in."""
    day = cast(type_coerce(enrolment.c.entered_at, BigInteger).op("/")(literal(_DAY, BigInteger)), String)
    scheduled = enrolment.c.cause.startswith("schedule:")
    # A customer who was merged has a cause with a number behind it.
    return case((scheduled, enrolment.c.cause), else_=literal("day:") + day)
