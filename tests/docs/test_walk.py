"""The README's first journey works as typed: its commands and files, in order, in an empty directory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Fence, fences

pytestmark = pytest.mark.slow


def lines() -> Iterator[tuple[Fence, str]]:
    """Every command of the walk, and every file, as they come."""
    for fence in fences(ROOT / "README.md"):
        if fence.kind.startswith("file:"):
            yield fence, fence.kind
        elif fence.kind == "walk":
            for line in fence.text.splitlines():
                assert line.startswith("$ "), f"{fence}: a walk holds commands only"
                yield fence, line[2:]


def test_the_first_journey_works_as_typed(tmp_path: Path) -> None:
    here = tmp_path
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for fence, line in lines():
        if line.startswith("file:"):
            (here / line.removeprefix("file:")).write_text(fence.text, encoding="utf-8")
            continue
        words = shlex.split(line)
        if words[0] == "cd":
            here = here / words[1]
            continue
        assert words[0] == "karibu", f"{fence}: {line}"
        ran = subprocess.run(
            [sys.executable, "-m", "engine.cli", *words[1:]],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{fence}: {line}\n{ran.stdout}{ran.stderr}"
