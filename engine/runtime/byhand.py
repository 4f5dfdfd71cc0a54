"""What somebody does to a journey by hand: let a customer in, end it for one, stop it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, String, func, literal, null, select

from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.program import Program
from engine.language.content import Content
from engine.runtime import versions
from engine.runtime.matching import let_in
from engine.runtime.whynot import refused
from engine.runtime.words import Words, utc
from engine.store.merges import looks_stay
from engine.store.tables import IN_JOURNEY, customer, enrolment, journey_version, refusal
from engine.store.types import id_type


@dataclass(frozen=True)
class ByHand:
    """What came of letting somebody in: entered, held_out, waits (at the door) or refused, with the reason's code."""

    outcome: str
    reason: str | None
    words: str


def enter(connection: Connection, content: Content, program: Program, who: Row[Any], now: datetime) -> ByHand:
    """Let one customer into a journey with a manual trigger, through the same door as everybody."""
    looks_stay(connection)
    cause = f"manual:{utc(now)}"
    named = select(
        customer.c.id.label("customer_id"),
        literal(cause, String).label("cause"),
        null().cast(id_type()).label("event_id"),
    ).where(customer.c.id == who.id)
    entered = let_in(connection, program, named, now)
    if entered.held_out:
        return ByHand("held_out", None, "entered and held out: is measured, and takes no step")
    if entered.entered:
        return ByHand("entered", None, "entered")
    if entered.waiting:
        return ByHand("waits", None, "waits at the door")
    row = connection.execute(
        select(refusal).where(
            refusal.c.journey == program.name, refusal.c.customer_id == who.id, refusal.c.cause == cause
        )
    ).first()
    if row is None:
        return ByHand("refused", "same", "was let in for this already")
    brand = content.project.brand
    words = Words(ZoneInfo(brand.timezone), brand.currency, content.vocabulary.digits)
    return ByHand("refused", row.reason, refused(connection, program, row, words))


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
