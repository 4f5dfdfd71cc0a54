"""What sources tell by default, in the words of the starter project: its journeys hear it without a table."""

from __future__ import annotations

import re
from functools import cache

import pytest

from engine import starter
from engine.builtins import registry
from engine.language.content import Content, load
from tests.sources.samples import NAMES
from triggers.sources.segment_spec import EVENTS, in_small_letters

TELLS = {
    "shopify": "signed_up purchase cart_updated checkout_started shipped delivered refunded account_closed",
    "woocommerce": "signed_up purchase refunded account_closed",
    "stripe": "signed_up purchase refunded account_closed",
    "segment": "purchase cart_updated refunded",
    "cloudevents": "",
    "generic": "",
}
"""The starter's events that each source tells; the last two tell only what project.yaml names."""

NOBODY_TELLS = {"reviewed", "points_spent"}


@cache
def content() -> Content:
    return load(starter.root(), registry())


def defaults(name: str) -> set[str]:
    topics = EVENTS if name == "segment" else registry().sources[name].topics or {}
    return set(topics.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_source_tells_by_default_is_called_as_the_starter_calls_it(name: str) -> None:
    declared = set(content().project.events)
    assert defaults(name) & declared == set(TELLS[name].split())
    # No other word for the same thing, which no journey would hear: a refund is no `order_refunded`.
    assert not [one for one in defaults(name) - declared if one.endswith(tuple(f"_{event}" for event in declared))]


def test_all_that_a_starter_journey_waits_for_is_declared_and_some_source_tells_it() -> None:
    files = (starter.root() / "workflows").glob("*.yaml")
    texts = [file.read_text(encoding="utf-8") for file in files if not file.name.endswith(".test.yaml")]
    needed = {name for text in texts for name in re.findall(r"\bevent: ([a-z_]+)", text)}
    assert "refunded" in needed and needed <= set(content().project.events)
    assert needed - NOBODY_TELLS == {event for told in TELLS.values() for event in told.split()}


@pytest.mark.parametrize("name", ["Checkout Started", "Signed Up"])
def test_other_events_of_segments_spec_are_the_starters_in_small_letters(name: str) -> None:
    assert name not in EVENTS and in_small_letters(name) in content().project.events
