"""What docs/guarantees.md promises has the test it names, and each crash test stands there."""

from __future__ import annotations

import ast
import re

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_every_promise_names_a_test_that_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) == len(NAMED) and len(rows) > 25
    for file, name in NAMED:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in there, f"{file} has no {name}"


def test_every_crash_test_stands_behind_a_promise() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/crash").glob("test_*.py")}
    assert files <= {file for file, _ in NAMED}
