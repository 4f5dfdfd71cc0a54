"""Off a terminal, long work says every few seconds that it goes on."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine import progress
from engine.demo import run
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


def test_the_demo_counts_its_baskets() -> None:
    log = io.StringIO()
    with run._bar(Console(file=log, width=100), 200) as tell:
        tell(50)
        eventually(lambda: log.getvalue().count("\n") >= 2)
    assert re.match(LINE % "50 baskets" + "\n", log.getvalue()) and "25%" in log.getvalue()
