"""What the demo tells at its end: each journey's entries, messages and goals, straight from the decisions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.table import Table
from sqlalchemy import func, select

from engine.cohort.gate import TEAM
from engine.store.database import Database
from engine.store.tables import decision, enrolment, goal_reached, message


@dataclass
class Told:
    """One journey in numbers. `sent`: to customers; `team_told`: notices to the shop's people; `stopped`: messages that
    didn't go, by reason; `value`: of the goals, in minor units."""

    entered: int = 0
    held_out: int = 0
    inside: int = 0
    sent: int = 0
    team_told: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    goals: int = 0
    value: float = 0.0


def told(database: Database) -> dict[str, Told]:
    """The numbers of every journey, by name."""
    found: dict[str, Told] = defaultdict(Told)
    with database.read() as connection:
        entries = select(enrolment.c.journey, enrolment.c.state, enrolment.c.outcome, func.count()).group_by(
            enrolment.c.journey, enrolment.c.state, enrolment.c.outcome
        )
        for journey, state, outcome, count in connection.execute(entries):
            found[journey].entered += count
            found[journey].held_out += count if outcome == "held_out" else 0
            found[journey].inside += count if state != "ended" else 0
        mine = message.join(enrolment, enrolment.c.id == message.c.enrolment_id)
        messages = (
            select(enrolment.c.journey, message.c.channel, message.c.state, message.c.reason, func.count())
            .select_from(mine)
            .group_by(enrolment.c.journey, message.c.channel, message.c.state, message.c.reason)
        )
        for journey, channel, state, reason, count in connection.execute(messages):
            if state == "accepted" and channel == TEAM:
                found[journey].team_told += count
            elif state == "accepted":
                found[journey].sent += count
            else:
                found[journey].stopped[reason or state] += count
        # A message that the gate stopped when its cohort reached the step never became a row; its decision says why.
        gate = (
            select(enrolment.c.journey, decision.c.reason, func.count())
            .select_from(decision.join(enrolment, enrolment.c.id == decision.c.enrolment_id))
            .where(decision.c.outcome == "not_sent", decision.c.kind == "moves")
            .group_by(enrolment.c.journey, decision.c.reason)
        )
        for journey, reason, count in connection.execute(gate):
            found[journey].stopped[reason or "not_sent"] += count
        goals = (
            select(enrolment.c.journey, func.count(), func.coalesce(func.sum(goal_reached.c.value), 0.0))
            .select_from(goal_reached.join(enrolment, enrolment.c.id == goal_reached.c.enrolment_id))
            .group_by(enrolment.c.journey)
        )
        for journey, count, value in connection.execute(goals):
            found[journey].goals, found[journey].value = count, float(value)
    return dict(sorted(found.items()))


def table(numbers: Mapping[str, Told], digits: int, currency: str) -> Table:
    """The numbers for a terminal."""
    shown = Table(title="What the journeys did in eight weeks", title_justify="left")
    shown.add_column("journey", no_wrap=True)
    for heading in ("entered", "held out", "inside now", "sent", "team told"):
        shown.add_column(heading, justify="right")
    shown.add_column("not sent, and why")
    shown.add_column("goals", justify="right")
    shown.add_column(f"their value ({currency})", justify="right")
    for journey, one in numbers.items():
        why = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in one.stopped.most_common())
        numbers_of = (one.entered, one.held_out, one.inside, one.sent, one.team_told)
        counts = [f"{count:,}" if count else "" for count in numbers_of]
        value = f"{one.value / 10**digits:,.{digits}f}" if one.value else ""
        shown.add_row(journey, *counts, why, f"{one.goals:,}" if one.goals else "", value)
    return shown
