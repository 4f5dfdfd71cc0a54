"""Two engines on one PostgreSQL: whatever they both try is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runs import JourneyRuns, Manner
from engine.store.database import Database
from tests.patience import eventually
from tests.promises import figures

from . import shop as shops
from .shop import Shop

pytestmark = pytest.mark.postgres

MANNER = Manner(linger=5.0, idle=0.1, idle_most=0.5)


def test_two_engines_that_are_woken_together_do_everything_once(
    postgres_url: str, project: Callable[..., Path]
) -> None:
    root = project(shops.FILES)
    mine, other = (Shop.open(Database(postgres_url), root) for _ in range(2))
    with JourneyRuns(mine.runtime, None, MANNER) as here, JourneyRuns(other.runtime, None, MANNER) as there:
        for _ in range(20):
            mine.happens("signed_up", 10)
            mine.happens("ordered", 5, country="TZ")
            here.wake()
            there.wake()
        eventually(
            lambda: (mine.standing("welcome"), mine.standing("frail")) == ({"pause": 200}, {None: 100}), every=0.1
        )
    assert mine.mails() == 200
    decided = Counter(mine.decisions())
    twice = decided.total() - len(decided)
    figures("any number of engines may run", engines=2, decisions=len(decided), mails=mine.mails(), duplicates=twice)
    assert twice == 0
    # Everybody was seen by every step on their way, and by no other.
    sent = Counter((journey, step) for _, journey, _, step, _ in decided)
    assert sent["welcome", "here"] == 200
    assert sent["welcome", "there"] == 0
    assert sent["frail", "last"] == 100
    for shop in (mine, other):
        shop.runtime.database.dispose()
