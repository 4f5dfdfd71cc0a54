"""Engines killed at random boundaries, and a provider at its worst: marketing is sent once at most, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.kills import SEED, kill
from tests.promises import figures

KILLS = int(os.environ.get("KARIBU_TEST_KILLS", "300"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def test_kill_9_at_any_boundary_sends_nothing_twice_and_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    outcome = kill(tmp_path, request.getfixturevalue(kind), KILLS // 2, SEED)
    figures("a marketing message is never sent twice, and none is lost", **outcome.plain())
    assert outcome.kills >= KILLS // 2 and outcome.sent > KILLS
    assert outcome.states["in_doubt"] and outcome.states["accepted"]
    assert outcome.duplicates == [] and outcome.lost == []
