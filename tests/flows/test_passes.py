"""Passes without Prefect: the order, what fails and what nobody could move."""

from __future__ import annotations

import asyncio
import logging

import pytest

from engine.passes import Outcome, Passes, Place

from . import shop as shops
from .shop import Shop


def until_rest(shop: Shop, journey: str, held: frozenset[Place] = frozenset()) -> Outcome:
    async def run() -> Outcome:
        passes = Passes(shop.runtime, journey)
        return await passes.until_rest(passes.directly, await passes.due(held))

    return asyncio.run(run())


def steps(outcome: Outcome) -> list[str]:
    return [step_id for _, step_id in outcome.reports]


def test_a_pass_moves_each_step_once_in_graph_order_and_takes_those_who_arrive_ahead(shop: Shop) -> None:
    shop.happens("signed_up", 3)
    shop.happens("signed_up", 2, country="TZ")
    outcome = until_rest(shop, "welcome")
    assert steps(outcome) == ["hello", "tag_1", "branch_1", "here", "there", "pause"]
    assert outcome.moves == 6
    assert outcome.total().sent == 5
    assert shop.mails() == 5
    assert shop.standing("welcome") == {"pause": 5}


def test_a_journey_without_work_makes_no_move(shop: Shop) -> None:
    assert until_rest(shop, "welcome").moves == 0


def test_the_passes_of_one_journey_leave_the_others_alone(shop: Shop) -> None:
    shop.happens("signed_up")
    shop.happens("ordered")
    until_rest(shop, "welcome")
    assert shop.standing("frail") == {"first": 1}


def test_a_step_that_fails_keeps_its_customers_and_the_next_passes_go_on_there(shop: Shop) -> None:
    shops.BROKEN.add("weak")
    shop.happens("ordered", 2)
    outcome = until_rest(shop, "frail")
    assert [step_id for _, step_id in outcome.failed] == ["weak"]
    assert shop.standing("frail") == {"weak": 2}
    shops.BROKEN.clear()
    assert steps(until_rest(shop, "frail")) == ["weak", "last"]
    assert shop.standing("frail") == {None: 2}


def test_a_step_that_is_held_back_is_not_tried(shop: Shop) -> None:
    shop.happens("ordered")
    first = until_rest(shop, "frail", held=frozenset({(version(shop, "frail"), "weak")}))
    assert steps(first) == ["first"]
    assert shop.standing("frail") == {"weak": 1}


def test_an_error_is_told_by_its_class_and_place_and_never_in_its_own_words(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shops.BROKEN.add("weak")
    shop.happens("ordered")
    with caplog.at_level(logging.DEBUG):
        (told,) = until_rest(shop, "frail").failed.values()
    assert told.startswith("step weak: Stumbled at engine/runtime/advance.py:")
    assert shops.CANARY not in told + caplog.text


def version(shop: Shop, journey: str) -> int:
    return next(key for key, program in shop.runtime.programs().items() if program.name == journey)
