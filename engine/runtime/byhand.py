"""What somebody does to a journey by hand: let a customer in, end it for one, stop it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, String, Table, func, literal, null, select

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import versions
from engine.runtime.identity import known
from engine.runtime.matching import let_in
from engine.runtime.whynot import refused
from engine.runtime.words import Words
from engine.store.given import among, listed
from engine.store.merges import looks_stay
from engine.store.tables import IN_JOURNEY, candidate, customer, enrolment, journey_version, refusal
from engine.store.types import id_type


class NotByHand(Exception):
    """Nobody can be let into this journey by hand: why, and what to do instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class ByHand:
    """What came of letting somebody in: entered, held_out, waits (at the door), refused (`refusal` is the row that
    says why), or unknown."""

    outcome: str
    refusal: Row[Any] | None = None

    @property
    def reason(self) -> str | None:
        """The code of why they were turned away."""
        return None if self.refusal is None else self.refusal.reason


def by_hand(content: Content, programs: Iterable[Program], journey: str) -> Program:
    """The version of a journey of the content that customers can be let into by hand. Raises NotByHand."""
    program = next((one for one in programs if one.name == journey and one.takes_entries), None)
    kind = (content.journeys[journey] if program is None else program.journey).enter.type
    if kind != "manual":
        instead = (
            "send the event itself: POST /v1/events" if kind == "event" else "only enter: {manual: true} takes them"
        )
        raise NotByHand(f"{journey} lets customers in by {kind}, not by hand", instead)
    if program is None:
        raise NotByHand(
            f"{journey} takes no entries: it is not published, or it was stopped", f"karibu publish {journey}"
        )
    return program


def enter(
    connection: Connection, program: Program, names: Collection[str], cause: str, now: datetime
) -> dict[str, ByHand]:
    """Let the customers with these ids into a journey with a manual trigger, through the same door as everybody; by id,
    what came of it. Who was named for this cause before is not judged again: what came of it then is told."""
    looks_stay(connection)
    ids = known(connection, names)
    before = _outcomes(connection, program, set(ids.values()), cause)
    if fresh := set(ids.values()) - before.keys():
        named = select(
            customer.c.id.label("customer_id"),
            literal(cause, String).label("cause"),
            null().cast(id_type()).label("event_id"),
        ).where(among(connection.dialect.name, customer.c.id, "fresh"))
        let_in(connection, program, named.params(fresh=listed(connection.dialect.name, sorted(fresh))), now)
        before |= _outcomes(connection, program, fresh, cause)
    return {name: before[ids[name]] if name in ids else ByHand("unknown") for name in names}


def in_words(connection: Connection, content: Content, program: Program, what: ByHand) -> str:
    """What came of it, for people. For a refusal with the values that the door saw, which is a look of its own."""
    if what.refusal is None:
        return _WORDS[what.outcome]
    brand = content.project.brand
    words = Words(ZoneInfo(brand.timezone), brand.currency, content.vocabulary.digits)
    return refused(connection, program, what.refusal, words)


_WORDS = {
    "entered": "entered",
    "held_out": "entered and held out: is measured, and takes no step",
    "waits": "waits at the door",
    "unknown": "nobody has this id",
}


def _outcomes(connection: Connection, program: Program, ids: Collection[int], cause: str) -> dict[int, ByHand]:
    """What came of naming these customers for this cause, by their row's id. Who was not named is left out."""
    dialect = connection.dialect.name
    these = {"ids": listed(dialect, sorted(ids))}

    def rows(table: Table, *columns: Any) -> Sequence[Row[Any]]:
        mine = (table.c.journey == program.name, table.c.cause == cause, among(dialect, table.c.customer_id, "ids"))
        return connection.execute(select(*columns).where(*mine), these).all()

    found = {row.customer_id: ByHand("refused", row) for row in rows(refusal, refusal)}
    found |= {row.customer_id: ByHand("waits") for row in rows(candidate, candidate.c.customer_id)}
    for row in rows(enrolment, enrolment.c.customer_id, enrolment.c.outcome):
        found[row.customer_id] = ByHand("held_out" if row.outcome == "held_out" else "entered")
    return found


def published(connection: Connection) -> list[str]:
    """The journeys that were ever published."""
    return sorted(connection.scalars(select(journey_version.c.journey).distinct()))


def stop_journey(connection: Connection, journey: str) -> tuple[int, int]:
    """Stop all versions of a journey: how many that were, and how many customers stand still in it."""
    inside = select(func.count()).where(enrolment.c.journey == journey, IN_JOURNEY)
    return versions.stop(connection, journey), connection.scalar(inside) or 0


def stop_customer(connection: Connection, journey: str, customer_id: int, now: datetime) -> int:
    """End a journey for one customer; what of it hasn't been sent is stopped by the gate. Returns how many
    enrolments ended.
    """
    cohort = Cohort.freeze(
        connection,
        step=None,
        who=(enrolment.c.journey == journey) & (enrolment.c.customer_id == customer_id),
        judgement=Judgement(literal("stopped"), literal("manual")),
        now=now,
        pass_id="by hand",
        wait=True,
    )
    cohort.finish("stopped", "stopped")
    return cohort.ended
