"""Every block of code on the pages is of a kind that a test reads, so no example is there for show."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT, Fence, every

LANGUAGE, SHOP = "test_language_examples.py", "shop.py"

READ: dict[str, dict[str, str]] = {
    "": {
        **dict.fromkeys(("project", "project-part", "segments"), SHOP),
        **dict.fromkeys(("journey", "enter", "steps", "expressions", "problem", "scenario"), LANGUAGE),
        **dict.fromkeys(("template", "block", "mail", "survey"), "test_templates.py"),
        **dict.fromkeys(("event", "customer", "by-hand"), "test_bodies.py"),
        **dict.fromkeys(("commands", "make", "telegram"), "test_commands.py"),
    },
    "README.md": dict.fromkeys(("file", "walk", "service"), "test_walk.py"),
    "docs/connecting.md": {
        **dict.fromkeys(("sources", "append", "file", "connect", "connect-up"), "test_connecting.py"),
        "till": "../sources/test_mapped.py",
    },
    "docs/extending.md": dict.fromkeys(("file", "entry-points"), "test_extending.py"),
}
"""Which test reads a kind: on every page (""), and on this one."""

UNREAD = {
    ("README.md", "mermaid"): "a drawing of how it works",
    ("docs/tour.md", "mermaid"): "drawn from a journey by `make docs`, and test_reference.py compares",
    ("docs/reference.md", "text"): "the help of each command, written by `make docs`, and test_reference.py compares",
    ("docs/returns.md", "text"): "a line of Postfix's, which Postfix alone reads",
}
"""What no test here reads, and why."""


def _reader(fence: Fence) -> str | None:
    word = fence.kind.split(" ")[0].partition(":")[0]
    return READ.get(fence.page, {}).get(word) or READ[""].get(word)


@pytest.mark.parametrize("fence", every(), ids=str)
def test_every_block_is_read_by_a_test_or_says_why_not(fence: Fence) -> None:
    assert (_reader(fence) is None) == ((fence.page, fence.info) in UNREAD), f"{fence}: no test reads `{fence.info}`"


def test_every_reader_names_its_kinds_and_every_kind_is_on_a_page() -> None:
    for page, kinds in READ.items():
        on_page = {f.kind.split(" ")[0].partition(":")[0] for f in every() if page in ("", f.page)}
        assert kinds.keys() <= on_page
        for kind, reader in kinds.items():
            assert f'"{kind}' in (ROOT / "tests/docs" / reader).read_text(encoding="utf-8"), f"{reader}: {kind}"
    assert UNREAD.keys() <= {(fence.page, fence.info) for fence in every()}
