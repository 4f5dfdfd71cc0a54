"""A terminal that types what a page says, and compares what it answers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import httpx2
import pytest

from tests.docs.blocks import ROOT, Fence
from tests.patience import PATIENCE, eventually

ADDRESS = "http://127.0.0.1:8000"


def needs(command: str) -> None:
    if shutil.which(command) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{command} isn't there")
        pytest.skip(f"no {command} on this machine")


class Terminal:
    """A shell that keeps its place and its variables, and knows `karibu` and `python`."""

    def __init__(self, here: Path, commands: Path) -> None:
        commands.mkdir()
        for name, more in (("karibu", " -m engine.cli"), ("python", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{more} "$@"\n')
            script.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "KARIBU_PORT": "0",
            "KARIBU_PREFECT_API_URL": "http://127.0.0.1:9/api",
            "no_proxy": "*",
        }
        self.here = here
        self.before: list[str] = []

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        if made := re.fullmatch(r"export (\w+)=\$\((.*)\)", line):  # is made once, whatever is typed after it
            ran = self.run(made[2])
            self.before.append(f"export {made[1]}={shlex.quote(ran.stdout.strip())}")
            return ran
        if line.startswith(("cd ", "export ", "signature=")):
            self.before.append(line)
        return subprocess.run(
            ["bash", "-e", "-c", "\n".join([*self.before, line if line not in self.before else ":"])],
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def project(self) -> Path:
        return self.here / "shop"


def typed(fence: Fence) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block, with the lines it must answer."""
    command, answer = "", list[str]()
    for line in [*fence.text.splitlines(), "$ "]:
        if line.startswith("$ "):
            if command:
                yield command, answer
            command, answer = line[2:], []
        else:
            answer.append(line)


@contextmanager
def up(terminal: Terminal, fence: Fence) -> Iterator[str]:
    """Type the commands of a block whose last one is the service, which stays up: its address."""
    *before, last = [command for command, _ in typed(fence)]
    assert last == "karibu up", fence
    for command in before:
        ran = terminal.run(command)
        assert ran.returncode == 0, f"{fence}: {command}\n{ran.stdout}{ran.stderr}"
    log = terminal.project / "up.log"
    with log.open("w") as out:
        service = subprocess.Popen(
            ["bash", "-c", "\n".join([*terminal.before, f"exec {last}"])],
            cwd=terminal.here,
            env=terminal.environment,
            stdout=out,
            stderr=out,
            text=True,
        )
    try:
        yield listening(service, log)
    finally:
        service.kill()
        service.wait()


def listening(service: subprocess.Popen[str], log: Path) -> str:
    def address() -> str | None:
        assert service.poll() is None, log.read_text()
        if found := re.search(r"listens on (\S+)", log.read_text()):
            with suppress(httpx2.TransportError):
                if httpx2.get(f"{found[1]}/healthz", trust_env=False, timeout=PATIENCE).status_code == 200:
                    return found[1]
        return None

    return cast(str, eventually(address))
