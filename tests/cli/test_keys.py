"""karibu key: made, listed, revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.runtime.clock import VirtualClock
from engine.settings import Settings
from tests.cli.session import Ran, karibu
from tests.scenarios.shop import FILES, PROJECT


@pytest.fixture
def root(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Path:
    monkeypatch.setenv("KARIBU_DATABASE_URL", sqlite_url)
    return project({"workflows/project.yaml": PROJECT, **FILES})


@pytest.fixture
def key(root: Path) -> Callable[..., Ran]:
    clock = VirtualClock(datetime(2026, 3, 1, 6, 30, tzinfo=UTC))
    return lambda *arguments: karibu("-C", str(root), "key", *arguments, clock=clock)


Key = Callable[..., Ran]


def test_standard_output_is_the_key_and_nothing_else_so_that_a_script_can_take_it(key: Key) -> None:
    ran = key("create", "shop", "--scope", "write")
    assert ran.code == 0
    mark, prefix, secret = ran.out.strip().split("_")
    assert (mark, len(prefix), len(secret)) == ("kb", 8, 43)
    assert f"karibu key revoke {prefix}" in ran.err
    assert secret not in ran.err


def test_a_key_is_shown_once_and_then_only_its_name_and_prefix(key: Key) -> None:
    texts = [
        key("create", "shop").out.strip(),
        json.loads(key("create", "page", "--browser", "--rate", "50", "--json").out)["key"],
        key("create", "report", "--scope", "read").out.strip(),
    ]
    said = key("list").out
    assert [line.split() for line in said.splitlines()[1:4]] == [
        [texts[0].split("_")[1], "shop", "write", "any", "2026-03-01", "06:30", "live"],
        [texts[1].split("_")[1], "page", "write,", "browser", "50", "2026-03-01", "06:30", "live"],
        [texts[2].split("_")[1], "report", "read", "any", "2026-03-01", "06:30", "live"],
    ]
    listed = key("list", "--json").out
    assert [(one["name"], one["scope"], one["browser"], one["rate"]) for one in json.loads(listed)["keys"]] == [
        ("shop", "write", False, None),
        ("page", "write", True, 50),
        ("report", "read", False, None),
    ]
    for text in texts:
        assert text.split("_")[2] not in said + listed
    assert "hash" not in listed


@pytest.mark.parametrize("form", ["{prefix}", "kb_{prefix}", "{text}"])
def test_a_key_is_revoked_by_its_prefix_or_by_itself(key: Key, form: str) -> None:
    text = key("create", "shop").out.strip()
    prefix = text.split("_")[1]
    ran = key("revoke", form.format(prefix=prefix, text=text))
    assert (ran.out, ran.code) == (f"{prefix} (shop) is revoked.\n", 0)
    assert key("revoke", prefix).out == f"{prefix} (shop) was revoked already.\n"
    assert "revoked 2026-03-01 06:30" in key("list").out


def test_mistakes_are_told(key: Key) -> None:
    nobody = key("revoke", "nobody")
    assert (nobody.code, nobody.err) == (2, 'there is no key "nobody"\n  karibu key list\n')
    browser = key("create", "page", "--browser", "--scope", "read")
    assert (browser.code, browser.out) == (2, "")
    assert "a browser key may only write, not read" in browser.err
    assert key("create", "a\nb").code == 2
    assert key("create", "shop", "--rate", "0").code == 2
    assert key("create", "shop", "--scope", "all").code == 2
    assert "No key has been made: karibu key create NAME" in key("list").out


def test_the_list_says_where_the_key_of_the_settings_is(key: Key, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(Settings.of(root).data / "api-key") in key("list").out
    monkeypatch.setenv("KARIBU_API_KEY", "chosen by somebody: long enough")
    said = key("list").out
    assert "KARIBU_API_KEY sets a key" in said
    assert "chosen" not in said
