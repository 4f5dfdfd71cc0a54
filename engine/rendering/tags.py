"""Finds the Jinja tags in a text and stands words in for them, so that MJML and CSS tools pass over them untouched."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.rendering.sources import Line, Lines
from engine.rendering.values import BrokenTemplate

LONGEST_TAG = 2_000
MOST_TAGS = 2_000
_OPEN = {"{{": "}}", "{%": "%}", "{#": "#}"}
_START = re.compile(r"\{[{%#]")
_ONLY_TAGS = re.compile(r"^[ \t]*(?:zqk\d+qz[ \t]*)+\n", re.MULTILINE)
_WORD = re.compile(r"zqk(\d+)qz")


@dataclass(frozen=True, slots=True)
class Tag:
    """One `{{ … }}` or `{% … %}`: its source, and the line it begins on."""

    source: str
    line: int

    @property
    def control(self) -> bool:
        return self.source.startswith("{%")


@dataclass(frozen=True, slots=True)
class Masked:
    """A text whose tags are words of letters and digits; comments are gone, their line breaks kept."""

    text: str
    tags: tuple[Tag, ...]


def word(number: int) -> str:
    return f"zqk{number}qz"


def words(text: str) -> list[int]:
    """The numbers of the tags whose words stand in a text, in order."""
    return [int(found) for found in _WORD.findall(text)]


def unmask(text: str, sources: list[str]) -> str:
    """The text with every word replaced by the source of that number."""
    return _WORD.sub(lambda match: sources[int(match[1])], text)


def mask(lines: Lines) -> Masked:
    """Every Jinja tag replaced by a word. BrokenTemplate for a tag that never ends."""
    text = lines.text
    if found := _WORD.search(text):
        number = text.count("\n", 0, found.start()) + 1
        raise BrokenTemplate(lines.problem(number, f'"{found[0]}" is a word the renderer keeps for itself'))
    out: list[str] = []
    tags: list[Tag] = []
    at = 0
    while (start := _START.search(text, at)) is not None:
        number = text.count("\n", 0, start.start()) + 1
        end = _end(text, start.start())
        if end is None:
            closing = _OPEN[start[0]]
            raise BrokenTemplate(lines.problem(number, f'"{start[0]}" is never closed', f'add "{closing}"'))
        source = text[start.start() : end]
        if len(source) > LONGEST_TAG and not source.startswith("{#"):
            message = f"this tag is longer than {LONGEST_TAG} characters"
            raise BrokenTemplate(lines.problem(number, message, "take it apart with set"))
        if len(tags) >= MOST_TAGS:
            raise BrokenTemplate(lines.problem(number, f"a template has at most {MOST_TAGS} tags"))
        out.append(text[at : start.start()])
        if source.startswith("{#"):
            out.append("\n" * source.count("\n"))
        else:
            out.append(word(len(tags)))
            # Line breaks inside the tag go behind it, so that what follows keeps its line.
            out.append("\n" * source.count("\n"))
            tags.append(Tag(source, number))
        at = end
    out.append(text[at:])
    return Masked("".join(out), tuple(tags))


def tidied(text: str) -> str:
    """A text template in which a line of nothing but `{% … %}` leaves no empty line behind."""
    masked = mask(Lines(tuple(Line(line, "", n) for n, line in enumerate(text.split("\n"), 1))))

    def joined(match: re.Match[str]) -> str:
        whole: str = match[0]
        return whole.strip() if all(masked.tags[number].control for number in words(whole)) else whole

    sources = [tag.source for tag in masked.tags]
    return unmask(_ONLY_TAGS.sub(joined, masked.text), sources)


def _end(text: str, start: int) -> int | None:
    closing = _OPEN[text[start : start + 2]]
    quote = ""
    at = start + 2
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif closing != "#}" and character in "\"'":
            quote = character
        elif text.startswith(closing, at):
            return at + 2
        at += 1
    return None
