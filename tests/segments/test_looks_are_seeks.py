"""A look at the clock costs what has changed, not what there is: no statement of it reads a whole table.

The planner is asked for the plan of each statement as it runs, with its own values. PostgreSQL is told that reading
whole tables and joining them is dear, as it is when they are large: where it does so all the same, there is no other
way.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from engine.segments.membership import segments_of
from engine.segments.moments import index_name
from engine.segments.survey import moments
from engine.store import tables
from engine.store.database import Database
from engine.store.scratch import insert_ignore
from engine.store.tables import customer, touched
from tests.engine.shop import START, Shop
from tests.listening import plans

LARGE = ("customer", "event", "tally", "enrolment", "segment_member", "message", "decision", "refusal")
DEAR = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
MANY = 6_000
"""Customers: more than the rows PostgreSQL expects in a table of one transaction, of which it knows nothing."""

SEGMENTS = """
today: did("purchase", within=1d)
regulars: times("purchase") >= 2
lapsed: elapsed("purchase") > 90d
big: total("purchase", "total", within=365d) >= 500
dear: did("purchase", within=30d, where=event.total > 150)
gold: customer.tier == "gold"
renewed: customer.renewal is set and days_until(customer.renewal) <= 7
old-hands: customer.created < now - 5d
trial-over: customer.trial < now
trial-ends: customer.trial + 1d > now
golden-regulars: in_segment("gold") and in_segment("regulars")
others: not in_segment("gold") and customer.country == "KE"
"""
JOURNEYS = {
    "joined": "enter: {segment: others, again: always}\nsteps: [{wait: 3d}, {tag: waited}]\n",
    "bought": "enter: {event: purchase, again: always}\nexit: [{when: 'customer.tier == \"gold\"'}]\n"
    "steps: [{wait_for: {event: closed, within: 2d}, then: [{tag: a}], else: [{send: email/hello}]}]\n",
    "birthday": "enter: {date: customer.birthday, late: 7d}\nsteps: [{tag: b}]\n",
    "mondays": "enter: {schedule: '0 12 * * mon', zone: customer}\nsteps: [{tag: c}]\n",
}


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/segments.yaml").write_text(SEGMENTS)
    shop = Shop.of(tmp_path, database, JOURNEYS, publish=False)
    at = START - timedelta(days=10)
    people = [
        {"external_id": f"c{n}", "country": "KE", "birth_month": 1 + n % 12, "birth_day": 1 + n % 28}
        | {"attributes": {}, "bucket": n, "created_at": at, "updated_at": at}
        for n in range(1, MANY + 1)
    ]
    bought = [
        {"source": "t", "key": f"{n}", "customer_id": n, "name": "purchase", "properties": {"total": 100}}
        | {"occurred_at": at, "received_at": at}
        for n in range(1, MANY + 1)
    ]
    counts = {"name": "purchase", "count": 1, "total": 100, "first_at": at, "last_at": at}
    with database.write() as connection:
        connection.execute(insert(customer), people)
        connection.execute(insert(tables.event), bought)
        connection.execute(insert(tables.tally), [{"customer_id": n, **counts} for n in range(1, MANY + 1)])
    shop.runtime.publish()
    shop.later(hours=1)
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    return shop


reads_or_writes_rows = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)").match


def reads_whole(plan: str) -> list[str]:
    """The large tables that a plan reads from end to end."""
    tables = "|".join(LARGE)
    sqlite = re.findall(rf"SCAN ({tables})\b", plan)
    # Nothing bounds an index that is read without a condition on it.
    postgresql = re.findall(rf"Seq Scan on ({tables})\b", plan)
    unbounded = re.findall(rf"Index (?:Only )?Scan using \S+ on ({tables})\b[^\n]*\n(?!\s+Index Cond)", plan + "\n")
    return [*sqlite, *postgresql, *unbounded]


def test_no_statement_of_a_look_reads_a_large_table_from_end_to_end(shop: Shop) -> None:
    shop.happens("c3", "purchase", total=5000)
    shop.happens("new", "purchase", total=5000)
    shop.clock.advance_to(shop.clock.now() + timedelta(minutes=1))
    with plans(shop.runtime.database, reads_or_writes_rows, DEAR) as found:
        assert shop.runtime.tick().entered == {"joined": 1}
        shop.runtime.work()
    assert len(found) > 60
    whole = [(tables, statement) for statement, plan in found if (tables := reads_whole(plan))]
    assert not whole, "\n\n".join(f"{tables}: {statement}" for tables, statement in whole)
    print(f"{shop.runtime.database.dialect}: {len(found)} statements of a look, whole tables read: 0")


def test_the_twentieth_look_is_planned_with_its_own_values_too(shop: Shop) -> None:
    """PostgreSQL would keep one plan for all values from the tenth run of a statement on, and read whole tables."""
    database = shop.runtime.database
    if database.dialect == "sqlite":
        pytest.skip("SQLite plans a statement once, whatever its values")
    for n in range(20):
        shop.happens(f"c{n + 1}", "purchase", total=5000)
        shop.later(minutes=1)
    kept_plans = "SELECT sum(custom_plans) AS custom, sum(generic_plans) AS generic FROM pg_prepared_statements"
    with database.read() as connection:
        kept = connection.execute(text(f"{kept_plans} WHERE cardinality(parameter_types) > 0")).one()
    assert kept.custom > 200
    assert kept.generic == 0


def test_an_index_that_is_lost_is_made_again_by_the_next_look(shop: Shop) -> None:
    runtime = shop.runtime
    indexes = {index_name(name) for name in moments(segments_of(runtime.content))}
    assert len(indexes) == 2
    with runtime.database.write() as connection:
        for index in indexes:
            connection.execute(text(f"DROP INDEX {index}"))
    with pytest.MonkeyPatch.context() as patch, plans(runtime.database, reads_or_writes_rows, DEAR) as found:
        patch.setattr("engine.segments.survey.keep_indexes", lambda *_: None)
        shop.later(minutes=1)
    assert any("customer" in reads_whole(plan) for _, plan in found), "the plans would not tell"
    shop.later(minutes=1)
    with plans(runtime.database, reads_or_writes_rows, DEAR) as found:
        shop.later(minutes=1)
    assert not any("customer" in reads_whole(plan) for _, plan in found)


def test_a_moment_that_comes_turns_those_it_concerns(shop: Shop) -> None:
    """The index knows the moments that JSON holds, and no other values."""
    runtime = shop.runtime
    at = round(START.timestamp() + 2 * 86_400) * 1_000_000
    given: dict[str, Any] = {"c1": at, "c2": at + 0.4, "c3": str(at), "c4": None, "c5": [at], "c6": at + 3_600_000_000}
    with runtime.database.write() as connection:
        for name, trial in given.items():
            who = customer.c.external_id == name
            connection.execute(update(customer).where(who).values(attributes={"trial": trial}))
            rows = select(customer.c.id).where(who)
            connection.execute(insert_ignore(connection, touched).from_select(["customer_id"], rows))
    shop.settle()
    there = (
        "SELECT c.external_id FROM segment_member m JOIN customer c ON c.id = m.customer_id "
        "WHERE segment = 'trial-over' AND left_at IS NULL ORDER BY 1"
    )
    assert shop.rows(there) == []
    shop.clock.advance_to(START + timedelta(days=2, seconds=1))
    shop.settle()
    assert shop.rows(there) == [("c1",), ("c2",)]
    shop.later(hours=1)
    assert shop.rows(there) == [("c1",), ("c2",), ("c6",)]
