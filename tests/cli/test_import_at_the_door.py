"""What the API refuses an import refuses too, by line, and takes the rest: ids without an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.imports import Result
from engine.runtime.bounds import AN_ID, LONGEST_ID
from engine.store.database import Database
from engine.store.tables import customer, event
from tests.cli.test_import import PROJECT, Shop

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
