"""Template files as they lie on the disk: which there are, in which locales, and their text with layout and blocks
put in.

A line that comes from a layout or a block keeps its own file and number, so that every problem is told where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.rendering.values import BrokenTemplate, TemplateProblem

SUFFIXES: Mapping[str, str] = {
    "email": ".mjml",
    "sms": ".txt",
    "push": ".yaml",
    "whatsapp": ".yaml",
    "telegram": ".txt",
}
LARGEST = 256 * 1024

_REF = re.compile(r"([a-z]+)/([a-z0-9][a-z0-9_-]*)\Z")
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?\Z")
_INCLUDE = re.compile(r"""\s*\{%\s*include\s+["']([^"']+)["']\s*%\}\s*\Z""")
_CONTENT = re.compile(r"\s*\{\{\s*content\s*\}\}\s*\Z")
_PART = re.compile(r"[a-z0-9][a-z0-9_/-]*\Z")
_FRONT = re.compile(r"([a-z_]+):(?:\s+(.*))?\Z")
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text and where it was written."""

    text: str
    file: str
    number: int


@dataclass(frozen=True, slots=True)
class Lines:
    """A text made of lines from several files; `at(n)` is the line a parser calls number n (from 1)."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    def at(self, number: int) -> Line:
        return self.lines[min(max(number, 1), len(self.lines)) - 1]

    def problem(self, number: int, message: str, hint: str = "") -> TemplateProblem:
        line = self.at(number)
        return TemplateProblem(line.file, line.number, message, hint)


def chain(locale: str | None, default: str) -> tuple[str, ...]:
    """The locales to look for, best first; `""` is the file that names none: sw-KE, sw, then the brand's, then `""`."""
    found: list[str] = []
    for wanted in (locale, default):
        parts = (wanted or "").replace("_", "-").split("-")
        for length in range(len(parts), 0, -1):
            name = "-".join(parts[:length])
            if name and name not in found:
                found.append(name)
    return (*found, "")


class Sources:
    """The template files below `root/templates`."""

    def __init__(self, root: Path, default_locale: str) -> None:
        self._root = root
        self._default = default_locale

    def refs(self) -> Iterator[str]:
        """Every template there is, as `channel/name`, in order."""
        for channel, suffix in sorted(SUFFIXES.items()):
            folder = self._root / "templates" / channel
            names = {path.name[: -len(suffix)].split(".")[0] for path in folder.glob(f"*{suffix}")}
            if channel == "email":
                names |= {path.name.split(".")[0] for path in folder.glob("*.txt")}
            yield from (f"{channel}/{name}" for name in sorted(names))

    def locales(self, ref: str) -> tuple[str, ...]:
        """The locales a template is written in, `""` for the file that names none; empty if there is no such
        template."""
        match = _REF.match(ref)
        if not match or match[1] not in SUFFIXES:
            return ()
        folder, suffix = self._root / "templates" / match[1], SUFFIXES[match[1]]
        found = []
        for path in folder.glob(f"{match[2]}*{suffix}"):
            stem = path.name[: -len(suffix)]
            if stem == match[2]:
                found.append("")
            elif stem.startswith(f"{match[2]}.") and _LOCALE.match(stem[len(match[2]) + 1 :]):
                found.append(stem[len(match[2]) + 1 :])
        return tuple(sorted(found))

    def pick(self, ref: str, locale: str | None) -> str | None:
        """The best locale there is of a template for a customer's; None if there is none."""
        there = self.locales(ref)
        return next((name for name in chain(locale, self._default) if name in there), None)

    def path(self, ref: str, locale: str, suffix: str | None = None) -> str:
        channel, _, name = ref.partition("/")
        return f"templates/{channel}/{name}{f'.{locale}' if locale else ''}{suffix or SUFFIXES[channel]}"

    def read(self, file: str) -> Lines:
        """A file's lines. BrokenTemplate when it is too big or not UTF-8."""
        path = self._root / file
        raw = path.read_bytes()
        if len(raw) > LARGEST:
            raise BrokenTemplate(TemplateProblem(file, 1, f"the file is larger than {LARGEST // 1024} KiB"))
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise BrokenTemplate(TemplateProblem(file, line, "the file is not UTF-8")) from None
        return Lines(tuple(Line(text, file, n) for n, text in enumerate(text.splitlines() or [""], 1)))

    def has(self, file: str) -> bool:
        return (self._root / file).is_file()

    def expand(self, body: Lines, locale: str, suffix: str, layout: Line | None) -> Lines:
        """A template's body inside its layout, with every block put in. `locale` is that of the template's own file."""
        lines = self._included(body.lines, locale, suffix, 0, [0])
        if layout is None:
            return Lines(tuple(lines))
        frame = self._included(
            self._part(layout, f"layouts/{layout.text}", locale, suffix).lines, locale, suffix, 0, [0]
        )
        if sum(1 for line in frame if _CONTENT.match(line.text)) != 1:
            problem = TemplateProblem(
                frame[0].file, 1, "a layout needs one line {{ content }}, where the template goes"
            )
            raise BrokenTemplate(problem)
        return Lines(tuple(out for line in frame for out in (lines if _CONTENT.match(line.text) else (line,))))

    def _included(self, lines: tuple[Line, ...], locale: str, suffix: str, depth: int, size: list[int]) -> list[Line]:
        """The lines with every block in the place of its include. `size` counts their characters over all depths:
        blocks that include blocks grow by powers."""
        out: list[Line] = []
        for line in lines:
            size[0] += len(line.text) + 1
            if size[0] > 2 * LARGEST:
                message = f"with its blocks the template is larger than {2 * LARGEST // 1024} KiB"
                raise BrokenTemplate(TemplateProblem(line.file, line.number, message))
            match = _INCLUDE.match(line.text)
            if match is None:
                out.append(line)
                continue
            if depth >= _DEEPEST:
                raise BrokenTemplate(TemplateProblem(line.file, line.number, "blocks include each other in a circle"))
            name = match[1].removesuffix(suffix)
            out += self._included(self._part(line, name, locale, suffix).lines, locale, suffix, depth + 1, size)
        return out

    def _part(self, asked: Line, name: str, locale: str, suffix: str) -> Lines:
        """A layout or block in the best locale for the template's own."""
        if not _PART.match(name) or ".." in name or not name.startswith(("layouts/", "blocks/")):
            message = f'"{name}" is not the name of a layout or block'
            raise BrokenTemplate(TemplateProblem(asked.file, asked.number, message, "blocks/NAME or layouts/NAME"))
        for one in chain(locale, self._default):
            file = f"templates/{name}{f'.{one}' if one else ''}{suffix}"
            if self.has(file):
                return self.read(file)
        message = f"there is no templates/{name}{suffix}"
        raise BrokenTemplate(TemplateProblem(asked.file, asked.number, message))


def front_matter(lines: Lines, known: frozenset[str]) -> tuple[dict[str, Line], Lines]:
    """The `key: text` lines between two `---` at the top, and the lines below.

    Not YAML, on purpose: `subject: {{ customer.first_name }}, hello: 20% #off` is text as it stands. Quotes around it
    are dropped.
    """
    if not lines.lines or lines.lines[0].text.strip() != "---":
        return {}, lines
    problems: list[TemplateProblem] = []
    found: dict[str, Line] = {}
    for at, line in enumerate(lines.lines[1:], 1):
        text = line.text.strip()
        if text == "---":
            if problems:
                raise BrokenTemplate(*problems)
            return found, Lines(lines.lines[at + 1 :] or (Line("", line.file, line.number + 1),))
        if not text or text.startswith("#"):
            continue
        match = _FRONT.match(text)
        key = match[1] if match else text.split(":")[0]
        if match is None or key not in known:
            hint = f"known: {', '.join(sorted(known))}"
            problems.append(TemplateProblem(line.file, line.number, f'unknown front matter "{key}"', hint))
        elif key in found:
            problems.append(TemplateProblem(line.file, line.number, f'"{key}" stands twice'))
        else:
            value = (match[2] or "").strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[key] = Line(value, line.file, line.number)
    raise BrokenTemplate(TemplateProblem(lines.lines[0].file, 1, "the front matter has no closing ---"))
