"""Journeys that start each other without a wait, and those that may."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.language.check import check_directory
from tests.language.support import project, registry


def journey(name: str, again: str, *steps: str) -> str:
    lines = "".join(f"  - {step}\n" for step in steps)
    return f"journey: {name}\nenter: {{event: signed_up, again: {again}}}\nsteps:\n{lines}"


def said(root: Path, **journeys: str) -> list[str]:
    _, problems = check_directory(project(root, **journeys), registry(), None)
    return [problem.headline for problem in problems]


def test_two_journeys_that_start_each_other_at_once_are_told_at_both_starts(tmp_path: Path) -> None:
    told = said(
        tmp_path,
        j=journey("j", "after exit", "tag: a", "start: other"),
        other=journey("other", "restart", "branch: [{if: customer.vip, then: [{start: j}]}]"),
    )
    assert told == [
        "workflows/j.yaml:5:12 steps[1].start: these can start each other for ever without a wait: "
        "j → other → j (put a wait before it, or remove it)",
        "workflows/other.yaml:4:48 steps[0].branch[0].then[0].start: these can start each other for ever without a "
        "wait: other → j → other (put a wait before it, or remove it)",
    ]


@pytest.mark.parametrize(
    ("again", "before"),
    [
        ("never", "tag: a"),
        ("after 30d", "tag: a"),
        ("always", "wait: 1d"),
        ("always", "wait_for: {event: purchase, within: 1d}"),
        ("always", "exit: done"),
    ],
    ids=["nobody enters it again", "nobody enters it at once", "a wait", "a wait for an event", "it is never come to"],
)
def test_what_ends_a_circle_is_seen(tmp_path: Path, again: str, before: str) -> None:
    told = said(
        tmp_path,
        j=journey("j", "always", "start: other"),
        other=journey("other", again, before, "start: j"),
    )
    assert not [line for line in told if "for ever" in line]


def test_a_circle_of_three_is_told_and_one_that_only_leads_to_it_is_not(tmp_path: Path) -> None:
    told = said(
        tmp_path,
        j=journey("j", "always", "start: second"),
        second=journey("second", "always", "start: third"),
        third=journey("third", "always", "start: second"),
        fourth=journey("fourth", "always", "start: fourth", "start: j"),
    )
    files = [line.split(":")[0] for line in told]
    assert files == ["workflows/fourth.yaml", "workflows/second.yaml", "workflows/third.yaml"]
    assert "its own journey" in told[0]
