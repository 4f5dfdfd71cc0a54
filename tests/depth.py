"""How deep the tests search: `KARIBU_TEST_DEPTH=3` has three times the examples and events of what CI has time for."""

from __future__ import annotations

import os

DEPTH = float(os.environ.get("KARIBU_TEST_DEPTH", "1"))


def times(number: int) -> int:
    """So many tries at depth 1."""
    return max(1, round(number * DEPTH))
