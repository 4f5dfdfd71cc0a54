"""How many customers one transaction moves, or lets in."""

from __future__ import annotations


class Pace:
    """The size of chunks.

    SQLite has one writer: while events come in, none may hold it for more than some 25 ms, so chunks are small then.
    When nobody came for a while they grow, because each chunk costs a commit and the making of its statements."""

    SMALL, ENTRIES, LARGE, AFTER = 500, 1_000, 10_000, 40

    def __init__(self, dialect: str) -> None:
        self._fixed = dialect != "sqlite"
        self._quiet = self.AFTER

    def gives_way(self) -> None:
        """An event has come in."""
        self._quiet = 0

    def chunk(self) -> int:
        """The size of the next chunk that moves."""
        return self._size(self.SMALL)

    def entries(self) -> int:
        """The size of the next chunk that is let in: an entry is less work than a move."""
        return self._size(self.ENTRIES)

    def _size(self, small: int) -> int:
        if self._fixed:
            return self.LARGE
        self._quiet += 1
        return self.LARGE if self._quiet > self.AFTER else small
