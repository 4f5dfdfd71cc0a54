"""The examples for people who extend Karibu are real modules that work."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from engine.builtins import GROUPS
from engine.channels.base import Accepted, Outgoing, Sender, Surroundings
from engine.language.registry import Registry, declared
from tests.docs.blocks import ROOT, every, fences

FILES = {
    fence.kind.removeprefix("file:"): fence.text
    for fence in fences(ROOT / "docs/extending.md")
    if fence.kind.startswith("file:")
}


@pytest.fixture
def module(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModuleType]:
    """The module of the page that the test names, imported from a file."""
    path = tmp_path / Path(request.param).name
    path.write_text(FILES[request.param], encoding="utf-8")
    name = f"page_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules[name]


@pytest.mark.parametrize("module", sorted(FILES), indirect=True)
def test_an_example_registers_by_its_decorator(module: ModuleType) -> None:
    registry = Registry.of(module)
    names = [*registry.steps, *registry.channels, *registry.triggers, *registry.sources]
    assert names == [module.__name__.removeprefix("page_")]
    assert all(
        declared(made) for made in [*registry.steps.values(), *registry.channels.values(), *registry.sources.values()]
    )


@pytest.mark.parametrize("module", ["shop/lines.py"], indirect=True)
def test_the_channel_of_the_page_sends(module: ModuleType, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    channel = module.Lines.open(module.LinesOptions(file="out.jsonl"), Surroundings(mail=tmp_path))
    content = SimpleNamespace(subject="", html="", text="Karibu", title="", body="", url="")
    at = datetime(2026, 3, 2, tzinfo=UTC)
    message = Outgoing("m-1", "sms", "+254712345678", content, Sender("Duka"), at, "offers")
    assert channel.send(message) == Accepted("m-1")
    assert (tmp_path / "out.jsonl").read_text() == '{"id": "m-1", "to": "+254712345678", "text": "Karibu"}\n'


@pytest.mark.parametrize("module", ["shop/tills.py"], indirect=True)
def test_the_source_of_the_page_verifies_and_reads(module: ModuleType) -> None:
    import hashlib
    import hmac
    import json
    from datetime import UTC, datetime

    now = datetime(2026, 3, 2, tzinfo=UTC)
    source = module.Tills(module.Tills.Options())
    receipt = {"kind": "receipt", "number": 17, "card": "amina", "sum": "4.50", "at": "2026-03-02T09:00:00+03:00"}
    body = json.dumps(receipt).encode()
    headers = {"x-till-signature": hmac.new(b"secret", body, hashlib.sha256).hexdigest()}
    assert source.verify(["secret"], headers, body, now)
    assert not source.verify(["secret"], headers, body + b" ", now)
    ((told),) = source.read(headers, receipt)
    assert (told.event, told.key, told.who.id, told.properties["total"]) == (
        "purchase",
        "receipt:17",
        "amina",
        "4.50",
    )
    assert source.read(headers, {"kind": "float"})[0].reason == "unknown topic"


def test_the_entry_points_of_the_page_name_its_modules_in_groups_that_are_read() -> None:
    (fence,) = every("entry-points")
    groups = tomllib.loads(fence.text)["project"]["entry-points"]
    assert groups.keys() <= set(GROUPS)
    named = {f"{module.replace('.', '/')}.py" for group in groups.values() for module in group.values()}
    assert named <= FILES.keys()
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    assert all(f"`{group}`" in page for group in GROUPS)
