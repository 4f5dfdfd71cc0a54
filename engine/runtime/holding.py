"""What the gate asks of a claimed message last: caps, quiet hours, its coupon, and whether it is one of several held.

The first no is the reason, in this order. A message that quiet hours or its coupon keep back anyway only looks whether
a cap has room, and takes none: for one that it took for a moment, another journey's message would not go.

A message is held as a row of the queue that is due later; its customer stands at the step. When it is due it passes the
whole gate again, so it may be held again. While it is held it has no slot: who goes first in the morning has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    literal,
    select,
    type_coerce,
    update,
)

from engine.cohort.caps import covering, give_back, reserve
from engine.cohort.cohort import HELD_BACK
from engine.cohort.gate import CAPPED, DUPLICATE, NO_COUPON, QUIET_HOURS, TEAM
from engine.cohort.program import Program
from engine.cohort.quiet import held_until
from engine.language.vocabulary import TRANSACTIONAL
from engine.runtime.letters import Letter, spent
from engine.runtime.settling import UNDER_WAY, under
from engine.segments.seen import json_object
from engine.store.scratch import fill, insert_ignore, scratch
from engine.store.tables import cap_slot, customer, decision, enrolment, is_held, message
from engine.store.types import Instant, id_type, micros, moment

RENEWED = timedelta(minutes=10)
"""A slot counts from when its message is sent: one that was taken longer ago than this is taken anew before that."""


holds = Table(
    "holds",
    MetaData(),
    Column("message_id", id_type(), primary_key=True, autoincrement=False),
    Column("fence", Integer),
    Column("due_at", Instant()),
    Column("reason", Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


@dataclass
class Asked:
    """What became of messages: the reasons not to send some (by id), those of whom the journey ends (ids), and until
    when others are held, and why."""

    stopped: dict[int, str] = field(default_factory=dict)
    leaves: set[int] = field(default_factory=set)
    held: dict[int, tuple[datetime, str]] = field(default_factory=dict)

    def may(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those that neither are stopped nor held."""
        return [one for one in letters if one.message_id not in self.stopped and one.message_id not in self.held]


def ask(connection: Connection, program: Program, letters: Sequence[Letter], now: datetime) -> Asked:
    """Ask of claimed messages that may go as far as the rest of the gate is concerned. Takes their slots."""
    asked = Asked()
    asked_of = _marketing(letters)
    ends = _quiet_ends(connection, program, asked_of, now)
    codeless = [letter.message_id for letter in letters if letter.no_coupon]
    _capped(connection, program, asked_of, now, asked, ends, {*ends, *codeless})
    _quiet(program, asked.may(asked_of), ends, asked)
    asked.stopped |= {letter.message_id: NO_COUPON for letter in asked.may(letters) if letter.no_coupon}
    _collapse(connection, asked.may(asked_of), now, asked)
    return asked


def ask_again(connection: Connection, program: Program, letters: Sequence[Letter], now: datetime) -> Asked:
    """Ask messages that are about to leave, and have their slots, what may have changed since: whether it is quiet now,
    and whether their codes are still good."""
    asked = Asked()
    asked_of = _marketing(letters)
    _quiet(program, asked_of, _quiet_ends(connection, program, asked_of, now), asked)
    asked.stopped |= dict.fromkeys(spent(connection, asked.may(letters), now), NO_COUPON)
    return asked


def hold(
    connection: Connection,
    step_id: str,
    letters: Sequence[Letter],
    held: Mapping[int, tuple[datetime, str]],
    now: datetime,
) -> None:
    """Back to the queue until then: these never left, which is no attempt. A decision says so, once a visit.

    A claim that was lost meanwhile (the fence has risen) is none of ours to hold."""
    mine = [(letter, *held[letter.message_id]) for letter in letters if letter.message_id in held]
    if not mine:
        return
    scratch(connection, holds)
    fill(connection, holds, [(letter.message_id, letter.fence, micros(until), why) for letter, until, why in mine])
    ours = under(holds)
    back = {"state": "queued", "due_at": holds.c.due_at, "reason": holds.c.reason, "lease_until": None}
    claimed = message.c.state.in_(UNDER_WAY)
    connection.execute(update(message).where(ours, claimed).values(back | {"attempts": message.c.attempts - 1}))
    at, until = literal(now, Instant()), json_object({"until": type_coerce(holds.c.due_at, BigInteger)})
    said = [literal("stays"), literal(step_id), literal(HELD_BACK), holds.c.reason, at, until]
    done = and_(ours, message.c.state == "queued")
    told = select(message.c.enrolment_id, message.c.visit, *said).where(done)
    columns = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at", "detail"]
    connection.execute(insert_ignore(connection, decision).from_select(columns, told))
    visits = select(message.c.enrolment_id, message.c.visit, message.c.customer_id)
    give_back(connection, visits.where(done))


def _marketing(letters: Sequence[Letter]) -> list[Letter]:
    mails = [letter for letter in letters if letter.route != TEAM and letter.call is None]
    return [letter for letter in mails if letter.topic != TRANSACTIONAL]


def _quiet_ends(
    connection: Connection, program: Program, letters: Sequence[Letter], now: datetime
) -> dict[int, datetime]:
    """For those of these messages for whose customers it is quiet now: until when."""
    hours = program.quiet_hours
    if hours is None or not letters:
        return {}
    until = type_coerce(held_until(hours, now, program.project.brand.timezone), BigInteger).label("until")
    rows = connection.execute(
        select(message.c.id, until)
        .select_from(message.join(customer, customer.c.id == message.c.customer_id))
        .where(message.c.id.in_([letter.message_id for letter in letters]))
    )
    return {message_id: moment(then) for message_id, then in rows if then is not None}


def _quiet(program: Program, letters: Sequence[Letter], ends: Mapping[int, datetime], asked: Asked) -> None:
    hours = program.quiet_hours
    for message_id in (letter.message_id for letter in letters if letter.message_id in ends):
        if hours is not None and hours.skips:
            asked.stopped[message_id] = QUIET_HOURS
        else:
            asked.held[message_id] = (ends[message_id], QUIET_HOURS)


def _capped(
    connection: Connection,
    program: Program,
    letters: Sequence[Letter],
    now: datetime,
    asked: Asked,
    ends: Mapping[int, datetime],
    looks: Collection[int],
) -> None:
    """Ask the caps. `looks`: messages (ids) that take no slot; `ends`: until when it is quiet, which is no time to ask
    again."""
    for channel in sorted({letter.channel for letter in letters}):
        caps = covering(program, channel)
        if not caps:
            continue
        mine = {letter.enrolment_id: letter.message_id for letter in letters if letter.channel == channel}
        visits = _visits(mine.values())
        old = and_(cap_slot.c.taken_at <= literal(now - RENEWED, Instant()), cap_slot.c.until > literal(now, Instant()))
        named = visits.subquery("named").c
        own = and_(
            cap_slot.c.customer_id == named.customer_id,
            cap_slot.c.enrolment_id == named.enrolment_id,
            cap_slot.c.visit == named.visit,
        )
        stale = select(named.customer_id, named.enrolment_id, named.visit).where(own, old)
        give_back(connection, stale)
        takes = case((message.c.id.in_(list(looks)), 0), else_=1).label("takes")
        told = reserve(connection, caps, visits.add_columns(takes), now, program.project.brand.timezone)
        for enrolment_id, full in connection.execute(select(told).where(told.c.full.is_not(None))):
            message_id, capped = mine[enrolment_id], caps[full].when_capped
            if capped.length is not None:
                held = program.quiet_hours is not None and not program.quiet_hours.skips
                later = ends.get(message_id, now) if held else now
                asked.held[message_id] = (max(now + capped.length, later), CAPPED)
                continue
            asked.stopped[message_id] = CAPPED
            if capped.what == "exit":
                asked.leaves.add(message_id)


def _collapse(connection: Connection, letters: Sequence[Letter], now: datetime, asked: Asked) -> None:
    """Of the same message to the same customer, held more than once, the newest of those that come together goes, and
    no other. About another order (the journey's key), or another item, it is another message."""
    held = [letter.message_id for letter in letters if letter.was_held]
    if not held:
        return
    rows = select(message.c.id, message.c.customer_id, message.c.template, enrolment.c.key, enrolment.c.item)
    rows = rows.join(enrolment, enrolment.c.id == message.c.enrolment_id).where(message.c.id.in_(held))
    about = {
        row.id: (row.customer_id, row.template, row.key, orjson.dumps(row.item, option=orjson.OPT_SORT_KEYS))
        for row in connection.execute(rows.order_by(message.c.id))
    }
    newest = {what: message_id for message_id, what in about.items()}
    asked.stopped |= {message_id: DUPLICATE for message_id, what in about.items() if newest[what] != message_id}
    goes, its, mine = message.alias("goes"), enrolment.alias("its"), enrolment.alias("mine")
    people = sorted({customer_id for customer_id, *_ in newest})
    same = (
        select(goes.c.id)
        .join(its, its.c.id == goes.c.enrolment_id)
        .join(mine, mine.c.id == message.c.enrolment_id)
        .where(
            goes.c.id.in_(sorted(newest.values())),
            goes.c.customer_id == message.c.customer_id,
            goes.c.template == message.c.template,
            its.c.key == mine.c.key,
            its.c.item.is_not_distinct_from(mine.c.item),
        )
        .correlate(message)
    )
    others = and_(is_held(), message.c.customer_id.in_(people), same.exists())
    connection.execute(update(message).where(others).values(reason=DUPLICATE, due_at=now))


def _visits(ids: Collection[int]) -> Select[Any]:
    return select(message.c.enrolment_id, message.c.visit, message.c.customer_id).where(message.c.id.in_(list(ids)))
