"""Commands on the pages that no test types are there, with their options."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

import engine.cli  # noqa: F401  adds the commands
from engine.builtins import registry
from engine.channels import telegram_back
from engine.cli.shell import app
from engine.settings import Settings
from tests.docs.blocks import ROOT, Fence, every
from tests.docs.terminal import typed


@pytest.mark.parametrize("fence", every("commands"), ids=str)
def test_karibu_has_each_command_with_these_options(
    fence: Fence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, answer in typed(fence):
        karibu, *words = shlex.split(line.partition(" > ")[0])
        assert karibu == "karibu", f"{fence}: {line}"
        command = typer.main.get_command(app)
        while isinstance(command, TyperGroup):
            command = command.commands[words.pop(0)]
        for file in (word for word in words if word.endswith((".csv", ".csv.gz", ".parquet"))):
            Path(file).touch()
        command.make_context(line, words)  # reads the words and runs nothing
        source = Path(inspect.getfile(inspect.unwrap(command.callback))).read_text(encoding="utf-8")  # type: ignore[arg-type]
        for said in answer:
            assert said.rpartition(": ")[2] in source, f"{fence}: {said}"


@pytest.mark.parametrize("fence", every("make"), ids=str)
def test_make_has_each_target(fence: Fence) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for line in fence.text.splitlines():
        word, what = shlex.split(line, comments=True)
        assert (word == "make" and what in targets) or line == 'export PATH="$PWD/.venv/bin:$PATH"', f"{fence}: {line}"


@pytest.mark.parametrize("fence", every("telegram"), ids=str)
def test_the_webhook_that_telegram_is_told_is_ours_and_hears_all_that_we_read(fence: Fence) -> None:
    settings = {name.lower() for name in re.findall(r"\$KARIBU_(\w+?)(?=/|\W|$)", fence.text)}
    assert settings == {"telegram_token", "telegram_webhook_secret"} and settings <= Settings.model_fields.keys()
    (hook,) = re.findall(r"url=https://YOUR-SERVICE/hooks/(\w+)/events", fence.text)
    assert registry().returns[hook].secret == "telegram_webhook_secret"
    (updates,) = re.findall(r"allowed_updates=\[(.+)\]", fence.text)
    read = re.findall(r'\(given\.get\("(\w+)"\)', inspect.getsource(telegram_back))
    assert sorted(re.findall(r'"(\w+)"', updates)) == sorted(read)
