"""Fires: the local dates and times at which a journey lets customers in, each once a zone.

A trigger that goes by the clock says which fires are `pending`; a fire is claimed by its row in `fired` (journey, zone,
local date or time). Whoever inserts the row sees to it that the customers come in, by a row of the same transaction
(engine/runtime/admission.py), so any number of processes may look at the same time, and a clock that is put back fires
nothing again.

Nothing is due from before the trigger was published, nor from before the last look: what lies in between was missed
while nobody was running, and the trigger says how late it still goes off. The last look is in `mark`, no finer than
SLACK."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, delete, exists, not_, or_, select, true

from engine.cohort.program import Program
from engine.language.journey import TriggerModel
from engine.store import marks
from engine.store.local_time import ensure_zones, loaded_zones
from engine.store.scratch import insert_ignore
from engine.store.tables import candidate, customer, enrolment, fired, journey_version, refusal
from engine.store.types import micros, moment

SLACK = timedelta(minutes=15)
KEPT = timedelta(days=90)  # fires older than this can't be due, so their rows go
START = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Look:
    """One look of one journey at the clock, in a transaction. `published` is when its version was."""

    connection: Connection
    journey: str
    published: datetime
    brand_zone: str
    now: datetime

    @classmethod
    def of(cls, connection: Connection, program: Program, now: datetime) -> Look:
        """The look of a published version."""
        published = select(journey_version.c.published_at).where(journey_version.c.id == program.version_id)
        return cls(
            connection, program.name, connection.execute(published).scalar_one(), program.project.brand.timezone, now
        )

    @cached_property
    def zones(self) -> tuple[str, ...]:
        """Every loaded zone; the brand's is one of them."""
        loaded = loaded_zones(self.connection)
        if self.brand_zone not in loaded:
            ensure_zones(self.connection, [self.brand_zone])
            loaded = loaded_zones(self.connection)
        return tuple(loaded)

    def fired(self, zones: Iterable[str], first: str, last: str) -> set[tuple[str, str]]:
        """(zone, fire) of what has gone off in these zones between these two."""
        rows = select(fired.c.zone, fired.c.fire).where(
            fired.c.journey == self.journey,
            fired.c.zone.in_(sorted(zones)),  # the rows are sorted by zone: this makes it a seek in each
            fired.c.fire >= first,
            fired.c.fire <= last,
        )
        return {(zone, fire) for zone, fire in self.connection.execute(rows)}

    def lives_in(self, zones: Iterable[str]) -> ColumnElement[bool]:
        """Whether a customer's zone is one of these; an unknown one is the brand's."""
        inside = set(zones)
        if inside >= set(self.zones):
            return true()
        named = customer.c.timezone.in_(sorted(inside))
        if self.brand_zone not in inside:
            return named
        return or_(named, customer.c.timezone.is_(None), customer.c.timezone.not_in(self.zones))

    def unanswered(self, cause: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a customer has neither entered for this cause, nor been refused, nor waits at the door."""
        return and_(
            *(
                not_(exists().where(t.c.customer_id == customer.c.id, t.c.journey == self.journey, t.c.cause == cause))
                for t in (enrolment, refusal, candidate)
            )
        )


@dataclass(frozen=True)
class Fire:
    """Something due: its name, the zones it is due in, and the earlier local dates whose latecomers it takes too. It
    says whom it names by itself, so that it can be written down, and those be let in later."""

    name: str
    zones: tuple[str, ...]
    at: datetime
    earlier: tuple[str, ...] = ()

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Fire:
        """The fire that `written` wrote down."""
        zones, earlier = tuple(written["zones"]), tuple(written["earlier"])
        return cls(written["name"], zones, moment(written["at"]), earlier)

    def written(self) -> dict[str, Any]:
        return {"name": self.name, "zones": self.zones, "at": micros(self.at), "earlier": self.earlier}


@dataclass(frozen=True)
class Beginning:
    """From when on a trigger's fires count: since when it stands as it does, and when it was last looked at."""

    since: datetime
    seen: datetime

    def after(self, now: datetime) -> datetime:
        """Fires before this moment aren't due at `now`."""
        # A clock that ran ahead and was put back leaves `seen` in the future.
        return max(self.since, min(self.seen, now) - SLACK)


@dataclass(frozen=True)
class Due:
    """What a look found: the fires that have not gone off, oldest first, from when on they count, and whether the look
    itself is to be written down."""

    fires: tuple[Fire, ...]
    since: datetime
    note: bool

    def __bool__(self) -> bool:
        return bool(self.fires) or self.note


class Timed(TriggerModel):
    """A trigger that goes by the clock."""

    @abstractmethod
    def anchor(self) -> str:
        """What the fires depend on. When a new version changes it, nothing from before that version is due."""

    @abstractmethod
    def pending(self, look: Look, beginning: Beginning) -> list[Fire]:
        """What is due and has not gone off, oldest first. Only reads."""

    @abstractmethod
    def named(self, look: Look, fire: Fire) -> Select[Any]:
        """Whom a fire names: rows of customer_id, cause, event_id, one a customer."""

    @abstractmethod
    def next_fire(self, now: datetime, zones: Iterable[str], brand_zone: str) -> datetime | None:
        """The first moment after now at which something goes off in one of these zones."""

    def names_anybody(self, look: Look, since: datetime, until: datetime) -> bool:
        """A sieve: whether a fire that goes off in [since, until) may name anybody. No is certain, yes is not."""
        return True

    def overlooked(self, look: Look, people: FromClause) -> list[Select[Any]]:
        """Those of `people` (a row of customer_id each), whose facts have just changed, that a fire of the past would
        have named by what is known now, and who have had no answer yet."""
        return []

    def takes_latecomers(self) -> bool:
        """Whether somebody may still enter for a fire of the past."""
        return False

    def passed(self, look: Look, people: FromClause) -> list[Select[Any]]:
        """Those of `people` whom a fire of the past names by what is known now and a look from now on may still let in
        for it: those who are overlooked, and whom later fires take as latecomers of earlier ones."""
        return []

    def due(self, look: Look) -> Due:
        """What is to be claimed. Only reads: with many zones it takes longer than SQLite's one writer may be held."""
        beginning, fresh = self.beginning(look)
        fires = self.pending(look, beginning)
        return Due(tuple(fires), beginning.since, fresh or abs(look.now - beginning.seen) >= SLACK / 2)

    def claim(self, look: Look, due: Due) -> list[Fire]:
        """Claim what is due, and give what nobody else had claimed. Whom it names is let in, or written down as to be
        let in, in this transaction and in this order."""
        fires = claim(look, due.fires)
        if fires or due.note:
            seen(look, self.anchor(), due.since)
        return fires

    def beginning(self, look: Look) -> tuple[Beginning, bool]:
        """Where fires begin to count, and whether that isn't written down yet."""
        value = look.connection.scalar(marks.kept(_mark(look)))
        if value is None or value["anchor"] != self.anchor():
            return Beginning(look.published, look.published), True
        return Beginning(moment(value["since"]), moment(value["seen"])), False


def claim(look: Look, fires: Sequence[Fire]) -> list[Fire]:
    """Write down that these go off, and give those (with those zones) that nobody had written down before.

    Waits for another process that is claiming the same until it commits."""
    rows = sorted({(zone, fire.name) for fire in fires for zone in fire.zones})
    if not rows:
        return []
    statement = insert_ignore(look.connection, fired).returning(fired.c.zone, fired.c.fire)
    values = [{"journey": look.journey, "zone": zone, "fire": name, "at": look.now} for zone, name in rows]
    won = {(zone, name) for zone, name in look.connection.execute(statement, values)}
    _forget(look, {zone for zone, _ in rows}, {name.split(" ")[0] for _, name in rows})
    mine = [replace(fire, zones=tuple(z for z in fire.zones if (z, fire.name) in won)) for fire in fires]
    return [fire for fire in mine if fire.zones]


def seen(look: Look, anchor: str, since: datetime) -> None:
    """Write down that everything due until now has been looked at."""
    value = {"anchor": anchor, "since": micros(since), "seen": micros(look.now)}
    marks.put(look.connection, _mark(look), value)


def _mark(look: Look) -> str:
    return f"timed:{look.journey}"


def _forget(look: Look, zones: Iterable[str], kinds: Iterable[str]) -> None:
    if look.now - START < KEPT:
        return
    oldest = (look.now - KEPT).date()
    for kind in kinds:
        old = delete(fired).where(
            fired.c.journey == look.journey,
            fired.c.zone.in_(sorted(zones)),
            fired.c.fire >= f"{kind} ",
            fired.c.fire < f"{kind} {oldest}",
        )
        look.connection.execute(old)
