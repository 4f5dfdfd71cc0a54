"""What docs/guarantees.md promises has the tests it names, and each crash test stands there."""

from __future__ import annotations

import ast

from tests.docs.blocks import ROOT
from tests.promises import NAMED, PAGE, named

ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise")]


def source(file: str, name: str) -> str | None:
    """The text of a test, None where there is none of this name."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return ast.get_source_segment(text, node)
    return None


def test_every_promise_names_a_test_that_is_there() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        assert named(row), f"no test stands behind {row}"
    for file, name in NAMED:
        assert source(file, name) is not None, f"{file} has no {name}"


def test_every_promise_of_a_number_has_a_test_that_prints_it() -> None:
    numbers = [row for row in ROWS if ": 0" in row]
    assert len(numbers) > 15
    for row in numbers:
        texts = [source(file, name) or "" for file, name in named(row)]
        assert any("figures(" in text or '"promise": ' in text for text in texts), f"nobody prints the figure of {row}"


def test_every_crash_test_stands_behind_a_promise() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/crash").glob("test_*.py")}
    assert files <= {file for file, _ in NAMED}
