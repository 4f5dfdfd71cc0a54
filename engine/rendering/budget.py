"""How much one rendering may do and write. Templates are data of the shop: none of them may take the engine's memory
or time.

Filling in happens in the engine's process, so all that can be made to take long pays before it is done: a loop for the
turns and for what stands in its body, a filter, a comparison and an operator for what they read.
"""

from __future__ import annotations

STEP = 16
"""What anything costs that reads nothing long, in characters."""


class TooBig(Exception):
    """A rendering would loop, work or write more than it may."""


class Budget:
    """Counts down the turns of loops, the characters written and the work done by one rendering. Work is counted in
    characters read; ten million take about a second."""

    __slots__ = ("_characters", "_turns", "_work")

    def __init__(self, turns: int = 10_000, characters: int = 1_000_000, work: int = 10_000_000) -> None:
        self._turns = turns
        self._characters = characters
        self._work = work

    def loop(self, turns: int, body: int, parts: int = 0) -> None:
        """Take a loop of so many turns, each writing `body` characters of its own and having `parts` things to do,
        before its first turn."""
        self._turns -= turns
        self._characters -= turns * body
        self._work -= turns * parts * STEP
        if self._turns < 0 or self._characters < 0 or self._work < 0:
            raise TooBig("the loops")

    def work(self, size: int) -> None:
        """Take the reading of so many characters, or of as many items eight times."""
        self._work -= size + STEP
        if self._work < 0:
            raise TooBig("the work")

    def read(self, value: object) -> None:
        """Take the reading of a text or a list; anything else has a size of its own, and a small one."""
        if isinstance(value, str):
            self.work(len(value))
        elif isinstance(value, (list, tuple)):
            self.work(8 * len(value))
        else:
            self.work(0)

    def write(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise TooBig("the message")
