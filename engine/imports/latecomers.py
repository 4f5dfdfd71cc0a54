"""Nobody enters by history for a date that has gone off.

A journey with `late:` lets in who is told of late: its next looks, and its fires of the next days, find them by the
date itself. So an import answers for them in its own transaction. Whoever comes by a batch to have a date that has gone
off gets a refusal for it, as the door would write it; it is a decision like any other (`karibu explain` tells it), and
one that stands: no later look, no change of another fact lets them in for that date.

A refusal is for what the trigger counts as one date: that of one year, or with `repeat: once` that one day. A date of
another year isn't touched, nor is one that comes after the import. Who had the date before the import, and may be just
being let in for it, keeps their entry: only what the batch itself has changed is answered. So whom the date names is
read before and after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Select, Table, Text, and_, exists, insert, literal, not_, select

from engine.cohort.fires import Look, Timed
from engine.cohort.program import Program
from engine.runtime.identity import known
from engine.store.scratch import fill, insert_ignore, scratch
from engine.store.tables import refusal
from engine.store.types import Instant, id_type

IMPORTED = "imported"
"""The reason of these refusals."""

_scratch = MetaData()
_temporary: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DELETE ROWS"}
people = Table("import_people", _scratch, Column("customer_id", id_type()), **_temporary)
before = Table(
    "import_before",
    _scratch,
    Column("journey", Text),
    Column("customer_id", id_type()),
    Column("cause", Text),
    **_temporary,
)
_ROW = ("journey", "customer_id", "key", "cause", "version_id", "reason", "at")


@dataclass(frozen=True)
class Latecomers:
    """Answers for those whom one batch makes late. `names`: whom the batch is about."""

    programs: tuple[Program, ...]
    names: frozenset[str]
    now: datetime

    @classmethod
    def of(cls, programs: Iterable[Program], names: Iterable[str], now: datetime) -> Latecomers:
        """A stopped journey may be published again, and then takes latecomers too."""
        live = (p for p in programs if p.state != "retired")
        late = tuple(p for p in live if isinstance(p.journey.enter, Timed) and p.journey.enter.takes_latecomers())
        return cls(late, frozenset(names) if late else frozenset(), now)

    def note(self, connection: Connection) -> None:
        """Before the batch is written: who of them had such a date already."""
        if not self.programs:
            return
        self._people(connection)
        scratch(connection, before)
        for program, rows in self._passed(connection):
            named = rows.subquery()
            had = select(literal(program.name), named.c.customer_id, named.c.cause)
            connection.execute(insert(before).from_select(list(before.c.keys()), had))

    def refuse(self, connection: Connection) -> None:
        """After it was: refuse those who have one since."""
        if not self.programs:
            return
        self._people(connection)
        for program, rows in self._passed(connection):
            named = rows.subquery()
            had = exists().where(
                before.c.journey == program.name,
                and_(before.c.customer_id == named.c.customer_id, before.c.cause == named.c.cause),
            )
            new = select(
                literal(program.name),
                named.c.customer_id,
                literal(""),
                named.c.cause,
                literal(program.version_id),
                literal(IMPORTED),
                literal(self.now, Instant()),
            ).where(not_(had))
            connection.execute(insert_ignore(connection, refusal).from_select(list(_ROW), new))

    def _people(self, connection: Connection) -> None:
        scratch(connection, people)
        fill(connection, people, ((id_,) for id_ in sorted(set(known(connection, self.names).values()))))

    def _passed(self, connection: Connection) -> Iterable[tuple[Program, Select[Any]]]:
        for program in self.programs:
            trigger = program.journey.enter
            assert isinstance(trigger, Timed)
            for rows in trigger.passed(Look.of(connection, program, self.now), people):
                yield program, rows
