"""How long work shows that it goes on: a bar on a terminal, off it a line every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 5.0
"""Seconds between two lines off a terminal."""

Tell = Callable[[float, str], None]
"""Hears how much is done (0 to 1), and of what."""


def untold(done: float, what: str) -> None:
    """For work that nobody watches."""


@contextmanager
def lines(say: Callable[[str], None]) -> Iterator[Tell]:
    """A line every few seconds, though the work tells nothing new: a long statement of the database tells nothing."""
    begun, over, latest = time.monotonic(), threading.Event(), ""

    def tell(done: float, what: str) -> None:
        nonlocal latest
        latest = f"  {what}, {done:.0%}"

    def live() -> None:
        while not over.wait(EVERY):
            if latest:
                say(f"{latest}, {time.monotonic() - begun:.0f} s")

    thread = threading.Thread(target=live, name="karibu-progress", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        over.set()
        thread.join()


@contextmanager
def bar(console: Console) -> Iterator[Tell]:
    """A bar on this terminal, which is gone when the work is done."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    text = TextColumn("{task.percentage:>3.0f}%  {task.description}")
    columns = (BarColumn(), text, TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda done, what: shown.update(task, completed=done, description=what)
