"""What comes through the door is counted: kinds of values, wrong types, names nobody declared; within bounds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from engine.runtime.door import Door, Problems
from engine.runtime.heard import EventHeard, PropertyHeard, heard, wrong_types
from engine.runtime.ingest import Incoming
from engine.runtime.sightings import (
    ITSELF,
    LONGEST,
    LONGEST_SHAPE,
    MOST_EVENTS,
    MOST_PROPERTIES,
    MOST_SHAPES,
    OTHER,
)
from engine.store.database import Database
from engine.store.tables import event, sighting
from tests.engine.shop import START, Shop


@pytest.fixture
def shop(tmp_path: Path, database: Database) -> Shop:
    return Shop.of(tmp_path, database, {})


@pytest.fixture
def door(shop: Shop) -> Iterator[Door]:
    content = shop.runtime.content
    yield Door(content.project, content.vocabulary, "a secret of the tests")


def told(shop: Shop) -> dict[str, EventHeard]:
    content = shop.runtime.content
    with shop.runtime.database.read() as connection:
        return {one.event: one for one in heard(connection, content.project, content.vocabulary)[0]}


def named(properties: tuple[PropertyHeard, ...]) -> dict[str, PropertyHeard]:
    return {one.property: one for one in properties}


def rows(database: Database, *where: Any) -> list[tuple[str, str, str, bool, int]]:
    c = sighting.c
    with database.read() as connection:
        found = select(c.event, c.property, c.kind, c.wrong, c["count"]).where(*where)
        return [tuple(row) for row in connection.execute(found.order_by(c.event, c.property, c.kind, c.wrong))]


def test_kinds_and_wrong_types_are_counted_and_the_event_is_there(shop: Shop, door: Door, database: Database) -> None:
    for n, total in enumerate((5, "7.50", "much", None, [1])):
        problems = Problems()
        properties = door.properties("purchase", {"total": total, "colour": "red"}, problems)
        assert bool(problems.found) == (total in ("much", [1]))
        shop.runtime.ingest([Incoming("amina", "purchase", f"k{n}", START, properties)])
    door.sightings.write(database, START)
    purchase = told(shop)["purchase"]
    assert (purchase.times, purchase.customers, purchase.seen, purchase.declared) == (5, 1, 5, True)
    properties = named(purchase.properties)
    assert dict(properties["total"].kinds) == {"list": 1, "number": 1, "text": 2}
    assert dict(properties["total"].wrong) == {"list": 1, "text": 1}
    assert (properties["colour"].declared, dict(properties["colour"].kinds)) == (None, {"text": 5})
    assert (properties["order_id"].declared, properties["order_id"].last_at) == ("text", None)
    with database.read() as connection:
        kept = list(connection.scalars(select(event.c.properties["total"]).order_by(event.c.id)))
        wrong = wrong_types(connection, shop.runtime.content.vocabulary)
    assert kept == [500, 750, "much", None, [1]]
    assert [(one.event, one.property, one.declared, one.kind, one.count) for one in wrong] == [
        ("purchase", "total", "money", "list", 1),
        ("purchase", "total", "money", "text", 1),
    ]


def test_a_wrong_type_is_seen_by_no_expression(tmp_path: Path, database: Database) -> None:
    body = "enter: {event: purchase, where: 'entry.total > 1 or entry.total <= 1'}\nsteps: [{wait: 1d}, {exit: done}]\n"
    shop = Shop.of(tmp_path, database, {"j": body})
    content = shop.runtime.content
    door = Door(content.project, content.vocabulary, "a secret of the tests")
    for who, total in (("amina", 40), ("baraka", "forty")):
        properties = door.properties("purchase", {"total": total}, Problems())
        shop.runtime.ingest([Incoming(who, "purchase", who, START, properties)])
    assert shop.decisions("amina") and not shop.decisions("baraka")
    assert shop.rows("SELECT total FROM tally ORDER BY customer_id") == [(4000,), (0,)]


def test_attributes_of_customers_are_counted_too(shop: Shop, door: Door, database: Database) -> None:
    for score in (1, "many"):
        door.profile({"id": "amina", "score": score, "email": "nowhere", "shoe": 41}, Problems())
    door.sightings.write(database, START)
    assert rows(database) == [
        ("", "email", "text", True, 2),
        ("", "score", "number", False, 1),
        ("", "score", "text", True, 1),
        ("", "shoe", "number", False, 2),
    ]


def test_what_is_declared_and_never_came_is_told_and_so_is_what_nobody_declared(
    shop: Shop, door: Door, database: Database
) -> None:
    door.properties("purchased", {"total": 5}, Problems())
    shop.runtime.ingest([Incoming("amina", "purchased", "1", START, {"total": 5})])
    door.sightings.write(database, START)
    found = told(shop)
    assert {name for name, one in found.items() if one.never} == {"purchase", "shipped", "closed"}
    assert not found["purchased"].declared and found["purchased"].times == 1


def test_a_sender_who_invents_names_fills_neither_memory_nor_table(shop: Shop, door: Door, database: Database) -> None:
    for n in range(3 * MOST_PROPERTIES):
        door.properties("purchase", {f"x{n}": n, "y" * (LONGEST + 1): 1, "a\nb": 1, "total": 1}, Problems())
        door.profile({f"x{n}": n}, Problems())
    for n in range(2 * MOST_EVENTS):
        door.properties(f"e{n}", {"n": n}, Problems())
    door.sightings.write(database, START)
    names = {name for event, name, *_ in rows(database, sighting.c.event == "purchase")}
    assert len(names) == MOST_PROPERTIES + 3  # and the event itself, total, and the rest
    assert (OTHER in names) and ("total" in names)
    assert (
        sum(n for _, name, *_, n in rows(database) if name == OTHER)
        == 2 * 2 * MOST_PROPERTIES + 2 * 3 * MOST_PROPERTIES
    )
    events = {event for event, *_ in rows(database)} - {"", "purchase"}
    assert len(events) == MOST_EVENTS + 1
    # A new process keeps to what the table holds already.
    fresh = Door(door.project, door.vocabulary, door.secret)
    fresh.sightings.remember(database, door.project.events)
    for n in range(10):
        fresh.properties("purchase", {f"z{n}": n}, Problems())
        fresh.properties(f"z{n}", {}, Problems())
    fresh.properties("purchase", {"x1": 1}, Problems())
    before = len(rows(database))
    fresh.sightings.write(database, START)
    assert len(rows(database)) == before


def test_events_of_more_shapes_than_are_kept_apart_are_counted_exactly(door: Door, database: Database) -> None:
    expected: Counter[tuple[str, str, str, bool]] = Counter()
    for n in range(2 * MOST_SHAPES):
        given: dict[str, Any] = {f"p{bit}": 1 if n >> bit & 1 else "one" for bit in range(10)}
        given["total"] = True if n % 3 == 0 else n  # true is no amount
        given["z" * LONGEST] = None
        if n % 5 == 0:  # a shape whose names are long
            given |= {f"{bit:02}{'l' * (LONGEST - 2)}": [] for bit in range(2 * LONGEST_SHAPE // LONGEST)}
        for _ in range(1 + n % 2):
            door.properties("purchase", given, Problems())
            expected["purchase", ITSELF, "", False] += 1
            for name, value in given.items():
                if value is not None:
                    kind = {int: "number", str: "text", bool: "boolean", list: "list"}[type(value)]
                    expected["purchase", name, kind, value is True] += 1
    door.sightings.write(database, START)
    assert {(event, name, kind, wrong): n for event, name, kind, wrong, n in rows(database)} == expected


def test_processes_that_write_at_once_neither_wait_for_ever_nor_lose_a_count(
    shop: Shop, door: Door, database: Database
) -> None:
    writers = 4
    doors = [Door(door.project, door.vocabulary, door.secret) for _ in range(writers)]
    failed: list[Exception] = []

    def live(one: Door, turn: int) -> None:
        try:
            for n in range(20):
                given = {f"p{k}": n for k in range(30)}
                one.properties("purchase", dict(reversed(given.items())) if turn % 2 else given, Problems())
                one.sightings.write(database, START + timedelta(seconds=n))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=live, args=(one, turn)) for turn, one in enumerate(doors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with database.read() as connection:
        counts = connection.execute(select(func.count(), func.sum(sighting.c["count"]))).one()
    assert tuple(counts) == (31, writers * 20 * 31)


def test_a_write_that_fails_is_made_up_for(shop: Shop, door: Door, database: Database, tmp_path: Path) -> None:
    door.properties("purchase", {"total": 1}, Problems())
    away = Database(f"sqlite:///{tmp_path}/no/such/place.db")
    door.sightings.write(away, START)
    door.properties("purchase", {"total": 1}, Problems())
    door.sightings.write(database, START)
    assert rows(database) == [("purchase", "", "", False, 2), ("purchase", "total", "number", False, 2)]


def test_a_merge_is_the_engines_own_event_and_not_called_undeclared(shop: Shop, door: Door, database: Database) -> None:
    for name in ("amina", "asha"):
        shop.happens(name, "closed")
    shop.runtime.people().merge("asha", "amina")
    merged = told(shop)["customer_merged"]
    assert (merged.declared, merged.times, merged.never) == (True, 1, False)
    door.properties("customer_merged", {"of": "another kind"}, Problems())  # a sender has one of the same name
    door.sightings.write(database, START)
    assert not told(shop)["customer_merged"].declared
