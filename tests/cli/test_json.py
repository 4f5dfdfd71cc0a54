"""`--json` on every command that tells something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engine.cli.shell import app
from tests.cli.session import karibu

ONLY_DO = {
    "init",
    "up",
    "demo",
    "fake-provider",
    "key revoke",
    "resolve",
    "suppressions add",
    "suppressions remove",
}
"""They change or run something, and tell no more than that it is done."""

CSV = {"suppressions export"}
"""A file for `karibu suppressions import`."""


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by the words that are typed."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, f"{before}{name} ")
        else:
            yield before + name, one


def test_every_command_that_tells_something_takes_json() -> None:
    without = {
        name
        for name, one in commands(typer.main.get_command(app))
        if not any("--json" in option.opts for option in one.params)
    }
    assert without == ONLY_DO | CSV


def test_schemas_are_the_same_json_with_and_without_saying_so() -> None:
    said = karibu("schema", "journey", "--json")
    assert said.code == 0 and json.loads(said.out)["type"] == "object"
    assert karibu("schema", "journey").out == said.out
    assert json.loads(karibu("schema", "--json").out).keys() == {"journey", "project", "segments", "test"}


def test_schemas_are_written_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    both = karibu("schema", "--write", "--json")
    assert (both.code, both.out) == (2, "") and "exclude each other" in both.err
