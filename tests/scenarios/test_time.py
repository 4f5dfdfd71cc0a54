"""Every form of a wait, and the nights on which clocks change."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.registry import Registry
from engine.store.database import Database
from tests.scenarios.shop import passes, write

BERLIN = "{id: amina, email: amina@shop.example, timezone: Europe/Berlin, consent: [email/offers]}"

# name: (the wait, when it is reached, when it is over, both on the clock of Berlin)
WAITS: dict[str, tuple[str, str, str]] = {
    "three days are 72 hours": ("wait: 3d", "2026-03-02 16:00", "2026-03-05 16:00"),
    "72 hours over the spring night end an hour later by the clock": (
        "wait: 3d",
        "2026-03-27 16:00",
        "2026-03-30 17:00",
    ),
    "72 hours over the autumn night end an hour earlier": ("wait: 3d", "2026-10-23 16:00", "2026-10-26 15:00"),
    "calendar days keep the time of day over the spring night": (
        "wait: 3d at 10:00",
        "2026-03-27 16:00",
        "2026-03-30 10:00",
    ),
    "calendar days keep the time of day over the autumn night": (
        "wait: 3d at 10:00",
        "2026-10-23 16:00",
        "2026-10-26 10:00",
    ),
    "a day on is the next day, however late it is": ("wait: 1d at 15:00", "2026-03-02 16:00", "2026-03-03 15:00"),
    "a day on is the next day, however early it is": ("wait: 1d at 15:00", "2026-03-02 14:00", "2026-03-03 15:00"),
    "a time the clock skips is as long after the jump": ("wait: 1d at 02:30", "2026-03-28 12:00", "2026-03-29 03:30"),
    "a time that comes twice is the first": ("wait: 1d at 02:30", "2026-10-24 12:00", "2026-10-25 02:30"),
    "until a time of day, today": ("wait: until 09:00", "2026-03-02 08:59", "2026-03-02 09:00"),
    "until a time of day that has just struck is tomorrow's": (
        "wait: until 09:00",
        "2026-03-02 09:00",
        "2026-03-03 09:00",
    ),
    "until a weekday to come": ("wait: until monday 10:00", "2026-03-04 12:00", "2026-03-09 10:00"),
    "until today, if its time is to come": ("wait: until monday 10:00", "2026-03-02 09:00", "2026-03-02 10:00"),
    "until a week on, if its time is gone": ("wait: until monday 10:00", "2026-03-02 10:00", "2026-03-09 10:00"),
    "until a moment": ("wait: until 2026-12-24 18:00", "2026-03-02 10:00", "2026-12-24 18:00"),
    "a moment gone by is passed": ("wait: until 2026-01-01 18:00", "2026-03-02 10:00", "2026-03-02 10:00"),
    "a moment gone by may be next year's": (
        "{wait: until 2026-01-01 18:00, if_past: next}",
        "2026-03-02 10:00",
        "2027-01-01 18:00",
    ),
    "until a date of theirs": ("wait: until customer.renewal - 5d at 09:00", "2026-03-02 10:00", "2026-05-05 09:00"),
    "until after a date of theirs": (
        "wait: until customer.renewal + 1w at 09:00",
        "2026-03-02 10:00",
        "2026-05-17 09:00",
    ),
    "a date gone by is passed": ("wait: until customer.renewal - 5d at 09:00", "2026-06-02 10:00", "2026-06-02 10:00"),
    "until the next birthday": ("wait: until customer.birthday at 09:00", "2026-03-02 10:00", "2027-01-31 09:00"),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_ends_when_it_says(name: str, tmp_path: Path, registry: Registry, database: Database) -> None:
    wait, reached, over = WAITS[name]
    person = BERLIN.replace("consent", "renewal: 2026-05-10, birthday: 1990-01-31, consent")
    journey = f"enter: {{event: signed_up}}\nsteps:\n  - {wait}\n  - send: email/a\n"
    scenario = (
        f"- scenario: waits\n  start: {reached} Europe/Berlin\n  customer: {person}\n  story:\n"
        f"    - {{event: signed_up}}\n    - {{at: {over}, sends: email/a}}\n    - {{ends: finished}}\n"
    )
    passes(write(tmp_path, journey, scenario), registry, database)


def test_a_moment_gone_by_may_end_the_journey(tmp_path: Path, registry: Registry, database: Database) -> None:
    journey = """
    enter: {event: signed_up}
    steps: [{wait: until customer.renewal at 09:00, if_past: exit}, {send: email/a}]
    """
    scenarios = f"""
    - scenario: gone by
      start: 2026-03-02 09:00
      customer: {{id: amina, email: a@shop.example, renewal: 2026-03-01, consent: [email/offers]}}
      story: [{{event: signed_up}}, {{ends: missed}}]
    - scenario: unknown
      start: 2026-03-02 09:00
      customer: {BERLIN}
      story: [{{event: signed_up}}, {{ends: missed}}]
    - scenario: to come
      start: 2026-03-02 09:00
      customer: {{id: amina, email: a@shop.example, renewal: 2026-03-04, consent: [email/offers]}}
      story: [{{event: signed_up}}, {{at: 2026-03-04 09:00, sends: email/a}}, {{ends: finished}}]
    """
    passes(write(tmp_path, journey, scenarios), registry, database)


def test_who_moves_takes_their_clock_along(tmp_path: Path, registry: Registry, database: Database) -> None:
    journey = """
    enter: {event: signed_up}
    steps: [{wait: 1d at 10:00}, {send: email/a}, {wait: 1d at 10:00}, {send: email/b}, {wait: 1d at 10:00}, {exit: done}]
    """
    # The wait that they move in has begun in Nairobi and ends as it was reckoned there; the next is Manila's.
    story = """
    - {event: signed_up}
    - {at: 2026-03-03 10:00, sends: email/a}
    - {after: 1h, updates: {timezone: Asia/Manila}}
    - {at: 2026-03-04 15:00, sends: email/b}
    - {at: 2026-03-05 10:00, ends: done}
    """
    passes(write(tmp_path, journey, story), registry, database)
