"""Admission: whom a fire or a publish names is let in chunk by chunk, however many they are.

Whoever claims a fire writes down, in the same transaction, that its audience is to be let in: a row of `mark` for the
journey, with how far each of its admissions has come. A chunk reads whom the trigger names beyond that, lets them in
and moves the mark on, in one transaction that holds the mark's row: so any number of engines may do it, and one that is
killed loses nobody and lets nobody in twice. Nobody who became a customer after the fire is let in by it.

A chunk enters the version that takes entries now, if that goes off at the same times as the one that fired, so that a
mistake that is mended spares the rest; else the one that fired, though it has been retired. A stopped journey's
admission stands still until it is published again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from engine.cohort.fires import Fire, Look, Timed
from engine.cohort.program import Program
from engine.runtime import waiting
from engine.runtime.entry import named_before
from engine.runtime.matching import let_in
from engine.runtime.pace import Pace
from engine.runtime.ticked import Ticked
from engine.store import marks
from engine.store.database import Database
from engine.store.merges import looks_stay
from engine.store.scratch import insert_ignore
from engine.store.tables import customer, journey_version, mark
from triggers.segment import SegmentTrigger

_PREFIX, _PAST = "entering:", "entering;"


@dataclass(frozen=True)
class Admission:
    """An audience that is being let in: what a fire of a version names, or without one who is in its segment.

    `after`: the customers up to this id are done; `last`: the newest customer when it was opened."""

    version_id: int
    fire: Fire | None
    last: int
    after: int = 0

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Admission:
        fire = written["fire"]
        return cls(written["version"], fire and Fire.read(fire), written["last"], written["after"])

    def written(self) -> dict[str, Any]:
        fire = self.fire and self.fire.written()
        return {"version": self.version_id, "fire": fire, "last": self.last, "after": self.after}


def begin(connection: Connection, program: Program, fires: Iterable[Fire | None]) -> None:
    """Write down that whom these fires name (None: the members of the trigger's segment) is to be let in, in this
    order."""
    last = connection.scalar(select(func.max(customer.c.id))) or 0
    new = [Admission(program.version_id, fire, last) for fire in fires]
    if new:
        connection.execute(insert_ignore(connection, mark).values(name=_PREFIX + program.name, value={"open": []}))
        _keep(connection, program.name, [*_open(connection, program.name, hold=True), *new])


def under_way(connection: Connection) -> dict[str, list[Admission]]:
    """The admissions that haven't come to their end, by journey."""
    rows = connection.execute(select(mark).where(mark.c.name >= _PREFIX, mark.c.name < _PAST).order_by(mark.c.name))
    found = {row.name.removeprefix(_PREFIX): _read(row.value) for row in rows}
    return {journey: admissions for journey, admissions in found.items() if admissions}


def done(database: Database) -> float:
    """How much of the admissions under way has been let in: 0 to 1."""
    with database.read() as connection:
        admissions = [one for journey in under_way(connection).values() for one in journey]
    return sum(one.after for one in admissions) / max(sum(one.last for one in admissions), 1) if admissions else 1.0


def go_on(
    database: Database, programs: Sequence[Program], now: datetime, pace: Pace, ticked: Ticked, chunks: int
) -> None:
    """Let in so many chunks, of each journey in turn, and tell `ticked` of it."""
    with database.read() as connection:
        journeys = deque(under_way(connection))
    for _ in range(chunks):
        if not journeys:
            return
        journey = journeys.popleft()
        mine = {program.version_id: program for program in programs if program.name == journey}
        try:
            done = _chunk(database, mine, journey, now, pace.entries())
        except Exception as error:
            ticked.fails(journey, error)
            continue
        if done is not None:
            ticked.add(done.program, done.entered)
            journeys.extend([journey] if done.more else [])
    ticked.more = ticked.more or bool(journeys)


@dataclass(frozen=True)
class _Done:
    program: Program
    entered: int
    more: bool


def passed(connection: Connection, programs: Iterable[Program], customer_id: int, now: datetime) -> None:
    """Put a customer, who has just become somebody else too, at the door of whatever names them now and has let people
    in beyond them already: else a merge would cost them their entry."""
    versions = {program.version_id: program for program in programs}
    for admissions in under_way(connection).values():
        for admission in admissions:
            if admission.version_id in versions and customer_id <= admission.after:
                named = _named(connection, versions[admission.version_id], admission, now)
                who = named.where(named.selected_columns.customer_id == customer_id)
                waiting.stand(connection, versions[admission.version_id], who, "due", now)


def _chunk(database: Database, programs: Mapping[int, Program], journey: str, now: datetime, size: int) -> _Done | None:
    """Let in the next of a journey's first admission. None: there is nobody to let in, or no version to let them into.

    Reading whom the trigger names may take long, where no index serves it, so that is not done in the transaction that
    writes."""
    with database.read() as connection:
        admissions = _open(connection, journey)
        into = _version(programs, admissions[0]) if admissions else None
        if into is None:
            return None
        rows = connection.execute(
            _next(connection, programs[admissions[0].version_id], admissions[0], now).limit(size)
        ).all()
    rest = admissions[1:]
    if len(rows) == size:
        rest = [replace(admissions[0], after=rows[-1].customer_id), *rest]

    def write(connection: Connection) -> _Done | None:
        looks_stay(connection)
        if _open(connection, journey, hold=True) != admissions:
            return _Done(into, 0, True)  # another engine has let them in meanwhile
        state = select(journey_version.c.state).where(journey_version.c.id == into.version_id)
        if connection.scalar(state) == "stopped":
            return None
        entered = let_in(connection, into, named_before(connection, rows), now).entered if rows else 0
        _keep(connection, journey, rest)
        return _Done(into, entered, bool(rest))

    return database.written(write)


def _version(programs: Mapping[int, Program], admission: Admission) -> Program | None:
    fired = programs.get(admission.version_id)
    if fired is None or fired.state == "stopped":
        return None
    alike = (p for p in programs.values() if p.takes_entries and _names(p) == _names(fired))
    return next(alike, fired)


def _names(program: Program) -> str | None:
    """What whom a trigger names depends on."""
    rule = program.journey.enter
    if isinstance(rule, Timed):
        return rule.anchor()
    return f"segment {rule.segment}" if isinstance(rule, SegmentTrigger) else None


def _next(connection: Connection, program: Program, admission: Admission, now: datetime) -> Select[Any]:
    """Whom the admission still has to let in, in order of their ids."""
    named = _named(connection, program, admission, now)
    ids = named.selected_columns.customer_id
    return named.where(ids > admission.after, ids <= admission.last).order_by(ids)


def _named(connection: Connection, program: Program, admission: Admission, now: datetime) -> Select[Any]:
    rule = program.journey.enter
    if admission.fire is None:
        assert isinstance(rule, SegmentTrigger)
        return rule.named()
    assert isinstance(rule, Timed)
    return rule.named(Look.of(connection, program, now), admission.fire)


def _open(connection: Connection, journey: str, *, hold: bool = False) -> list[Admission]:
    row = marks.kept(_PREFIX + journey)
    return _read(connection.scalar(row.with_for_update() if hold else row))


def _read(value: Mapping[str, Any] | None) -> list[Admission]:
    return [Admission.read(one) for one in (value or {}).get("open", [])]


def _keep(connection: Connection, journey: str, admissions: Sequence[Admission]) -> None:
    value = {"open": [admission.written() for admission in admissions]}
    connection.execute(mark.update().where(mark.c.name == _PREFIX + journey).values(value=value))
