"""How tests wait: for what must come true, never for a time. A slow machine makes a test late, not wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which a test gives up. Only what hangs takes so long, however slow the machine: nothing is measured."""


def eventually(holds: Callable[[], T], every: float = 0.02) -> T:
    """The first true answer, asked `every` so many seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"it never came true: {answer!r}"
        time.sleep(every)
    return answer
