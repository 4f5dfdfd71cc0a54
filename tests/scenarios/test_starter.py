"""Every scenario of the starter content, on both databases."""

from __future__ import annotations

from functools import cache

import pytest

from engine import starter
from engine.builtins import registry
from engine.language.content import Content, load
from engine.runtime.coverage import coverage
from engine.runtime.simulate import run, side_by_side
from engine.store.database import Database


@cache
def content() -> Content:
    return load(starter.root(), registry())


@pytest.mark.parametrize("journey", sorted(content().journeys))
def test_the_stories_of_a_starter_journey_come_true_and_reach_all_of_it(journey: str, database: Database) -> None:
    outcomes = run(content(), registry(), journey, database)
    assert outcomes, "a starter journey has scenarios"
    assert all(one.passed for one in outcomes), "\n".join(side_by_side(one) for one in outcomes if not one.passed)
    found = coverage(journey, content().graphs[journey], (step for one in outcomes for step in one.reached))
    assert found.complete, str(found)
