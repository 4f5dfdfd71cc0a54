"""Off a terminal, long work says every few seconds that it goes on."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine import progress
from engine.cli import testing
from engine.demo import run
from engine.runtime import simulate
from engine.runtime.runtime import Runtime
from tests.cli.session import karibu
from tests.patience import eventually

LINE = r"  %s, \d+%%, \d+ s"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line comes a hundred times a second."""
    monkeypatch.setattr(progress, "EVERY", 0.01)


def test_a_line_comes_though_the_work_tells_nothing_new() -> None:
    said: list[str] = []
    with progress.lines(said.append) as tell:
        tell(0.4, "12,000 rows")
        eventually(lambda: len(said) >= 2)
    assert all(re.fullmatch(LINE % "12,000 rows", line) and "40%" in line for line in said)
    before = len(said)
    time.sleep(0.05)
    assert len(said) == before


def test_a_publish_that_takes_long_says_what_it_is_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    publish = Runtime.publish

    def slow(self: Runtime, names: Any, tell: progress.Tell) -> Any:
        def kept(done: float, what: str) -> None:
            told.append(what)
            tell(done, what)
            time.sleep(0.1)

        return publish(self, names, kept)

    monkeypatch.setattr(Runtime, "publish", slow)
    monkeypatch.chdir(tmp_path)
    karibu("init", "shop")
    ran = karibu("-C", "shop", "publish")
    assert ran.code == 0 and re.search(LINE % "segment [a-z-]+", ran.err) and "members let in" in told
    assert karibu("-C", "shop", "publish", "--json").err == ""


def test_scenarios_are_counted_while_they_are_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = simulate._played

    def slow(*given: Any) -> simulate.Outcome:
        time.sleep(0.1)
        return played(*given)

    monkeypatch.setattr(simulate, "_played", slow)
    monkeypatch.chdir(tmp_path)
    karibu("init", "shop")
    ran = karibu("-C", "shop", "test", "win-back")
    assert ran.code == 0 and "all passed" in ran.out and "%" not in ran.out
    assert re.search(LINE % r"\d+ of \d+ scenarios", ran.err)
    quiet = karibu("-C", "shop", "test", "win-back", "--json")
    assert quiet.err == "" and json.loads(quiet.out)["failed"] == 0


def test_a_scenario_that_fails_is_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    karibu("init", "shop")
    story = tmp_path / "shop/workflows/win-back.test.yaml"
    story.write_text(
        "- scenario: nobody is told\n  start: 2026-03-02 09:00\n  customer: {id: amina}\n  story: [{ends: finished}]\n"
    )
    told: list[tuple[float, str]] = []

    @contextmanager
    def kept(*, quiet: bool) -> Iterator[progress.Tell]:
        yield lambda done, what: told.append((done, what))

    monkeypatch.setattr(testing, "progress", kept)
    ran = karibu("-C", "shop", "test", "win-back")
    assert ran.code == 1 and "win-back" in ran.out
    assert told[0][0] == 0 and told[-1][0] == 1 and "failed" in told[-1][1]


def test_the_demo_counts_its_baskets() -> None:
    log = io.StringIO()
    with run._bar(Console(file=log, width=100), 200) as tell:
        tell(50)
        eventually(lambda: log.getvalue().count("\n") >= 2)
    assert re.match(LINE % "50 baskets" + "\n", log.getvalue()) and "25%" in log.getvalue()
