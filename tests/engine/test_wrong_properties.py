"""What is told of a customer's events names the properties that are of another type than declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.app import App
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.runtime.portrait import portrait
from engine.settings import Settings
from engine.store.database import Database

NOW = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
TYPES = (
    "total: money, qty: number, gift: boolean, day: date, at: instant, note: text, items: [{price: money, qty: number}]"
)
PROJECT = """\
brand: {name: Duka, timezone: Africa/Nairobi, locale: en, currency: KES}
events: {purchase: {properties: {%s}}}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
RIGHT: dict[str, Any] = {
    "total": "49.90",
    "qty": 2.5,
    "gift": "yes",
    "day": "2026-02-28",
    "at": "2026-02-28T12:00:00.25+03:00",
    "note": 17,
    "items": [{"price": 12.5, "qty": 2}],
    "colour": ["undeclared"],
}
WRONG: dict[str, Any] = {
    "total": "49.90 KES",
    "qty": True,
    "gift": 1,
    "day": "tomorrow",
    "at": 2**62,
    "note": {"text": "hello"},
    "items": [{"price": 12.5, "qty": "two"}],
}


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Callable[[str], App]:
    """The shop with these types of a purchase's properties."""

    def opened(types: str) -> App:
        app = App(Settings.of(project({"workflows/project.yaml": PROJECT % types})), VirtualClock(NOW))
        app.__dict__["database"] = database
        return app

    return opened


def buys(app: App, properties: dict[str, Any]) -> set[str]:
    """Amina buys; what is told at the door to be wrong."""
    problems = Problems()
    kept = app.door.properties("purchase", properties, problems)
    app.runtime.ingest([Incoming("amina", "purchase", "k", NOW, kept)])
    return set(problems.found)


def told(app: App) -> dict[str, Any]:
    """Her purchase, as it is told of her."""
    with app.database.read() as connection:
        (event,) = portrait(connection, app.content, app.registry, "amina", NOW)["events"]
        return dict(event)


def test_what_is_of_its_declared_type_is_not_wrong(shop: Callable[[str], App]) -> None:
    app = shop(TYPES)
    assert buys(app, RIGHT) == set()
    assert told(app)["wrong"] == []


def test_what_the_door_found_wrong_is_named_and_told_as_it_came(shop: Callable[[str], App]) -> None:
    app = shop(TYPES)
    assert buys(app, WRONG) == WRONG.keys()
    assert told(app)["wrong"] == sorted(WRONG)
    assert told(app)["properties"]["at"] == 2**62 and told(app)["properties"]["total"] == "49.90 KES"


@pytest.mark.parametrize("name", WRONG)
def test_only_the_wrong_one_is_named(shop: Callable[[str], App], name: str) -> None:
    app = shop(TYPES)
    buys(app, RIGHT | {name: WRONG[name]})
    assert told(app)["wrong"] == [name]


def test_the_types_are_those_of_now(shop: Callable[[str], App]) -> None:
    app = shop("qty: text, gift: text, note: text")
    assert buys(app, {"qty": "2", "gift": "yes", "note": "hello"}) == set()
    assert told(shop(TYPES))["wrong"] == ["gift", "qty"]
