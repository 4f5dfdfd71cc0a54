"""The mark that the clock leaves with those it lets in, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from engine.runtime import beside
from engine.store.database import Database
from engine.store.merges import facts_stay
from tests.engine.shop import START, Shop
from tests.engine.test_admission import Small, at_commit, come
from tests.engine.test_interleavings import CLOCK, outcome_of

pytestmark = pytest.mark.postgres

LEFT = "SELECT count(*) FROM mark WHERE name LIKE 'unheard:%'"


def let_in(shop: Shop) -> None:
    """A look that lets a customer in while somebody takes events in, for longer than it waits."""
    shop.happens("amina", "other")
    shop.settle()
    shop.clock.advance_to(START + timedelta(hours=1))
    other = Database(shop.runtime.database.url.render_as_string(hide_password=False))
    with other.write() as connection:
        facts_stay(connection)
        assert shop.runtime.tick().entered == {"hi": 1}
    other.dispose()


def test_a_look_that_finds_somebody_busy_leaves_it_to_the_next(postgres_database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, postgres_database, CLOCK)
    let_in(shop)
    assert shop.rows(LEFT) == [(1,)]
    shop.later(seconds=1)
    assert shop.rows(LEFT) == [(0,)]
    assert shop.rows("SELECT state FROM enrolment") == [("waiting",)]


def test_a_version_that_this_engine_does_not_know_is_left_to_others_for_a_day(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, postgres_database, CLOCK)
    let_in(shop)
    now = shop.clock.now()
    beside.hear(postgres_database, [], now + timedelta(hours=23))
    assert shop.rows(LEFT) == [(1,)]
    beside.hear(postgres_database, [], now + timedelta(hours=25))
    assert shop.rows(LEFT) == [(0,)]


def test_a_mark_is_not_taken_while_a_later_chunk_of_the_same_look_lets_people_in(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, postgres_database, CLOCK)
    shop.runtime.pace = Small("postgresql")
    come(shop, 2 * Small.LARGE)
    shop.settle()
    shop.clock.advance_to(START + timedelta(hours=1))
    other = shop.beside(Database(postgres_database.url.render_as_string(hide_password=False)))
    at = shop.clock.now() + timedelta(seconds=1)
    programs = list(other.runtime.programs().values())
    hears = Thread(target=beside.hear, args=(other.runtime.database, programs, at))

    def meanwhile(n: int) -> None:
        if n == 3:  # the claim, the first chunk, and now the second
            other.happens("c008", "closed", at=at)
            hears.start()
            hears.join(0.5)  # it waits for this chunk

    with at_commit(postgres_database, meanwhile):
        assert shop.runtime.tick().entered == {"hi": 2 * Small.LARGE}
    hears.join(60)
    shop.later(seconds=2)
    assert outcome_of(shop, "c008") == [("exited",)]
    other.runtime.database.dispose()
