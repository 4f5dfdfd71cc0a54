"""The pages hang together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, anchors, prose


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{_name(page)} links to {target}, which isn't there"
        if anchor:
            assert anchor in anchors(there), f"{_name(page)} links to {target}, and there is no such heading"


def test_every_page_is_linked_from_another() -> None:
    linked = set()
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if not target.startswith(("http", "mailto", "#")):
                linked.add((page.parent / target.partition("#")[0]).resolve())
    alone = {_name(page) for page in PAGES if page.resolve() not in linked and page.name != "README.md"}
    assert not alone, f"nobody finds {sorted(alone)}"


def test_every_decision_has_its_four_parts() -> None:
    for page in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        text = page.read_text(encoding="utf-8")
        assert "Status: " in text, page.name
        for heading in ("## Context", "## Decision", "## Consequences"):
            assert heading in text, f"{page.name} has no {heading}"
