"""An import lets nobody in for a date that has gone off before it, however late the journey takes them; for dates that
come after it they enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.runtime.door import Problems
from engine.runtime.explain import explain
from engine.runtime.profile import Profile
from engine.store.database import Database
from engine.store.tables import customer, enrolment, refusal
from tests.cli.test_import import PROJECT, Shop

JOURNEY = "journey: {name}\nenter: {{date: customer.{date}, late: 7d{more}}}\nsteps:\n  - tag: {name}\n"
DAY = timedelta(days=1)
NINE = datetime(2026, 3, 1, 6, tzinfo=UTC)
"""9:00 in Nairobi, when dates go off."""


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    """A shop with three journeys of dates, which were published ten days ago and have been looked at since."""
    files = {
        "project": PROJECT,
        "birthday": JOURNEY.format(name="birthday", date="birthday", more=""),
        "renewal": JOURNEY.format(name="renewal", date="renewal", more=", repeat: once"),
        "joined": JOURNEY.format(name="joined", date="created", more=""),
    }
    made = Shop(project({f"workflows/{name}.yaml": text for name, text in files.items()}), database, NINE - 10 * DAY)
    made.app.runtime.publish()
    made.app.runtime.tick()
    made.clock.advance_to(NINE + timedelta(hours=1))
    made.app.runtime.tick()
    yield made
    made.app.close()


def entered(shop: Shop, after: timedelta) -> list[tuple[str, str]]:
    """Who is in which journey so long after the import, looked at each day."""
    end = shop.clock.now() + after
    while shop.clock.now() < end:
        shop.clock.advance_to(min(shop.clock.now() + DAY, end))
        for _ in range(3):
            shop.app.runtime.tick()
    rows = select(customer.c.external_id, enrolment.c.journey).join(enrolment, enrolment.c.customer_id == customer.c.id)
    with shop.app.database.read() as connection:
        return sorted((name, journey) for name, journey in connection.execute(rows))


TABLE = (
    "id,birthday,renewal,created\n"
    "today,1990-03-01,2026-03-01,2025-03-01\n"
    "some days ago,1990-02-25,2026-02-25,2025-02-25\n"
    "yesterday of no year,02-28,,\n"
    "tomorrow,1990-03-02,2026-03-02,2025-03-02\n"
    "next week,03-08,2026-03-08,2025-03-08\n"
)
COMING = sorted((who, journey) for who in ("tomorrow", "next week") for journey in ("birthday", "renewal", "joined"))


def test_an_import_lets_in_for_dates_that_come_after_it_and_for_none_before(shop: Shop) -> None:
    shop.take(TABLE)
    assert entered(shop, timedelta(minutes=5)) == []
    shop.take(TABLE)  # once more, and nobody is answered twice
    assert shop.count(refusal) == 7
    assert entered(shop, 9 * DAY) == COMING


def test_who_changes_in_something_else_afterwards_does_not_enter_for_a_date_before_the_import(shop: Shop) -> None:
    shop.take(TABLE)
    for name in ("today", "some days ago", "yesterday of no year"):
        shop.app.runtime.people().describe(name, Profile(attributes={"tier": "gold"}))
    assert entered(shop, timedelta(minutes=5)) == []
    shop.app.runtime.people().describe("today", Profile(columns={"country": "KE"}))
    assert entered(shop, 9 * DAY) == COMING
    app = shop.app
    with app.database.read() as connection:
        told = explain(connection, app.content, app.registry, "today", shop.clock.now(), ["birthday"])
    assert "an import told of it, and it had gone off before" in str(told)


def test_the_date_lets_in_a_year_later(shop: Shop) -> None:
    shop.take("id,birthday\ntoday,1990-03-01\n")
    assert entered(shop, DAY) == []
    shop.clock.advance_to(NINE + 365 * DAY - timedelta(hours=2))
    shop.app.runtime.tick()
    who = [("today", "birthday"), ("today", "joined")]  # a customer since the import
    assert entered(shop, timedelta(hours=4)) == who


def test_who_had_the_date_before_the_import_still_enters_late_for_it(shop: Shop) -> None:
    shop.app.runtime.people().describe("amina", shop.app.door.profile({"birthday": "1990-03-01"}, Problems()))
    shop.take("id,tier,birthday\namina,gold,1990-03-01\njuma,gold,1990-03-01\n")
    assert entered(shop, timedelta(minutes=5)) == [("amina", "birthday")]


def test_imported_events_that_tell_since_when_somebody_is_a_customer_let_nobody_in(shop: Shop) -> None:
    shop.take("customer,event,at\namina,shipped,2025-02-27T12:00:00+03:00\njuma,shipped,2025-03-03T12:00:00+03:00\n")
    assert entered(shop, 5 * DAY) == [("juma", "joined")]


def test_nobody_enters_for_a_date_that_nobody_was_running_for(shop: Shop) -> None:
    shop.clock.advance_to(NINE + 3 * DAY)
    shop.take("id,birthday\nwhile it stood still,1990-03-03\nlong ago,1990-02-24\n")
    assert entered(shop, 3 * DAY) == []
