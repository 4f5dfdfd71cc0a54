"""The shop that the pages are about: the project and the segments of docs/language.md, and what a page adds to them."""

from __future__ import annotations

import re
from functools import reduce

from tests.docs.blocks import every

ELSEWHERE = "enter: {manual: true}\nsteps: [{wait: 1d}]\n"


def files_of(page: str | None = None) -> dict[str, str]:
    """The files of the shop; `page`: with the parts of project.yaml that this page shows."""
    (project,), (segments,) = every("project"), every("segments")
    parts = [fence.text for fence in every("project-part") if fence.page == page]
    return {
        "workflows/project.yaml": reduce(joined, parts, project.text),
        "workflows/segments.yaml": segments.text,
        "workflows/welcome.yaml": "journey: welcome\n" + ELSEWHERE,
        "workflows/win-back.yaml": "journey: win-back\n" + ELSEWHERE,
    }


def joined(project: str, part: str) -> str:
    """A project with a part of one: what both name is as the part has it."""
    whole = _entries(project, 0)
    for key, block in _entries(part, 0).items():
        head, _, below = block.partition("\n")
        if below and key in whole:
            below = "".join((_entries(whole[key].partition("\n")[2], 2) | _entries(below, 2)).values())
        whole[key] = f"{head}\n{below}"
    return "".join(whole.values())


def _entries(text: str, indent: int) -> dict[str, str]:
    """The entries of a mapping that is indented so far, by their keys, each with all that stands below it."""
    found = re.split(rf"^(?= {{{indent}}}[^ ])", text, flags=re.M)
    return {entry.partition(":")[0].strip(): entry for entry in found if entry}
