"""What is loaded is left out of the collector's looks, once it is loaded."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from engine.loaded import Loaded


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_it_waits_until_no_module_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Loaded()
    assert [loaded.settle() for _ in range(4)] == [False, True, False, False]
    assert gc.get_freeze_count() > len(sys.modules)
    monkeypatch.setitem(sys.modules, "of_a_journey", ModuleType("of_a_journey"))
    assert not loaded.settle()  # another may be on its way
    monkeypatch.setitem(sys.modules, "of_another", ModuleType("of_another"))
    assert [loaded.settle() for _ in range(3)] == [False, True, False]


def test_garbage_is_not_kept_with_it() -> None:
    class Knot:
        alive = 0

        def __init__(self) -> None:
            self.itself = self
            Knot.alive += 1

        def __del__(self) -> None:
            Knot.alive -= 1

    loaded = Loaded()
    loaded.settle()
    gc.disable()
    try:
        Knot()
        assert loaded.settle() and Knot.alive == 0
    finally:
        gc.enable()
