"""The pages as the tests read them: fenced blocks with what they say they are, headings and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


@dataclass(frozen=True)
class Fence:
    """A fenced block: the words after its fence (`yaml journey`), its text, and where it stands."""

    page: str
    line: int
    info: str
    text: str

    @property
    def kind(self) -> str:
        return self.info.partition(" ")[2]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found: list[Fence] = []
    info, start, body = "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        assert not re.match(r"\s+```|\s*~~~", line), f"{page}:{number}: a block begins and ends with ``` at the margin"
        if line.startswith("```"):
            if start:
                found.append(Fence(page.relative_to(ROOT).as_posix(), start, info, "\n".join(body) + "\n"))
                start = 0
            else:
                info, start, body = line[3:].strip(), number, []
        elif start:
            body.append(line)
    assert not start, f"{page}:{start}: this block has no end"
    return found


def every(kind: str | None = None) -> list[Fence]:
    """The blocks on every page, or those of this kind."""
    found = [fence for page in PAGES if page.exists() for fence in fences(page)]
    return [fence for fence in found if kind in (None, fence.kind.split(" ")[0])]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def anchors(page: Path) -> set[str]:
    """What `#…` may point at on a page: its headings, as they are turned into anchors."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
