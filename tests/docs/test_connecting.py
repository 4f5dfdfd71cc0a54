"""docs/connecting.md works as typed: with curl and openssl, against the service as a process of its own."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from engine import starter
from engine.language.check import check_directory
from engine.language.registry import Registry
from tests.docs.blocks import ROOT, Fence, fences
from tests.docs.terminal import ADDRESS, Terminal, needs, typed, up
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/connecting.md"


@pytest.mark.parametrize("fence", [fence for fence in fences(PAGE) if fence.kind == "sources"], ids=str)
def test_what_project_yaml_may_say_is_sound(fence: Fence, tmp_path: Path, registry: Registry) -> None:
    shutil.copytree(starter.root() / "workflows", tmp_path / "workflows")
    with (tmp_path / "workflows/project.yaml").open("a", encoding="utf-8") as file:
        file.write(fence.text)
    _, problems = check_directory(tmp_path, registry, None)
    assert not problems, "\n".join(map(str, problems))


def test_the_page_works_as_typed(tmp_path: Path) -> None:
    needs("curl")
    needs("openssl")
    terminal = Terminal(tmp_path, tmp_path / "commands")
    address = ADDRESS
    appended: list[tuple[str, str]] = []
    seen = 0
    with ExitStack() as stack:
        for fence in fences(PAGE):
            word, _, name = fence.kind.partition(":")
            if word == "append":
                appended.append((name, fence.text))
            elif word == "file":
                (terminal.project / name).write_text(fence.text.replace(ADDRESS, address), encoding="utf-8")
            elif word == "connect-up":
                for name, text in appended:  # "with those two lines in it"
                    with (terminal.project / name).open("a", encoding="utf-8") as file:
                        file.write(text)
                address = stack.enter_context(up(terminal, fence))
            elif word == "connect":
                for command, answer in typed(fence):
                    if command.startswith("pip install "):
                        continue  # not typed: what the page installs comes with the development lock
                    ran = terminal.run(command.replace(ADDRESS, address))
                    assert ran.returncode == 0, f"{fence}: {command}\n{ran.stdout}{ran.stderr}"
                    if answer:
                        assert ran.stdout.splitlines() == answer, f"{fence}: {command}"
                        seen += 1
        assert seen >= 6
        counted = terminal.run("karibu status --json").stdout
        assert json.loads(counted)["events"] == 5, counted
        status = terminal.run("karibu status")
        assert "shopify: 1 webhook could not be taken as an event: karibu hooks list" in status.stdout
        key = (terminal.project / ".karibu/api-key").read_text()
        with httpx2.Client(base_url=address, headers={"X-API-Key": key}, trust_env=False, timeout=PATIENCE) as asking:
            assert asking.get("/v1/status").json()["hooks_kept"] == {"shopify": 1}
            amina = asking.get("/v1/customers/207119551").json()
        told = {name: amina["profile"][name] for name in ("first_name", "last_name", "email")}
        assert told == {"first_name": "Amina", "last_name": "Otieno", "email": "amina@home.example"}
        assert amina["tallies"]["purchase"]["count"] == 2
