"""Days that have gone by are told, on the brand's clock, and are no problem."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.language.check_dates import gone_by
from tests.language.support import HEAD, project, registry

AT = "journey: j\nenter: {at: 2026-03-01 09:30}\nsteps:\n  - wait: 1d\n"


def noticed(root: Path, text: str, now: str) -> list[str]:
    content, problems = check_directory(project(root, j=text), registry(), None)
    assert problems == []
    return [notice.headline for notice in gone_by(content, datetime.fromisoformat(now).replace(tzinfo=UTC))]


def test_a_start_that_has_gone_by_is_told_from_that_minute_on(tmp_path: Path) -> None:
    assert noticed(tmp_path, AT, "2026-03-01T06:30") == []  # 09:30 in Nairobi
    assert noticed(tmp_path, AT, "2026-03-01T06:31") == [
        "workflows/j.yaml:2:13 enter.at: 2026-03-01 09:30 has gone by: nobody is let in any more "
        "(it is 2026-03-01 09:31 in Africa/Nairobi)"
    ]


@pytest.mark.parametrize(
    ("if_past", "then"),
    [("continue", "everybody goes on at once"), ("exit", "everybody leaves the journey here"), ("next", None)],
)
def test_a_wait_until_a_day_that_has_gone_by_says_what_becomes_of_customers(
    tmp_path: Path, if_past: str, then: str | None
) -> None:
    inner = f"      - if: customer.vip\n        then:\n          - wait: until 2025-12-24 18:00\n            if_past: {if_past}\n"
    told = noticed(tmp_path, HEAD + "steps:\n  - branch:\n" + inner, "2026-03-01T06:30")
    where = "workflows/j.yaml:8:19 steps[0].branch[0].then[0].wait: 2025-12-24 18:00 has gone by: "
    assert told == ([] if then is None else [f"{where}{then} (it is 2026-03-01 09:30 in Africa/Nairobi)"])


def test_a_day_to_come_and_a_wait_without_one_are_not_told(tmp_path: Path) -> None:
    steps = "steps:\n  - wait: until 2026-12-24 18:00\n  - wait: 3d\n  - wait: until customer.renewal\n"
    assert noticed(tmp_path, HEAD + steps, "2026-03-01T06:30") == []
