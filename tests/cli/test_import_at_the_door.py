"""What the API refuses an import refuses too, by line, and takes the rest: ids without an end, times before 1970,
Karibu's own events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from engine.imports import Result
from engine.language.vocabulary import OWN_EVENTS
from engine.runtime.bounds import AN_ID, EARLIEST, LONGEST_ID
from engine.runtime.door import Problems
from engine.runtime.portrait import portrait
from engine.store.database import Database
from engine.store.tables import customer, event
from tests.cli.test_import import NOW, PROJECT, Shop

LONG = "x" * (LONGEST_ID + 1)
ENDLESS = "y" * 3_500
"""Longer than what stands in an index of PostgreSQL, even when it is packed."""

NO_ID = f"this can't be an id; {AN_ID}"


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    made = Shop(project({"workflows/project.yaml": PROJECT}), database)
    yield made
    made.app.close()


def faults(result: Result) -> dict[int, str]:
    return dict(result.faults)


def test_a_customer_whose_id_is_too_long_is_refused_by_line_and_the_others_are_taken(shop: Shop) -> None:
    result = shop.take(f"id,tier\namina,gold\n{LONG},gold\n{ENDLESS},gold\n{'z' * LONGEST_ID},gold\nju\tma,gold\n")
    assert faults(result) == dict.fromkeys((3, 4, 6), f"id: {NO_ID}")
    assert shop.rows(customer.c.external_id) == [("amina",), ("z" * LONGEST_ID,)]


@pytest.mark.parametrize("live", [False, True])
def test_an_event_whose_customer_key_or_source_is_too_long_is_refused_by_line(shop: Shop, live: bool) -> None:
    result = shop.take(
        "customer,event,at,key,source\n"
        f"{ENDLESS},shipped,2026-02-01,1,\n"
        f"amina,shipped,2026-02-01,{ENDLESS},\n"
        f"amina,shipped,2026-02-01,2,{LONG}\n"
        f"amina,shipped,2026-02-01,{'k' * LONGEST_ID},{'s' * LONGEST_ID}\n"
        f"amina,{ENDLESS},2026-02-01,3,\n",
        live=live,
    )
    assert faults(result) == {
        2: f"customer: {NO_ID}",
        3: f"key: {NO_ID}",
        4: f"source: {NO_ID}",
        6: f'unknown event "{"y" * 40}" (known: purchase, shipped)',
    }
    assert shop.rows(event.c.key) == [(f"shipped:{'k' * LONGEST_ID}",)]


def test_all_that_is_wrong_with_the_ids_of_a_row_is_told_at_once(shop: Shop) -> None:
    result = shop.take(f"customer,event,at,key,source\n{LONG},shiped,2026-02-01,{LONG},{LONG}\n")
    assert faults(result)[2].split("; ")[::2] == [
        "customer: this can't be an id",
        'unknown event "shiped" (did you mean "shipped"?)',
        AN_ID,
        AN_ID,
    ]


YEAR_ONE = "0001-01-01T00:00:00"


@pytest.mark.parametrize("live", [False, True])
def test_events_before_1970_are_refused_by_line_and_whose_they_are_can_be_shown(shop: Shop, live: bool) -> None:
    result = shop.take(
        "customer,event,at\n"
        "amina,shipped,0001-01-01\n"
        f"amina,shipped,{YEAR_ONE}+14:00\n"
        f"amina,shipped,{YEAR_ONE}-12:00\n"
        "amina,shipped,1969-12-31T23:59:59Z\n"
        "amina,shipped,9999-12-31T23:59:59-12:00\n"
        "amina,shipped,1970-01-01T00:00:00Z\n",
        live=live,
    )
    assert faults(result) == {
        2: "at: 0001-01-01: this is before 1970",
        3: f"at: {YEAR_ONE}+14:00: this is before 1970",
        4: f"at: {YEAR_ONE}-12:00: this is before 1970",
        5: "at: 1969-12-31T23:59:59Z: this is before 1970",
        6: "at: 9999-12-31T23:59:59-12:00 lies in the future",
    }
    assert shop.rows(event.c.occurred_at) == [(EARLIEST,)]
    with shop.app.database.read() as connection:
        assert portrait(connection, shop.app.content, shop.app.registry, "amina", NOW)


def test_days_and_moments_of_parquet_before_1970_are_refused_too(shop: Shop) -> None:
    path = shop.root / "orders.parquet"
    frame = pl.DataFrame({"customer": ["amina", "juma"], "event": "shipped", "at": [date(1, 1, 1), date(2026, 1, 1)]})
    frame.write_parquet(path)
    assert faults(shop.take(path)) == {1: "at: 0001-01-01: this is before 1970"}
    frame.with_columns(pl.col("at").cast(pl.Datetime("us"))).write_parquet(path)
    assert faults(shop.take(path)) == {1: "at: 0001-01-01 00:00:00: this is before 1970"}


def test_a_customer_of_before_1970_is_refused_by_line(shop: Shop) -> None:
    result = shop.take(
        "id,created,consent,consent_at\n"
        "amina,0001-01-01,,\n"
        "juma,,email/offers,0001-01-01\n"
        "asha,9999-12-31,email/offers,1969-01-01\n"
        "rehema,1970-01-02,email/offers,1970-01-02\n"
    )
    assert faults(result) == {
        2: "created: 0001-01-01: this is before 1970",
        3: "consent_at: 0001-01-01: this is before 1970",
        4: "consent_at: 1969-01-01: this is before 1970; created: 9999-12-31 lies in the future",
    }
    assert shop.rows(customer.c.external_id) == [("rehema",)]


def test_what_the_api_is_told_of_before_1970_is_left_out(shop: Shop) -> None:
    problems = Problems()
    given = {"created": f"{YEAR_ONE}+00:00", "consent": {"email/offers": {"state": True, "at": f"{YEAR_ONE}-12:00"}}}
    profile = shop.app.door.profile(given, problems)
    assert problems.found == {"created": "this is before 1970", "consent": "this is before 1970"}
    assert (profile.created_at, profile.consents[0].at) == (None, None)


@pytest.mark.parametrize("live", [False, True])
def test_an_event_of_karibus_own_is_refused_by_line(shop: Shop, live: bool) -> None:
    names = sorted(OWN_EVENTS)[:4]
    rows = "".join(f"amina,{name},2026-02-01\n" for name in [*names, "shipped"])
    own = [f"{name} is an event of Karibu's own, that nobody sends; call yours otherwise" for name in names]
    assert list(faults(shop.take(f"customer,event,at\n{rows}", live=live)).values()) == own
    assert shop.rows(event.c.name) == [("shipped",)]
    result = shop.take("customer,at\namina,2026-02-01\n", live=live, event=names[0])
    assert faults(result) == {2: own[0]}
