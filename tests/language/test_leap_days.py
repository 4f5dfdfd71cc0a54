"""A journey that means 1 March and asks about birthdays is told that those mean 28 February; it is no problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.language.check_dates import early_leap_days
from tests.language.support import project, registry

STEPS = """journey: j
enter:
  date: customer.birthday
  offset: -7d
  leap_day: %s
steps:
  - wait: until customer.birthday at 10:00
  - branch:
      - if: days_until( customer.birthday ) == 0 or age(customer.birthday) > 30
        then: [{wait: 1d}]
      - if: days_until(customer.renewal) == 0
        then: [{wait: 1d}]
  - wait: until customer.renewal
"""


@pytest.mark.parametrize(("leap_day", "places"), [("mar1", ["7:11", "9:13"]), ("feb28", [])])
def test_where_a_journey_asks_about_birthdays_its_leap_day_in_march_is_noticed(
    leap_day: str, places: list[str], tmp_path: Path
) -> None:
    content, problems = check_directory(project(tmp_path, j=STEPS % leap_day), registry(), None)
    assert problems == []
    told = early_leap_days(content)
    assert [f"{one.line}:{one.col}" for one in told] == places
    assert all("is on the 28th" in one.headline and "a wait of so many days" in one.headline for one in told)
