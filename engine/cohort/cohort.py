"""A cohort: all the enrolments that stand at one step now, frozen, and the verbs a step has for moving them.

The laws this file holds:

4. A move first freezes its cohort: one statement judges everybody who is due, locks their rows and writes them, with
   the verdict, into `moving`, a table of this transaction alone. Every later statement joins `moving`; none asks the
   predicate again, because under READ COMMITTED somebody who arrives between two statements would be moved without
   their message. The effects of a step, its decisions and the moves they cause commit together. `enrolment.visit`
   counts arrivals, and a move compares and sets it.
5. Every decision leaves a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    not_,
    null,
    select,
    type_coerce,
    update,
)
from sqlalchemy.sql import visitors

from engine.cohort.onward import Onward
from engine.segments.seen import json_object
from engine.store.scratch import COUNTED, insert_ignore, scratch
from engine.store.tables import IN_JOURNEY, customer, decision, enrolment, event, message
from engine.store.types import Instant, id_type, json_type

END = None
"""The target of a move that ends the journey."""

EXITED = "exited"

HELD_BACK = "held"
"""What a decision says of somebody whose message goes out later."""

moving = Table(
    "moving",
    MetaData(),
    Column("id", id_type(), primary_key=True, autoincrement=False),
    Column("customer_id", id_type()),
    Column("visit", Integer),
    Column("moved_at", Instant()),
    Column("verdict", Text),
    Column("reason", Text),
    Column("otherwise", Text),
    Column("due_at", Instant()),
    Column("event_id", id_type()),
    Column("detail", json_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)

entry_event = event.alias("entry")
"""The event that let the enrolment in: `entry.*` of the language."""


@dataclass(frozen=True)
class Judgement:
    """What a step says of everybody in its cohort, as columns evaluated once, when the cohort is frozen.

    verdict: a label (text); reason: a reason code; otherwise: another one; due_at: when to come back; event_id: the
    event it was about; detail: the values it saw (JSON).
    """

    verdict: ColumnElement[str]
    reason: ColumnElement[str] | None = None
    otherwise: ColumnElement[str] | None = None
    due_at: ColumnElement[Any] | None = None
    event_id: ColumnElement[int] | None = None
    detail: ColumnElement[Any] | None = None


class StuckCohortError(RuntimeError):
    """A step left somebody of its cohort where they stood, or a frozen row had changed: all of it is rolled back."""


def with_people(source: FromClause) -> FromClause:
    """Enrolments with their customer and, where an event let them in, that event."""
    return _with_entry(_with_customer(source))


def _with_customer(source: FromClause) -> FromClause:
    return Onward(source, customer, customer.c.id == enrolment.c.customer_id)


def _with_entry(source: FromClause) -> FromClause:
    return source.outerjoin(entry_event, entry_event.c.id == enrolment.c.event_id)


def _with_those_named(source: FromClause, *asked: ClauseElement) -> FromClause:
    """The same, but only as far as any of `asked` names them: PostgreSQL looks up each row of a join that locks."""
    tables = {getattr(part, "table", None) for one in asked for part in visitors.iterate(one)}
    if customer in tables:
        source = _with_customer(source)
    return _with_entry(source) if entry_event in tables else source


class Cohort:
    """The frozen cohort of one step in one transaction. `size` is how many it holds."""

    def __init__(
        self, connection: Connection, step: str | None, now: datetime, pass_id: str, size: int, family: bool
    ) -> None:
        self.connection = connection
        self.step = step
        self.now = now
        self.pass_id = pass_id
        self.size = size
        self.family = family
        self.moved = self.stayed = self.queued = self.ended = 0

    @classmethod
    def freeze(
        cls,
        connection: Connection,
        *,
        step: str | None,
        who: ColumnElement[bool],
        judgement: Judgement,
        now: datetime,
        pass_id: str,
        limit: int | None = None,
        first: tuple[FromClause, ColumnElement[bool]] | None = None,
        wait: bool = False,
        family: bool = True,
    ) -> Cohort:
        """Judge, lock and take the enrolments that `who` names, or the `limit` of them that were due first. `first`: a
        table to start from, and how enrolments join it. `family`: whether any of them may be a child enrolment, or
        have some.

        Rows another engine has locked are skipped (they are being moved), or with `wait` waited for."""
        scratch(connection, moving)
        source: FromClause = enrolment if first is None else Onward(first[0], enrolment, first[1])
        judged = (
            judgement.verdict,
            _or_null(judgement.reason),
            _or_null(judgement.otherwise),
            _or_null(judgement.due_at),
            _or_null(judgement.event_id),
            _or_null(judgement.detail),
        )
        rows = (
            select(enrolment.c.id, enrolment.c.customer_id, enrolment.c.visit, enrolment.c.moved_at, *judged)
            .select_from(_with_those_named(source, who, *judged))
            .where(who, IN_JOURNEY)
            .with_for_update(of=enrolment, skip_locked=not wait)
        )
        if wait and connection.dialect.name == "postgresql":
            rows = rows.order_by(enrolment.c.id)  # as an event locks them, so that neither waits for the other
        if limit is not None:
            # In the order of the index of who is due: else PostgreSQL reads the table from its start for every chunk,
            # past all the rows that the chunks before it left behind.
            rows = rows.order_by(enrolment.c.due_at).limit(limit)
        result = connection.execute(insert(moving).from_select(list(moving.c), rows), execution_options=COUNTED)
        return cls(connection, step, now, pass_id, result.rowcount, family)

    def verdicts(self) -> dict[tuple[str, str | None], int]:
        """How many got which verdict and reason."""
        return {(verdict, reason): n for verdict, reason, n in self.connection.execute(_VERDICTS)}

    def rejudge(self, verdict: ColumnElement[str]) -> None:
        """Give everybody the verdict that follows from what was frozen of them: columns of `moving`, and nothing else.

        What is costly to compute is so computed once, when the cohort is frozen."""
        self.connection.execute(update(moving).values(verdict=verdict))

    def hear(self, event_id: ColumnElement[int], silent: Sequence[str], heard: str) -> None:
        """Look for the event once more for those with a silent verdict, now that they are locked.

        Law 3: PostgreSQL froze them as they were when its statement began, and let it lock what was committed since:
        an event taken in between would be waited for in vain. From here on whoever takes one in waits for this move."""
        if self.connection.dialect.name == "sqlite":  # one writer
            return
        locked = with_people(moving.join(enrolment, enrolment.c.id == moving.c.id))
        asked = select(moving.c.id, event_id.label("event_id")).select_from(locked).where(moving.c.verdict.in_(silent))
        found = asked.subquery("found").c
        late = and_(moving.c.id == found.id, found.event_id.is_not(None))
        self.connection.execute(update(moving).where(late).values(verdict=heard, event_id=found.event_id))

    def move(self, targets: Mapping[str, str | None]) -> None:
        """Everybody with one of these verdicts goes on to its target (a step id, or END), and a decision says so."""
        if not self.size:
            return
        chosen = self._chosen(targets)
        self._decide("moves", chosen)
        target = _by_verdict(targets)
        ends = [verdict for verdict, to in targets.items() if to is END]
        ended = moving.c.verdict.in_(ends) if ends else None
        values: dict[str, Any] = {
            "step": target,
            "visit": enrolment.c.visit + 1,
            "moved_at": self.now,
            "pass_id": self.pass_id,
        }
        if ended is None:
            values |= {"state": "ready", "due_at": self.now}
        elif len(ends) == len(targets):
            values |= {"state": "ended", "due_at": null(), "ended_at": self.now, "outcome": "finished"}
        else:
            at = literal(self.now, Instant())
            values |= {
                "state": case((ended, "ended"), else_="ready"),
                "due_at": case((ended, null()), else_=at),
                "ended_at": case((ended, at), else_=null()),
                "outcome": case((ended, "finished"), else_=null()),
            }
        self.moved += self._write(chosen, values)
        if ended is not None or self.step is None:
            self._end_families(chosen if self.step is None else and_(chosen, moving.c.verdict.in_(ends)))

    def sleep(self, verdict: str) -> None:
        """They stay here until their `due_at`: a row, never a sleeping process."""
        self._stay(verdict, "waiting", {"due_at": moving.c.due_at})

    def sleep_until(self, verdict: str, at: datetime) -> None:
        """They stay here until this moment."""
        self.connection.execute(update(moving).where(moving.c.verdict == verdict).values(due_at=at))
        self.sleep(verdict)

    def listen(self, verdict: str) -> None:
        """They stay here until the event comes, or their `due_at`."""
        self._stay(verdict, "listening", {"due_at": moving.c.due_at})

    def amend(self, who: ColumnElement[bool], values: Mapping[str, Any]) -> None:
        """Give some of them another verdict, reason or moment to come back, by columns of `moving` and of what `who`
        joins it with."""
        self.connection.execute(update(moving).where(who).values(values))

    def queue(
        self,
        verdict: str,
        *,
        route: str,
        version_id: int,
        channel: str,
        template: str,
        topic: str,
        holds: bool = False,
    ) -> None:
        """Each gets a message row and stands here until it is settled. `holds`: those with a `due_at` are held till
        then, for their reason, and a decision says so."""
        self.enqueue(verdict, route=route, version_id=version_id, channel=channel, template=template, topic=topic)
        if holds:
            held = and_(moving.c.verdict == verdict, moving.c.due_at.is_not(None))
            self._decide("stays", held, HELD_BACK, json_object({"until": type_coerce(moving.c.due_at, BigInteger)}))
        self.queued += self._write(
            moving.c.verdict == verdict, {"state": "standing", "due_at": null(), "pass_id": self.pass_id}
        )

    def enqueue(self, verdict: str, *, route: str, version_id: int, channel: str, template: str, topic: str) -> None:
        """Each gets a message row. Queued twice for one visit and route, it is still one message."""
        assert self.step is not None
        rows = select(
            moving.c.id,
            moving.c.visit,
            literal(route),
            moving.c.customer_id,
            literal(version_id),
            literal(self.step),
            literal(channel),
            literal(template),
            literal(topic),
            literal("queued"),
            case((moving.c.due_at.is_not(None), moving.c.reason)),
            literal(self.now, Instant()),
            func.coalesce(moving.c.due_at, literal(self.now, Instant())),
            literal(0),
            literal(0),
        ).where(moving.c.verdict == verdict)
        self.connection.execute(insert_ignore(self.connection, message).from_select(_MESSAGE, rows))

    def await_children(self, verdict: str) -> None:
        """They stay here until all of their children have ended."""
        chosen = self._chosen([verdict])
        self._decide("stays", chosen)
        self.stayed += self._write(chosen, {"state": "waiting", "due_at": null(), "pass_id": self.pass_id})

    def finish(self, verdict: str, outcome: str) -> None:
        """Their journey ends here, with this outcome."""
        if not self.size:
            return
        chosen = self._chosen([verdict])
        self._decide("ends", chosen, outcome)
        self.ended += self._write(
            chosen,
            {
                "state": "ended",
                "step": null(),
                "due_at": null(),
                "ended_at": self.now,
                "outcome": outcome,
                "visit": enrolment.c.visit + 1,
                "pass_id": self.pass_id,
            },
        )
        self._end_families(chosen)

    def _end_families(self, ended: ColumnElement[bool]) -> None:
        """The children of those who have ended, or were taken from where they waited for them, end with them; and a
        parent whose last child has ended is awake again.

        Two children may end at once: their parent's lock lets the later of them see that the other has ended."""
        if not self.family:
            return
        who = select(moving.c.id).where(ended)
        mark = f"{self.pass_id}/family"
        orphans = (
            update(enrolment)
            .where(enrolment.c.parent_id.in_(who), IN_JOURNEY)
            .values(state="ended", ended_at=self.now, due_at=None, outcome="with_parent", pass_id=mark)
        )
        if self.connection.execute(orphans).rowcount:
            told = select(
                enrolment.c.id,
                enrolment.c.visit,
                literal("ends"),
                enrolment.c.step,
                literal("with_parent"),
                null(),
                literal(self.now, Instant()),
                null(),
                null(),
            ).where(enrolment.c.parent_id.in_(who), enrolment.c.pass_id == mark, enrolment.c.ended_at == self.now)
            self.connection.execute(insert_ignore(self.connection, decision).from_select(_DECISION, told))
        parents = select(enrolment.c.parent_id).where(enrolment.c.id.in_(who), enrolment.c.parent_id.is_not(None))
        waiting = and_(enrolment.c.state == "waiting", enrolment.c.due_at.is_(None))
        if self.connection.dialect.name == "postgresql":
            found = select(enrolment.c.id).where(enrolment.c.id.in_(parents), waiting).order_by(enrolment.c.id)
            self.connection.execute(found.with_for_update()).all()
        child = enrolment.alias("child")
        alive = exists().where(child.c.parent_id == enrolment.c.id, child.c.state != literal_column("'ended'"))
        awake = update(enrolment).where(enrolment.c.id.in_(parents), waiting, not_(alive.correlate(enrolment)))
        self.connection.execute(awake.values(due_at=self.now))

    def _stay(self, verdict: str, state: str, values: dict[str, Any]) -> None:
        chosen = self._chosen([verdict])
        until = json_object({"until": type_coerce(moving.c.due_at, BigInteger)})
        self._decide("stays", chosen, detail=until)
        self.stayed += self._write(chosen, {"state": state, "pass_id": self.pass_id} | values)

    def _chosen(self, verdicts: Any) -> ColumnElement[bool]:
        return moving.c.verdict.in_(list(verdicts))

    def _decide(
        self,
        kind: str,
        chosen: ColumnElement[bool],
        outcome: str | None = None,
        detail: ColumnElement[Any] = moving.c.detail,
    ) -> None:
        rows = select(
            moving.c.id,
            moving.c.visit,
            literal(kind),
            literal(self.step) if self.step is not None else _step_of_moving(),
            moving.c.verdict if outcome is None else literal(outcome),
            moving.c.reason,
            literal(self.now, Instant()),
            moving.c.event_id,
            detail,
        ).where(chosen)
        self.connection.execute(insert_ignore(self.connection, decision).from_select(_DECISION, rows))

    def _write(self, chosen: ColumnElement[bool], values: dict[str, Any]) -> int:
        statement = (
            update(enrolment)
            .values(values)
            .where(and_(enrolment.c.id == moving.c.id, enrolment.c.visit == moving.c.visit, chosen))
        )
        return self.connection.execute(statement).rowcount

    def close(self) -> None:
        """Check that the step did something with everybody it was given."""
        written = self.moved + self.stayed + self.queued + self.ended
        if written != self.size:
            raise StuckCohortError(f"step {self.step}: {self.size} frozen, {written} moved")


_VERDICTS = select(moving.c.verdict, moving.c.reason, func.count()).group_by(moving.c.verdict, moving.c.reason)
_DECISION = ["enrolment_id", "visit", "kind", "step", "outcome", "reason", "at", "event_id", "detail"]
_MESSAGE = [
    "enrolment_id",
    "visit",
    "route",
    "customer_id",
    "version_id",
    "step",
    "channel",
    "template",
    "topic",
    "state",
    "reason",
    "queued_at",
    "due_at",
    "fence",
    "attempts",
]


def _step_of_moving() -> ColumnElement[Any]:
    return select(enrolment.c.step).where(enrolment.c.id == moving.c.id).scalar_subquery()


def _or_null(column: ColumnElement[Any] | None) -> ColumnElement[Any]:
    return null() if column is None else column


def _by_verdict(targets: Mapping[str, str | None]) -> ColumnElement[Any]:
    distinct = set(targets.values())
    if len(distinct) == 1:
        only = distinct.pop()
        return null() if only is END else literal(only)
    return case(
        *((moving.c.verdict == verdict, null() if to is END else literal(to)) for verdict, to in targets.items())
    )
