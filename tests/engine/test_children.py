"""Child enrolments: made in one statement, awaited, and never left behind."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import literal

from engine.cohort.cohort import Cohort, Judgement
from engine.language.content import load
from engine.runtime.byhand import stop_customer
from engine.runtime.explain import explain
from engine.runtime.status import status
from engine.store.database import Database
from engine.store.tables import enrolment
from tests.engine.shop import PROJECT, Shop
from tests.listening import before_statements, engines_of
from tests.patience import eventually

LINES = PROJECT.replace("order_id: text}}\n  shipped", "order_id: text, items: [{sku: text, qty: number}]}}\n  shipped")
REVIEW = """enter: {event: purchase, again: after 30d}
exit: [{event: closed}]
steps:
  - each: entry.items
    do: [{wait: 3d}, {send: email/hello}]
  - exit: done
"""


def review(tmp_path: Path, database: Database, more: str = REVIEW) -> Shop:
    shop = Shop.of(tmp_path, database, {}, publish=False)
    (tmp_path / "workflows/project.yaml").write_text(LINES)
    (tmp_path / "workflows/review.yaml").write_text(f"journey: review\ntopic: offers\n{more}")
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    shop.runtime.publish()
    return shop


def buys(shop: Shop, customer: str, *items: str) -> None:
    shop.happens(customer, "purchase", items=[{"sku": sku, "qty": 1} for sku in items])
    shop.settle()


WAYS = "SELECT state, outcome, step FROM enrolment ORDER BY id"


def test_the_items_of_a_whole_cohort_are_made_by_as_many_statements_as_those_of_one(
    database: Database, tmp_path: Path
) -> None:
    shop = review(tmp_path, database)
    counts = []
    for customers in (1, 40):
        for n in range(customers):
            shop.happens(f"c{customers}-{n}", "purchase", items=[{"sku": f"S{i}", "qty": 1} for i in range(5)])
        heard: list[str] = []
        with before_statements(lambda *told: heard.append(told[2]), *engines_of(database)):
            shop.runtime.advance()
        counts.append(sum("INSERT INTO enrolment" in one for one in heard))
    assert counts[0] == counts[1] == 1
    assert shop.rows("SELECT count(*) FROM enrolment WHERE parent_id IS NOT NULL") == [(205,)]


def test_an_entry_counts_once_however_many_items_it_has(database: Database, tmp_path: Path) -> None:
    shop = review(tmp_path, database)
    buys(shop, "amina", "A1", "B2")
    with database.read() as connection:
        told = status(connection, shop.runtime.content, shop.runtime.registry, shop.clock.now())
    assert [(one.entered, one.inside) for one in told.journeys] == [(1, 1)]
    shop.later(days=3)
    assert len(shop.sink.sent) == 2
    assert {(state, outcome) for state, outcome, _ in shop.rows(WAYS)} == {("ended", "done"), ("ended", "finished")}


def test_when_again_counts_from_the_entry_and_not_from_the_items(database: Database, tmp_path: Path) -> None:
    later = REVIEW.replace("steps:\n", "steps:\n  - wait: 20d\n")
    shop = review(tmp_path, database, later)
    buys(shop, "amina", "A1")
    shop.later(days=20)
    shop.later(days=4)
    shop.later(days=7)
    buys(shop, "amina", "A1")
    assert shop.rows("SELECT count(*) FROM enrolment WHERE parent_id IS NULL") == [(2,)]


def test_whoever_is_stopped_by_hand_is_stopped_with_all_their_items(database: Database, tmp_path: Path) -> None:
    shop = review(tmp_path, database)
    buys(shop, "amina", "A1", "B2")
    with database.write() as connection:
        stop_customer(connection, "review", 1, shop.clock.now())
    assert {state for state, *_ in shop.rows(WAYS)} == {"ended"}
    shop.later(days=5)
    assert not shop.sink.sent


@pytest.mark.postgres
def test_two_items_that_end_at_once_wake_their_parent(postgres_database: Database, tmp_path: Path) -> None:
    shop = review(tmp_path, postgres_database)
    buys(shop, "amina", "A1", "B2")
    ids = [one for (one,) in shop.rows("SELECT id FROM enrolment WHERE parent_id IS NOT NULL ORDER BY id")]

    def end(connection: object, child: int) -> None:
        cohort = Cohort.freeze(
            connection,  # type: ignore[arg-type]
            step="send_1",
            who=enrolment.c.id == child,
            judgement=Judgement(literal("over")),
            now=shop.clock.now(),
            pass_id="test",
        )
        assert cohort.size == 1
        cohort.finish("over", "over")

    def other() -> None:
        with postgres_database.write() as connection:
            end(connection, ids[1])

    thread = Thread(target=other)
    with postgres_database.write() as connection:
        end(connection, ids[0])
        thread.start()
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        eventually(lambda: shop.rows(blocked) == [(1,)])
    thread.join()
    assert shop.rows("SELECT state, due_at IS NOT NULL FROM enrolment WHERE parent_id IS NULL") == [("waiting", True)]
    shop.settle()
    assert shop.rows("SELECT outcome FROM enrolment WHERE parent_id IS NULL") == [("done",)]


def test_merged_customers_keep_the_items_of_the_older_way_and_end_those_of_the_younger(
    database: Database, tmp_path: Path
) -> None:
    shop = review(tmp_path, database)
    buys(shop, "amina", "A1", "B2")
    shop.clock.advance_to(shop.clock.now() + timedelta(hours=1))
    buys(shop, "asha", "C3", "D4")
    shop.runtime.people().merge("asha", "amina")
    rows = shop.rows("SELECT DISTINCT customer_id, state, outcome FROM enrolment ORDER BY state, outcome")
    assert [(state, outcome) for _, state, outcome in rows] == [
        ("ended", "merged"),
        ("ended", "with_parent"),
        ("waiting", None),
    ]
    shop.later(days=4)
    assert len(shop.sink.sent) == 2
    assert shop.rows("SELECT outcome FROM enrolment WHERE parent_id IS NULL ORDER BY id") == [("done",), ("merged",)]


def test_explain_tells_of_the_items(database: Database, tmp_path: Path) -> None:
    shop = review(tmp_path, database)
    buys(shop, "amina", "A1", "B2")

    def told() -> list[list[str]]:
        with database.read() as connection:
            story = explain(connection, shop.runtime.content, shop.runtime.registry, "amina", shop.clock.now())
        return [[way.state, *(line.words for line in way.lines)] for one in story.stories for way in one.ways]

    parent, first, _ = told()
    assert parent[0] == "waits at each_1 until the ways of all items have ended"
    assert parent[-1] == "waits for its 2 items"
    assert first[1] == "entered, because it is item 1 of a list"
    with database.write() as connection:
        stop_customer(connection, "review", 1, shop.clock.now())
    assert told()[1][-1] == "ended at wait_1: stopped by hand"


def test_an_item_that_stops_its_own_journey_ends_the_other_orders_and_not_its_own(
    database: Database, tmp_path: Path
) -> None:
    """As a step outside `each` does: it ends the customer's other enrolments and goes on."""
    own = """enter: {event: purchase, key: entry.order_id, again: always}
steps:
  - each: entry.items
    do: [{wait: 3d}, {stop: review}, {send: email/hello}]
  - exit: done
"""
    shop = review(tmp_path, database, own)
    shop.happens("amina", "purchase", order_id="A", items=[{"sku": "A1", "qty": 1}])
    shop.settle()
    shop.later(days=1)
    shop.happens("amina", "purchase", order_id="B", items=[{"sku": "B1", "qty": 1}, {"sku": "B2", "qty": 1}])
    shop.later(days=1)
    shop.later(days=1)
    ended = shop.rows("SELECT key, outcome FROM enrolment ORDER BY key, id")
    assert ended[:2] == [("A", "done"), ("A", "finished")]
    assert [outcome for _, outcome in ended[2:]] == ["stopped"] * 3
    assert len(shop.sink.sent) == 1
