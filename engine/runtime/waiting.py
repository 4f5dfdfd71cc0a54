"""Those who wait at the door of a journey are judged again when that can change something, so that a look costs the
same however many wait.

- Sent by another journey (start), or not yet let in (failed, due): at once, all of them, chunk by chunk.
- No room (limit): when there is room, as many as there is room for, who came first first.
- A false audience (grace): when its time is over, when their facts change (`changed`), and in turn, so many a look,
  since time too may make it true."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    bindparam,
    literal,
    select,
    true,
    tuple_,
    update,
)

from engine.cohort.program import Program
from engine.runtime import quota
from engine.runtime.entry import hopeful, named_before
from engine.runtime.matching import let_in
from engine.runtime.pace import Pace
from engine.runtime.ticked import Ticked
from engine.store.database import Database
from engine.store.merges import looks_stay
from engine.store.scratch import insert_ignore
from engine.store.tables import candidate, journey_version
from engine.store.types import Instant, id_type

AT_ONCE = ("start", "failed", "due")
WATCHED = 2_000
"""How many a look asks in turn whether their audience has come true: a read of some milliseconds."""

Place = tuple[datetime, int, str]
"""Where somebody stands: since when, who, and for what cause. The order of the index."""


@dataclass
class Watch:
    """Up to where each journey's watched ones were asked in the last look. Forgotten at a restart: it begins anew."""

    up_to: dict[str, Place] = field(default_factory=dict)


def look(
    database: Database,
    programs: Sequence[Program],
    now: datetime,
    pace: Pace,
    watch: Watch,
    ticked: Ticked,
    chunks: int,
) -> None:
    """Judge those again for whom something may have changed: so many chunks, of each journey in turn."""
    with database.read() as connection:
        waiting = set(connection.scalars(_journeys()))
    mine = [program for program in programs if program.takes_entries and program.name in waiting]
    turns = deque((program, _chunks(database, program, now, pace, watch)) for program in mine)
    while turns and chunks:
        program, rest = turns.popleft()
        try:
            entered = next(rest, None)
        except Exception as error:
            ticked.fails(program.name, error)
            continue
        if entered is not None:
            ticked.add(program, entered)
            turns.append((program, rest))
            chunks -= 1
    ticked.more = ticked.more or bool(turns)


def changed(connection: Connection, program: Program, people: FromClause, now: datetime) -> None:
    """Have the next look let in those of `people` (a row of customer_id each) whose audience was false and is true now.

    Not here: whoever lets them in may have to wait for their events, and those wait for who takes `touched`."""
    if program.journey.enter.grace is None:
        return
    waits = and_(_waits(program, "grace"), candidate.c.customer_id.in_(select(people.c.customer_id)))
    rows = connection.execute(hopeful(program, select(*_NAMED).where(waits), now)).all()
    same = and_(candidate.c.customer_id == bindparam("who"), candidate.c.cause == bindparam("why"))
    if rows:
        due = update(candidate).where(_waits(program, "grace"), same).values(reason="due")
        connection.execute(due, [{"who": row.customer_id, "why": row.cause} for row in rows])


def stand(connection: Connection, program: Program, named: Select[Any], reason: str, now: datetime) -> None:
    """Put those whom `named` names (customer_id, cause) at the door, from where the next look lets them in."""
    rows = named.subquery("named")
    who = select(
        literal(program.name), rows.c.customer_id, literal(""), rows.c.cause, literal(reason), literal(now, Instant())
    ).where(true())
    columns = ["journey", "customer_id", "key", "cause", "reason", "since"]
    connection.execute(insert_ignore(connection, candidate).from_select(columns, who))


def _journeys() -> Select[Any]:
    """The journeys at whose door somebody stands: one seek for each that takes entries. (Asked for the first of them in
    the order of the index, PostgreSQL can do nothing but seek.)"""
    mine = candidate.c.journey == journey_version.c.journey
    first = select(candidate.c.reason).where(mine).order_by(candidate.c.reason).limit(1).scalar_subquery()
    return select(journey_version.c.journey).where(journey_version.c.state == "live", first.is_not(None))


def _chunks(database: Database, program: Program, now: datetime, pace: Pace, watch: Watch) -> Iterator[int]:
    """Chunk after chunk of those who are to be judged now: how many of each entered."""
    rule = program.journey.enter
    limited = rule.limit is not None and rule.limit.over == "wait"
    watched = rule.grace is not None and rule.audience is not None
    over = _first(program, "grace", candidate.c.until).where(candidate.c.until <= literal(now, Instant()))
    pages = [_first(program, reason) for reason in (*AT_ONCE, *(() if limited else ("limit",)))]
    for page in (*pages, over if watched else _first(program, "grace")):
        yield from _all_of(database, program, page, now, pace)
    if limited:
        yield from _all_of(database, program, _first(program, "limit"), now, pace, limited=True)
    if watched:
        yield from _in_turn(database, program, now, watch)


def _all_of(
    database: Database, program: Program, page: Select[Any], now: datetime, pace: Pace, *, limited: bool = False
) -> Iterator[int]:
    rows: list[Any] = []
    while True:
        before, rows = rows, []
        with database.read() as connection:
            room = quota.room(connection, program, now) if limited else None
            if room != 0 and connection.execute(page.limit(1)).first() is not None:
                chunk = page.limit(pace.entries())
                rows = list(connection.execute(chunk))
                if room is not None:
                    rows = _up_to(rows, set(connection.execute(hopeful(program, chunk, now))), room)
        if not rows or rows == before:  # nothing becomes of them; somebody else has taken the room
            return
        yield _let_in(database, program, rows, now)


def _up_to(rows: Sequence[Any], entering: set[Any], room: int) -> list[Any]:
    """As many of them as fill the room. Those whose audience is false by now take up none, and are told so."""
    filled = accumulate(row in entering for row in rows)
    return [row for row, n in zip(rows, filled, strict=True) if n < room or (n == room and row in entering)]


def _in_turn(database: Database, program: Program, now: datetime, watch: Watch) -> Iterator[int]:
    """Let in those of the next ones whose audience has come true. Nothing is written while it is false."""
    page = _first(program, "grace").limit(WATCHED)
    if (place := watch.up_to.pop(program.name, None)) is not None:
        since, customer_id, cause = place
        page = page.where(
            tuple_(*_PLACE) > tuple_(literal(since, Instant()), literal(customer_id, id_type()), literal(cause, Text))
        )
    with database.read() as connection:
        last = connection.execute(page.with_only_columns(*_PLACE).limit(1).offset(WATCHED - 1)).first()
        rows = list(connection.execute(hopeful(program, page, now)))
    if last is not None:
        watch.up_to[program.name] = (last.since, last.customer_id, last.cause)
    if rows:
        yield _let_in(database, program, rows, now)


def _let_in(database: Database, program: Program, rows: Sequence[Any], now: datetime) -> int:
    def write(connection: Connection) -> int:
        looks_stay(connection)
        return let_in(connection, program, named_before(connection, _one_each(rows)), now).entered

    return database.written(write)


def _one_each(rows: Sequence[Any]) -> list[Any]:
    """Each customer's first row; the others are judged after it, in a chunk to come."""
    first: dict[int, Any] = {}
    for row in rows:
        first.setdefault(row.customer_id, row)
    return list(first.values())


def _waits(program: Program, reason: str) -> ColumnElement[bool]:
    return and_(candidate.c.journey == program.name, candidate.c.reason == reason)


def _first(program: Program, reason: str, *order: ColumnElement[Any]) -> Select[Any]:
    """Those who came first first."""
    return select(*_NAMED).where(_waits(program, reason)).order_by(*(order or _PLACE))


_NAMED = (candidate.c.customer_id, candidate.c.cause, candidate.c.event_id)
_PLACE = (candidate.c.since, candidate.c.customer_id, candidate.c.cause)
