"""What docs/guarantees.md names, and the figures of its tests: a line of JSON each, shown together when a run ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
_BEGIN = '{"promise": '


def named(text: str) -> list[tuple[str, str]]:
    """The tests that stand in a text of the page: their files and names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)


NAMED = frozenset(named(PAGE))


def figures(promise: str, **found: object) -> None:
    """Print what a test has counted."""
    print(json.dumps({"promise": promise, **found}))


def said(report: pytest.TestReport) -> Iterator[str]:
    """The figures that a test has printed, if a promise names it."""
    file, _, rest = report.nodeid.partition("::")
    if report.when == "call" and (file, rest.partition("[")[0]) in NAMED:
        yield from (line for line in report.capstdout.splitlines() if line.startswith(_BEGIN))
