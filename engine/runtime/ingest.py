"""The way in for events.

Law 3: an accepted event has found its journeys. The event, its counts, the entries it causes and the waits it ends
commit together. There is no id cursor over events: on PostgreSQL a row that commits late would be skipped for good. The
live enrolments of the customers are locked, in id order, before anything is matched: otherwise a move to "listening"
and the event it listens for could pass each other. So are the customers: an entry, and the exit from it that another
engine takes in beside it, could do the same. Each journey's matching stands in a savepoint: a poison journey parks
(event, journey) for another try and costs nobody their event.

One event a customer a round: the second of two in one batch is judged after the first has been applied.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    exists,
    literal,
    not_,
    select,
    true,
)

from engine.cohort.program import Program
from engine.language.values import LARGEST_MONEY
from engine.runtime import matching
from engine.runtime.profile import Profile, Writer
from engine.runtime.rewards import Rules
from engine.store.apart import apart
from engine.store.given import among, given, listed, packed
from engine.store.merges import facts_stay
from engine.store.scratch import COUNTED, fill, insert_ignore, insert_into, scratch, touch
from engine.store.tables import IN_JOURNEY, NO_CHILD, enrolment, event, goal_reached, parked, tally
from engine.store.types import Instant, id_type, json_type, micros

log = logging.getLogger("karibu.ingest")

K = TypeVar("K")

BATCH = 1000
"""Events a transaction, at most: on SQLite nobody else writes meanwhile."""

arrived = Table(
    "arrived",
    MetaData(),
    Column("event_id", id_type(), primary_key=True, autoincrement=False),
    Column("customer_id", id_type()),
    Column("name", Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


@dataclass(frozen=True)
class Incoming:
    """An event as it came: who (external id, or another name of `identity`), what, when it happened, and what was said
    of the customer with it.

    `properties` are already typed (money in minor units). (source, key) names the event: sent again, it counts once.
    `said`: a digest of what was said of the customer as it was sent, empty for nothing; None: nobody compares it."""

    customer: str
    name: str
    key: str
    occurred_at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)
    profile: Profile | None = None
    source: str = "api"
    said: str | None = None


@dataclass
class Receipt:
    """What became of a batch: how many were new, how many had come before, and the versions that have work now."""

    accepted: int = 0
    duplicates: int = 0
    parked: int = 0
    wakes: set[int] = field(default_factory=set)


def ingest(
    connection: Connection,
    programs: Sequence[Program],
    worth: Mapping[str, str],
    batch: Sequence[Incoming],
    now: datetime,
    *,
    live: bool = True,
    rules: Rules | None = None,
) -> Receipt:
    """Accept these events in the caller's transaction. `worth`: each event's value property, which the tally sums;
    `rules`: what they do to coupons and points.

    Not `live` (imported history): counts move, nobody enters, and nothing is spent."""
    receipt = Receipt()
    facts_stay(connection)
    writer = Writer(connection, now)
    first = _first((one.customer, min(one.occurred_at, now)) for one in batch)
    ids = writer.customers(first, first)
    names = {one.name for one in batch}
    programs = [one for one in programs if live and matching.concerns(one, names, inside=True)]
    in_flight = lock_live(connection, ids.values()) if programs else set()
    undecided = _undecided(connection, ids.values()) if any(names & one.goal_events for one in programs) else set()
    writer.began(_first((ids[name], at) for name, at in first.items()))
    for chunk in _rounds(batch, ids):
        fresh = _insert(connection, chunk, ids, now)
        for one in sorted(fresh, key=lambda one: one.customer_id):  # in the order of their locks
            if one.incoming.profile is not None:
                writer.apply(one.customer_id, _dated(one.incoming.profile, min(one.incoming.occurred_at, now)))
        writer.flush()
        receipt.accepted += len(fresh)
        receipt.duplicates += len(chunk) - len(fresh)
        if fresh:
            _count(connection, fresh, worth)
            touch(connection, {one.customer_id for one in fresh})
            if live and rules is not None:
                rules.apply(connection, fresh, now)
        if fresh and programs:
            _match(connection, programs, fresh, in_flight, undecided, now, receipt)
    return receipt


def _rounds(batch: Sequence[Incoming], ids: Mapping[str, int]) -> Iterator[list[Incoming]]:
    waiting = sorted(batch, key=lambda incoming: incoming.occurred_at)
    while waiting:
        seen: set[int] = set()
        this: list[Incoming] = []
        later: list[Incoming] = []
        for incoming in waiting:
            who = ids[incoming.customer]  # one customer may come under several names
            (later if who in seen else this).append(incoming)
            seen.add(who)
        yield this
        waiting = later


def _first(moments: Iterable[tuple[K, datetime]]) -> dict[K, datetime]:
    """The first of the moments of each."""
    first: dict[K, datetime] = {}
    for one, at in moments:
        first[one] = min(at, first.get(one, at))
    return first


def _dated(profile: Profile, at: datetime) -> Profile:
    """What came with an event was said when it happened: what was said in between stands."""
    return profile if profile.at is not None else replace(profile, at=at)


def lock_live(connection: Connection, customers: Iterable[int]) -> set[int]:
    """Lock the live enrolments of these customers, and on PostgreSQL the customers; the versions they are in.

    A move locks enrolments and then writes of their customers, so this goes the same way. But another event may just
    be letting one of these customers in: once the customers are locked it has, and what it made is locked too."""
    ids = sorted(set(customers))
    versions = _lock_enrolments(connection, ids)
    if connection.dialect.name == "sqlite":  # one writer
        return versions
    matching.lock_customers(connection, ids)
    return _lock_enrolments(connection, ids)


def _lock_enrolments(connection: Connection, customers: Sequence[int]) -> set[int]:
    dialect = connection.dialect.name
    return set(connection.scalars(_live(dialect), {"ids": listed(dialect, customers)}))


@cache
def _live(dialect: str) -> Any:
    live = and_(among(dialect, enrolment.c.customer_id, "ids"), IN_JOURNEY)
    if dialect == "sqlite":  # its writer holds them all
        return select(enrolment.c.version_id).where(live).distinct()
    return select(enrolment.c.version_id).where(live).order_by(enrolment.c.id).with_for_update()


def _undecided(connection: Connection, customers: Iterable[int]) -> set[int]:
    """The versions whose goal one of these customers may yet reach: one statement, where each journey asks with one or
    more of its own. Once they are locked."""
    dialect = connection.dialect.name
    return set(connection.scalars(_without_goal(dialect), {"ids": listed(dialect, sorted(set(customers)))}))


@cache
def _without_goal(dialect: str) -> Any:
    reached = exists().where(goal_reached.c.enrolment_id == enrolment.c.id)
    theirs = among(dialect, enrolment.c.customer_id, "ids")
    return select(enrolment.c.version_id).where(theirs, NO_CHILD, not_(reached)).distinct()


@dataclass(frozen=True)
class _Fresh:
    event_id: int
    customer_id: int
    incoming: Incoming


def _insert(connection: Connection, chunk: Sequence[Incoming], ids: Mapping[str, int], now: datetime) -> list[_Fresh]:
    at = micros(now)
    rows = [
        (
            incoming.source,
            incoming.key,
            ids[incoming.customer],
            incoming.name,
            micros(incoming.occurred_at),
            at,
            orjson.dumps(dict(incoming.properties)).decode(),
            incoming.said,
        )
        for incoming in chunk
    ]
    found = connection.execute(_events(connection.dialect.name), packed(rows))
    new = {(source, key): event_id for event_id, source, key in found}
    fresh = []
    for incoming in chunk:  # a key twice in one chunk is one event
        event_id = new.pop((incoming.source, incoming.key), None)
        if event_id is not None:
            fresh.append(_Fresh(event_id, ids[incoming.customer], incoming))
    return sorted(fresh, key=lambda one: one.event_id)


@cache
def _events(dialect: str) -> Any:
    """Keeps events, unless they are there; gives those that were not."""
    rows = given(
        dialect,
        source=Text(),
        key=Text(),
        customer_id=id_type(),
        name=Text(),
        occurred_at=Instant(),
        received_at=Instant(),
        properties=json_type(),
        said=Text(),
    )
    add = insert_ignore(dialect, event).from_select([*rows.c.keys()], select(rows).where(true()))
    return add.returning(event.c.id, event.c.source, event.c.key)


def _count(connection: Connection, fresh: Sequence[_Fresh], worth: Mapping[str, str]) -> None:
    rows: dict[tuple[int, str], tuple[int, str, int, int, int, int]] = {}
    for one in fresh:
        at, name = micros(one.incoming.occurred_at), one.incoming.name
        amount = one.incoming.properties.get(worth.get(name, ""))
        if not isinstance(amount, int) or isinstance(amount, bool) or abs(amount) > LARGEST_MONEY:
            amount = 0  # what is no amount was kept as it was sent
        rows[one.customer_id, name] = (one.customer_id, name, 1, amount, at, at)
    connection.execute(_tallies(connection.dialect.name), packed(rows[key] for key in sorted(rows)))


@cache
def _tallies(dialect: str) -> Any:
    rows = given(
        dialect,
        customer_id=id_type(),
        name=Text(),
        count=Integer(),
        total=id_type(),
        first_at=Instant(),
        last_at=Instant(),
    )
    return tally_of(insert_into(dialect, tally).from_select([*rows.c.keys()], select(rows).where(true())))


def tally_of(add: Any) -> Any:
    """An insert into `tally` that adds to what is there."""
    new = add.excluded
    return add.on_conflict_do_update(
        index_elements=["customer_id", "name"],
        set_={
            "count": tally.c.count + new.count,
            "total": tally.c.total + new.total,
            "first_at": case((new.first_at < tally.c.first_at, new.first_at), else_=tally.c.first_at),
            "last_at": case((new.last_at > tally.c.last_at, new.last_at), else_=tally.c.last_at),
        },
    )


def _match(
    connection: Connection,
    programs: Sequence[Program],
    fresh: Sequence[_Fresh],
    in_flight: set[int],
    undecided: set[int],
    now: datetime,
    receipt: Receipt,
) -> None:
    scratch(connection, arrived)
    fill(connection, arrived, [(one.event_id, one.customer_id, one.incoming.name) for one in fresh])
    names = {one.incoming.name for one in fresh}
    for program in programs:
        inside, goal_open = program.version_id in in_flight, program.version_id in undecided
        if not matching.concerns(program, names, inside, goal_open):
            continue
        with apart(connection) as tried:  # whatever a journey does wrong, it costs nobody their event
            if matching.match(connection, program, arrived, names, now, inside=inside, undecided=goal_open):
                receipt.wakes.add(program.version_id)
                in_flight.add(program.version_id)
        if names & program.enter_events:  # also who is held out may reach the goal
            undecided.add(program.version_id)
        if tried.error is not None:
            receipt.parked += park(connection, program, names, tried.error, now)


def park(connection: Connection, program: Program, names: set[str], error: Exception, now: datetime) -> int:
    """Keep (event, journey) for another try. The error's class is kept, not its text: that may hold a person's data."""
    log.error("journey %s could not be matched with an event: %s", program.name, type(error).__name__)
    rows = select(
        literal(program.name),
        arrived.c.event_id,
        literal(type(error).__name__),
        literal(now, parked.c.at.type),
        literal(1),
    ).where(and_(arrived.c.name.in_(sorted(names & matching.names_of(program)))))
    columns = ["journey", "event_id", "error", "at", "attempts"]
    written = connection.execute(
        insert_ignore(connection, parked).from_select(columns, rows), execution_options=COUNTED
    )
    return written.rowcount
