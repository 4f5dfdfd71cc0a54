"""Guesses at what was meant where a file is no YAML, so that its other faults are told in the same run.

A guess changes one line and adds none. It is never kept: whoever wrote the file mends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A value to the end of its line, after its key or its dash.
_VALUE = re.compile(r"^(\s*(?:-\s+)*(?:[^\s:'\"{\[#-][^:#]*:\s+|-\s+))(\S.*?)\s*$")
_CLOSERS = {"[": "]", "{": "}"}


@dataclass(frozen=True)
class Guess:
    """A text with one line changed. `sure`: the other lines mean what they would mean if it were mended."""

    text: str
    line: int
    sure: bool


def guesses(text: str, began: int, stopped: int) -> Iterator[Guess]:
    """What may have been meant where reading stopped in line `stopped` within something that began in line `began`
    (from 1), the likeliest first.
    """
    lines = text.split("\n")
    places = [n for n in dict.fromkeys((stopped, began)) if 0 < n <= len(lines) and lines[n - 1].strip()]
    for n in places:
        for line in _in_line(lines[n - 1]):
            yield Guess(_with(lines, n, line), n, sure=True)
    for n in places:
        for indent in _indents(lines, n):
            yield Guess(_with(lines, n, " " * indent + lines[n - 1].lstrip()), n, sure=False)
    for n in places:
        yield Guess(_with(lines, n, ""), n, sure=False)


def _in_line(line: str) -> Iterator[str]:
    if found := re.match(r"^(\s*)-(\w.*)$", line):
        yield f"{found[1]}- {found[2]}"
    if found := _VALUE.match(line):
        before, value = found.groups()
        if closers := _unclosed(value):
            yield before + value + closers
        quoted = value.replace("'", "''")
        yield f"{before}'{quoted}'"
    elif re.match(r"^\s*(?:-\s+)?\w+\s*$", line):
        yield line.rstrip() + ":"


def _unclosed(value: str) -> str:
    """What closes the brackets of a value, if it is a list or a mapping in one line."""
    open_: list[str] = []
    for sign in re.findall(r"\"[^\"]*\"|'[^']*'|[\[\]{}]", value) if value[0] in _CLOSERS else ():
        if sign in _CLOSERS:
            open_.append(_CLOSERS[sign])
        elif open_ and sign == open_[-1]:
            open_.pop()
    return "".join(reversed(open_))


def _indents(lines: list[str], n: int) -> list[int]:
    """Where the lines above begin, and what stands behind their dashes: the nearest first."""
    mine = _indent(lines[n - 1])
    starts: set[int] = set()
    for line in lines[max(0, n - 12) : n - 1]:
        if line.strip():
            starts.add(_indent(line))
            if found := re.match(r"^\s*(?:-\s+)+", line):
                starts.add(len(found[0]))
    return sorted(starts - {mine}, key=lambda indent: (abs(indent - mine), indent))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _with(lines: list[str], n: int, line: str) -> str:
    return "\n".join([*lines[: n - 1], line, *lines[n:]])
