"""Every mistake a marketer can make is told in these words. `told/*.txt`: what was typed, and what is said of it.

`python -m tests.language.test_told` writes what is said now into the files; read the difference before you keep it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.language.check import check_directory
from tests.language.support import HEAD, project, registry

TOLD = Path(__file__).parent / "told"
FILES = {"yaml": "j", "journey": "j", "project": "project", "segments": "segments", "scenario": "j_test"}


@dataclass(frozen=True)
class Case:
    kind: str
    title: str
    typed: str
    told: str


def cases(kind: str) -> Iterator[Case]:
    for block in (TOLD / f"{kind}.txt").read_text(encoding="utf-8").split("=== ")[1:]:
        title, _, rest = block.partition("\n")
        typed, _, told = ("\n" + rest).rpartition("\n---\n")
        yield Case(kind, title, typed[1:] + "\n" * bool(typed[1:]), told)


def said(case: Case, root: Path) -> str:
    typed = case.typed
    if FILES[case.kind] == "j" and not typed.startswith(("journey:", "- ", "#", "\t")):
        typed = HEAD + typed
    _, problems = check_directory(project(root, **{FILES[case.kind]: typed}), registry(), None)
    return "".join(f"{problem}\n" for problem in problems)


ALL = [case for kind in FILES for case in cases(kind)]


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.kind}: {case.title}")
def test_a_mistake_is_told_in_our_words(case: Case, tmp_path: Path) -> None:
    assert said(case, tmp_path) == case.told


def write() -> None:
    for kind in FILES:
        parts = []
        for case in cases(kind):
            with tempfile.TemporaryDirectory() as root:
                parts.append(f"=== {case.title}\n{case.typed}---\n{said(case, Path(root))}")
        (TOLD / f"{kind}.txt").write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    write()
