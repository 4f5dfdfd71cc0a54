"""How much one rendering may do and write. Templates are data of the shop: none of them may take the engine's memory
or time."""

from __future__ import annotations


class TooBig(Exception):
    """A rendering would loop or write more than it may."""


class Budget:
    """Counts down the turns of loops and the characters written by one rendering."""

    __slots__ = ("_characters", "_turns")

    def __init__(self, turns: int = 10_000, characters: int = 1_000_000) -> None:
        self._turns = turns
        self._characters = characters

    def loop(self, turns: int, body: int) -> None:
        """Take a loop of so many turns, each writing `body` characters of its own, before its first turn."""
        self._turns -= turns
        self._characters -= turns * body
        if self._turns < 0 or self._characters < 0:
            raise TooBig("the loops")

    def write(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise TooBig("the message")
