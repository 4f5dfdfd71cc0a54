"""The page about what comes back names all that can."""

from __future__ import annotations

import re
from typing import get_args

from engine.builtins import registry
from engine.channels.returns import Kind
from engine.fake.behaviour import MODES
from engine.language.vocabulary import OWN_EVENTS
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/returns.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z0-9_-]+)`", PAGE))


def test_every_kind_event_and_mode_is_on_the_page() -> None:
    events = {name: event for name, event in OWN_EVENTS.items() if name.startswith("message_")}
    assert {*get_args(Kind), *events, *MODES} <= NAMED
    for name, event in events.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        special = {one for one in event.properties if one not in OWN_EVENTS["message_opened"].properties}
        assert set(re.findall(r"`([a-z_]+)`", row)) - {name} == special
    assert set(OWN_EVENTS["message_opened"].properties) <= NAMED


def test_every_hook_and_its_secret_is_on_the_page() -> None:
    for name, hook in registry().returns.items():
        assert f"/hooks/{name}/events" in PAGE
        assert f"KARIBU_{hook.secret.upper()}" in PAGE
