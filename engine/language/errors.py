"""What is wrong with a project's content, told so that a marketer can mend it: where, what, and what to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Path = tuple[str | int, ...]

CURLY = "“”„‘’‚«»"
"""Quotes that word processors write, and that quote nothing here."""

# A longer line is cut around the caret: a template pasted into one line must not fill the screen.
WIDEST = 120


class Wrong(ValueError):
    """What a validator of the language raises: a message in our words, a hint, and where.

    `at` is the path below the value that is being validated (a key of it, or keys); `on_key` points at the key
    instead of the value; `offset` counts characters into the text of the value (an expression's position); `meant` is
    the key that was meant, so that the lint can go on as if it stood there.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        at: Path = (),
        on_key: bool = False,
        offset: int | None = None,
        meant: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at
        self.on_key = on_key
        self.offset = offset
        self.meant = meant


@dataclass(frozen=True)
class Problem:
    """One fault of one file. `line` and `col` count from 1 (0: the file as a whole); `path` is the YAML path, ''
    for the whole file.
    """

    file: str
    line: int
    col: int
    path: str
    message: str
    hint: str | None = None
    source_line: str | None = None

    @property
    def headline(self) -> str:
        """`workflows/welcome.yaml:14:9 steps[2].wiat: unknown step "wiat" (did you mean "wait"?)`."""
        where = f"{self.file}:{self.line}:{self.col}" if self.line else self.file
        subject = f"{where} {self.path}: " if self.path else f"{where}: "
        return subject + self.message + (f" ({self.hint})" if self.hint else "")

    def __str__(self) -> str:
        if self.source_line is None or not self.source_line.strip():
            return self.headline
        line, caret = _underlined(self.source_line, self.col)
        return f"{self.headline}\n    {line}\n    {caret}"


class ContentError(Exception):
    """The content is at fault: every problem of every file, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems by file, line and column, each told once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.file, p.line, p.col, p.path, p.message)))


def dotted(path: Path) -> str:
    """`("steps", 2, "wait")` as `steps[2].wait`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant."""
    return next(iter(get_close_matches(name.lower(), sorted(set(known)), n=1, cutoff=0.65)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The hint for a name that nothing has: the nearest known one, or all of them while they are few."""
    names = sorted(set(known))
    if near := nearest(name, names):
        return f'did you mean "{near}"?'
    if not names:
        return None
    return "known: " + ", ".join(names) if len(names) <= 12 else None


def _underlined(line: str, col: int) -> tuple[str, str]:
    """The source line, safe to print, and a caret below column `col`."""
    start = max(0, col - 1 - WIDEST // 2) if len(line) > WIDEST else 0
    shown = line[start : start + WIDEST]
    before = shown[: max(0, col - 1 - start)]
    # Tabs stay tabs and wide characters take two cells, so that the caret stands below its character in a terminal.
    padding = "".join("\t" if c == "\t" else "  " if unicodedata.east_asian_width(c) in "WF" else " " for c in before)
    return "".join(c if c == "\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown), padding + "^"
