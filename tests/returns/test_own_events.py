"""Karibu's own events are known without a word in project.yaml, and nobody declares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.language.registry import Registry
from tests.scenarios.shop import FILES, PROJECT, passes, write

JOURNEY = "journey: j\ntopic: offers\nenter: {{event: {}, where: {}}}\nsteps: [{{send: email/a}}]\n"


@pytest.mark.parametrize(
    ("event", "where", "fault"),
    [
        ("message_clicked", 'entry.url == "https://duka.example"', None),
        ("message_bounced", "entry.soft", None),
        ("message_clickd", 'entry.url == "x"', 'unknown event "message_clickd" (did you mean "message_clicked"?)'),
        ("message_opened", 'entry.url == "x"', "url"),
    ],
)
def test_a_journey_enters_on_them_and_is_checked(
    event: str, where: str, fault: str | None, project: Callable[..., Path], registry: Registry
) -> None:
    files = {"workflows/project.yaml": PROJECT, **FILES, "workflows/j.yaml": JOURNEY.format(event, f"'{where}'")}
    problems = [str(one) for one in check_directory(project(files), registry, None)[1]]
    assert problems == [] if fault is None else any(fault in one for one in problems)


def test_nobody_declares_one(project: Callable[..., Path], registry: Registry) -> None:
    declared = PROJECT.replace("  closed: {}\n", "  closed: {}\n  message_opened: {}\n")
    problems = check_directory(project({"workflows/project.yaml": declared, **FILES}), registry, None)[1]
    assert any("the event message_opened is built in (remove it)" in str(one) for one in problems)


def test_in_a_scenario_a_click_ends_the_wait_for_it(tmp_path: Path, registry: Registry) -> None:
    root = write(
        tmp_path,
        """
        enter: {event: signed_up}
        steps:
          - {send: email/a, id: mail}
          - wait_for: {event: message_clicked, where: 'event.step == "mail"', within: 2d}
            id: came
            then: [{send: email/b}]
            else: [{send: email/c}]
        """,
        """
        - {event: signed_up}
        - {sends: email/a}
        - {after: 1h, clicks: mail}
        - {sends: email/b}
        - {ends: finished}
        """,
    )
    passes(root, registry, None)
