"""Attacks on waits: every form on both databases, and events that must not end them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile
from engine.store.database import Database
from tests.engine.shop import START, Shop


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        ("3d", START + timedelta(days=3)),
        ("1d at 10:00", datetime(2026, 3, 3, 7, tzinfo=UTC)),
        ("until 08:00", datetime(2026, 3, 3, 5, tzinfo=UTC)),
        ("until monday 10:00", datetime(2026, 3, 2, 7, tzinfo=UTC)),
        ("until 2026-12-24 18:00", datetime(2026, 12, 24, 15, tzinfo=UTC)),
        ("until 9999-12-31 03:00", datetime(9999, 12, 31, 0, tzinfo=UTC)),
        ("until customer.renewal - 5d at 09:00", datetime(2075, 5, 27, 6, tzinfo=UTC)),
    ],
)
def test_every_form_of_a_wait_ends_at_its_moment(
    database: Database, tmp_path: Path, wait: str, until: datetime
) -> None:
    shop = Shop.of(
        tmp_path, database, {"hi": f"enter: {{event: purchase}}\nsteps:\n  - wait: {wait}\n  - exit: over\n"}
    )
    profile = Profile(attributes={"renewal": "2075-06-01"})
    shop.runtime.ingest([Incoming("amina", "purchase", "1", shop.clock.now(), {"total": 1}, profile)])
    shop.settle()
    assert shop.rows("SELECT state FROM enrolment") == [("waiting",)]
    shop.clock.advance_to(until - timedelta(seconds=1))
    shop.settle()
    assert shop.rows("SELECT state FROM enrolment") == [("waiting",)]
    shop.later(seconds=1)
    assert shop.rows("SELECT outcome FROM enrolment") == [("over",)]


def test_a_fixed_moment_that_has_gone_by_is_next_year_where_that_is_wanted(database: Database, tmp_path: Path) -> None:
    steps = "steps:\n  - wait: until 2026-01-31 10:00\n    if_past: next\n  - exit: over\n"
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase}\n" + steps})
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    assert shop.rows("SELECT due_at FROM enrolment") == [(1_801_378_800_000_000,)]


LISTEN = "  - wait_for: {event: purchase, within: 2d}\n"


def test_the_event_that_let_them_in_is_not_the_one_they_wait_for(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase}\nsteps:\n" + LISTEN})
    shop.happens("amina", "purchase", total=1, at=shop.clock.now() + timedelta(seconds=3))
    shop.settle()
    shop.later(minutes=1)
    assert shop.rows("SELECT state FROM enrolment") == [("listening",)]
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    assert shop.rows("SELECT outcome FROM enrolment") == [("finished",)]


def test_one_event_ends_one_wait_of_two(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: shipped}\nsteps:\n" + LISTEN + LISTEN})
    shop.happens("amina", "shipped")
    shop.settle()
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    assert shop.rows("SELECT step, state FROM enrolment") == [("wait_for_2", "listening")]
