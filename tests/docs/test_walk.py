"""The README's first journey works as typed: its commands and files, in order, in an empty directory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, fences
from tests.docs.terminal import ADDRESS, Terminal, needs, typed, up

pytestmark = pytest.mark.slow


def test_the_first_journey_works_as_typed(tmp_path: Path) -> None:
    needs("curl")
    terminal = Terminal(tmp_path, tmp_path / "commands")
    address, answers = ADDRESS, 0
    with ExitStack() as stack:
        for fence in fences(ROOT / "README.md"):
            word, _, name = fence.kind.partition(":")
            if word == "file":
                (terminal.project / name).write_text(fence.text, encoding="utf-8")
            elif word == "service":
                address = stack.enter_context(up(terminal, fence))
            elif word == "walk":
                for command, answer in typed(fence):
                    ran = terminal.run(command.replace(ADDRESS, address))
                    assert ran.returncode == 0, f"{fence}: {command}\n{ran.stdout}{ran.stderr}"
                    if answer:
                        assert ran.stdout.splitlines() == answer, f"{fence}: {command}"
                        answers += 1
        assert answers and address != ADDRESS
        told = terminal.run("karibu explain amina").stdout
        assert "thank-you" in told and "waits" in told, told
