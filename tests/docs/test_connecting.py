"""docs/connecting.md works as typed: with curl and openssl, against the service as a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import httpx2
import pytest

from engine import starter
from engine.language.check import check_directory
from engine.language.registry import Registry
from tests.docs.blocks import ROOT, Fence, fences
from tests.patience import PATIENCE, eventually

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/connecting.md"
ADDRESS = "http://127.0.0.1:8000"


@pytest.mark.parametrize("fence", [fence for fence in fences(PAGE) if fence.kind == "sources"], ids=str)
def test_what_project_yaml_may_say_is_sound(fence: Fence, tmp_path: Path, registry: Registry) -> None:
    shutil.copytree(starter.root() / "workflows", tmp_path / "workflows")
    with (tmp_path / "workflows/project.yaml").open("a", encoding="utf-8") as file:
        file.write(fence.text)
    _, problems = check_directory(tmp_path, registry, None)
    assert not problems, "\n".join(map(str, problems))


def needs(command: str) -> None:
    if shutil.which(command) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{command} isn't there")
        pytest.skip(f"no {command} on this machine")


class Terminal:
    """A shell that keeps its place and its variables, and knows `karibu`."""

    def __init__(self, here: Path, commands: Path) -> None:
        commands.mkdir()
        script = commands / "karibu"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m engine.cli "$@"\n')
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


def test_the_page_works_as_typed(tmp_path: Path) -> None:
    needs("curl")
    needs("openssl")
    terminal = Terminal(tmp_path, tmp_path / "commands")
    service: subprocess.Popen[str] | None = None
    address = ADDRESS
    appended: list[tuple[str, str]] = []
    seen = 0
    log = tmp_path / "up.log"
    try:
        for fence in fences(PAGE):
            word, _, name = fence.kind.partition(":")
            if word == "append":
                appended.append((name, fence.text))
            elif word == "file":
                (terminal.project / name).write_text(fence.text, encoding="utf-8")
            elif word == "connect-up":
                for name, text in appended:  # "with those two lines in it"
                    with (terminal.project / name).open("a", encoding="utf-8") as file:
                        file.write(text)
                *before, up = [command for command, _ in typed(fence)]
                assert up == "karibu up"
                for command in before:
                    ran = terminal.run(command)
                    assert ran.returncode == 0, f"{fence}: {command}\n{ran.stdout}{ran.stderr}"
                with log.open("w") as out:
                    service = subprocess.Popen(
                        ["bash", "-c", "\n".join([*terminal.before, f"exec {up}"])],
                        cwd=terminal.here,
                        env=terminal.environment,
                        stdout=out,
                        stderr=out,
                        text=True,
                    )
                address = listening(service, log)
            elif word == "sdk":
                if importlib.util.find_spec("segment") is None:
                    continue  # tests/web/test_real_sdks.py says so
                script = tmp_path / "send.py"
                script.write_text(fence.text.replace(ADDRESS, address), encoding="utf-8")
                terminal.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
                ran = terminal.run(f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}")
                assert ran.returncode == 0 and not ran.stderr, f"{fence}: {ran.stderr}"
                counted = terminal.run("karibu status --json").stdout
                assert json.loads(counted)["events"] == 5, counted
            elif word == "connect":
                for command, answer in typed(fence):
                    ran = terminal.run(command.replace(ADDRESS, address))
                    assert ran.returncode == 0, f"{fence}: {command}\n{ran.stdout}{ran.stderr}"
                    if answer:
                        assert ran.stdout.splitlines() == answer, f"{fence}: {command}"
                        seen += 1
        assert seen >= 6
        status = terminal.run("karibu status")
        assert "shopify: 1 webhook could not be taken as an event; kept" in status.stdout
        key = (terminal.project / ".karibu/api-key").read_text()
        told = httpx2.get(f"{address}/v1/status", headers={"X-API-Key": key}, trust_env=False, timeout=PATIENCE).json()
        assert told["hooks_kept"] == {"shopify": 1}
    finally:
        if service is not None:
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
