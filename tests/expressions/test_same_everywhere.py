"""SQLite, PostgreSQL and the plain Python evaluator agree on random expressions about random customers."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Text, cast, select

from engine.language.expression import parse, parse_condition
from engine.segments.sql import Frame, Joins, condition, value, where
from engine.store import tables
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.types import micros
from tests.depth import times
from tests.expressions.oracle import Person, World, evaluate, holds
from tests.expressions.strategies import NAMES, VALUES, VOCABULARY, ZONES, conditions, crowds, readable
from tests.expressions.world import store
from tests.promises import figures

pytestmark = pytest.mark.postgres

RHYTHMS = st.sampled_from([{}, {"purchase": 30 * 86_400_000_000}])
TRIES = times(60)
COMPARED = Counter({"verdicts": 0, "differences": 0})


class Undo(Exception):
    """Ends a write without keeping it."""


@pytest.fixture
def both(postgres_database: Database) -> list[Database]:
    made = [Database.memory(), postgres_database]
    for database in made:
        with database.write() as c:
            ensure_zones(c, [VOCABULARY.timezone, *ZONES])
    return made


def frame(now: datetime, joins: Joins | None) -> Frame:
    return Frame(
        customer=tables.customer,
        now=now,
        zone=VOCABULARY.timezone,
        entry=ENTRY,
        event=JUDGED,
        enrolment=tables.enrolment,
        joins=joins,
    )


ENTRY, JUDGED = tables.event.alias("entry"), tables.event.alias("judged")


def source(joins: Joins | None) -> Any:
    e = tables.enrolment
    found = (
        tables.customer.join(e, (e.c.customer_id == tables.customer.c.id) & (e.c.journey == "j"))
        .outerjoin(ENTRY, ENTRY.c.id == e.c.event_id)
        .outerjoin(JUDGED, cast(JUDGED.c.id, Text) == e.c.outcome)
    )
    return joins.onto(found) if joins else found


def verdicts(c: Connection, text: str, now: datetime) -> dict[str, list[Any]]:
    """What each way of asking answers, a value a person."""
    typed = parse_condition(text, NAMES, VOCABULARY)
    found: dict[str, list[Any]] = {}
    for way, joins in (("one by one", None), ("joined", Joins())):
        asked = condition(typed, frame(now, joins))
        rows = c.execute(select(tables.customer.c.id, asked).select_from(source(joins))).all()
        found[way] = [verdict for _, verdict in sorted(rows)]
        filtered = where(typed, frame(now, joins))
        inside = set(c.scalars(select(tables.customer.c.id).select_from(source(joins)).where(filtered)))
        found[f"{way}, filtered"] = [number in inside for number, _ in sorted(rows)]
    return found


def worlds(people: list[Person], now: datetime, rhythm: dict[str, int]) -> list[World]:
    return [World(p, micros(now), VOCABULARY.timezone, rhythm, p.judged) for p in people]


@settings(max_examples=TRIES)
@given(crowd=crowds(), texts=st.lists(conditions(3).filter(readable), min_size=1, max_size=4), rhythm=RHYTHMS)
def test_a_condition_finds_the_same_customers_on_both_databases_and_in_plain_python(
    both: list[Database], crowd: tuple[datetime, list[Person]], texts: list[str], rhythm: dict[str, int]
) -> None:
    now, people = crowd
    expected = {
        t: [holds(parse_condition(t, NAMES, VOCABULARY), w) for w in worlds(people, now, rhythm)] for t in texts
    }
    for database in both:
        with pytest.raises(Undo), database.write() as c:
            store(c, people, now, rhythm)
            for text in texts:
                for way, verdict in verdicts(c, text, now).items():
                    COMPARED["verdicts"] += len(verdict)
                    COMPARED["differences"] += verdict != expected[text]
                    assert verdict == expected[text], (database.dialect, way, text)
            raise Undo


def test_how_many_verdicts_were_compared() -> None:
    figures("an expression finds the same customers whatever the database", tries=TRIES, **COMPARED)


@settings(max_examples=TRIES)
@given(crowd=crowds(), texts=st.lists(VALUES.filter(readable), min_size=1, max_size=4), rhythm=RHYTHMS)
def test_a_value_is_the_same_on_both_databases_and_in_plain_python(
    both: list[Database], crowd: tuple[datetime, list[Person]], texts: list[str], rhythm: dict[str, int]
) -> None:
    now, people = crowd
    for database in both:
        with pytest.raises(Undo), database.write() as c:
            store(c, people, now, rhythm)
            for text in texts:
                typed = parse(text, NAMES, VOCABULARY)
                expected = [evaluate(typed, w) for w in worlds(people, now, rhythm)]
                for joins in (None, Joins()):
                    asked = value(typed, frame(now, joins))
                    rows = c.execute(select(tables.customer.c.id, asked).select_from(source(joins))).all()
                    assert [v for _, v in sorted(rows, key=lambda r: r[0])] == expected, (database.dialect, text)
            raise Undo
