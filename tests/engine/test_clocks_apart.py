"""The shop's clock and the engine's are never the same: what happened while an event was on its way counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import Shop, person

JOURNEY = {
    "hi": """enter: {event: purchase}
exit: [{event: closed}]
goal: {event: shipped, within: 1d}
steps:
  - send: email/hello
  - wait: 1d
"""
}


def test_an_exit_that_happened_after_the_entry_but_before_it_was_accepted_ends_the_journey(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, JOURNEY)
    now = shop.clock.now()
    bought = Incoming("amina", "purchase", "1", now - timedelta(seconds=9), {}, person("amina"))
    closed = Incoming("amina", "closed", "2", now - timedelta(seconds=5))
    shop.runtime.ingest([closed, bought])
    shop.settle()
    assert shop.rows("SELECT outcome FROM enrolment") == [("exited",)]
    assert shop.sink.sent == []


def test_an_exit_from_before_the_entry_ends_nothing(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEY)
    shop.happens("amina", "purchase")
    shop.happens("amina", "closed", at=shop.clock.now() - timedelta(minutes=1))
    shop.settle()
    assert len(shop.sink.sent) == 1


def test_a_goal_reached_while_its_entry_was_on_the_way_counts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEY)
    before = shop.clock.now() - timedelta(seconds=30)
    shop.happens("amina", "purchase", at=before - timedelta(seconds=5))
    shop.happens("amina", "shipped", at=before)
    assert shop.rows("SELECT count(*) FROM goal_reached") == [(1,)]


def test_an_exit_that_comes_while_the_journey_is_stopped_counts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEY)
    shop.happens("amina", "purchase")
    from engine.runtime import versions

    with database.write() as connection:
        versions.stop(connection, "hi")
    shop.settle()
    assert shop.sink.sent == []
    shop.happens("amina", "closed")
    shop.runtime.publish()
    shop.settle()
    assert shop.sink.sent == []
    assert shop.rows("SELECT outcome FROM enrolment") == [("exited",)]
