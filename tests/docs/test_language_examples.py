"""Every example of the pages is read by the program, in a project made of the pages' own project and segments."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.language.errors import Problem
from engine.language.registry import Registry
from engine.runtime.words import often
from engine.segments import turning
from engine.segments.membership import BEAT, segments_of, whole_because
from tests.docs.blocks import ROOT, Fence, every

JOURNEY = "journey: {name}\ntopic: news\nenter:\n{enter}\nsteps:\n{steps}\n"
ELSEWHERE = "enter: {manual: true}\nsteps: [{wait: 1d}]\n"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")


def _project() -> dict[str, str]:
    (project,) = every("project")
    (segments,) = every("segments")
    return {
        "workflows/project.yaml": project.text,
        "workflows/segments.yaml": segments.text,
        "workflows/welcome.yaml": "journey: welcome\n" + ELSEWHERE,
        "workflows/win-back.yaml": "journey: win-back\n" + ELSEWHERE,
    }


def _file(fence: Fence) -> tuple[str, str]:
    if fence.kind == "journey":
        name = fence.text.partition("journey: ")[2].partition("\n")[0]
        return f"workflows/{name}.yaml", fence.text
    enter = fence.text if fence.kind == "enter" else "event: purchase"
    steps = fence.text if fence.kind == "steps" else "- wait: 1d"
    text = JOURNEY.format(name="example", enter=_indented(enter), steps=_indented(steps))
    return "workflows/example.yaml", text


@pytest.fixture
def problems(project: Callable[..., Path], registry: Registry) -> Callable[[dict[str, str]], list[Problem]]:
    """What `karibu check` says of the pages' project with these files added; templates are another matter."""

    def check(files: dict[str, str]) -> list[Problem]:
        return check_directory(project(_project() | files), registry, None)[1]

    return check


def test_the_project_of_the_page_is_sound(problems: Callable[[dict[str, str]], list[Problem]]) -> None:
    assert not problems({})


@pytest.mark.parametrize("fence", [*every("journey"), *every("enter"), *every("steps")], ids=str)
def test_an_example_is_sound(fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]) -> None:
    found = problems(dict([_file(fence)]))
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("fence", every("expressions"), ids=str)
def test_every_line_of_expressions_is_a_condition(
    fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]
) -> None:
    # As branches, where any condition may stand; JSON's quotes are YAML's.
    lines = fence.text.strip().splitlines()
    arms = [f"    - {{if: {json.dumps(line)}, then: [{{tag: t{n}}}]}}" for n, line in enumerate(lines)]
    steps = "- branch:\n" + "\n".join(arms) + "\n    - else: [{tag: none}]\n"
    found = problems({"workflows/example.yaml": JOURNEY.format(name="example", enter="  event: purchase", steps=steps)})
    assert not found, "\n".join(map(str, found))


def test_the_page_names_all_that_makes_a_segment_be_judged_whole(
    project: Callable[..., Path], registry: Registry
) -> None:
    page = (ROOT / "docs/language.md").read_text(encoding="utf-8").partition("\n## Segments")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)`", page, re.M)
    assert {reason for reason, _ in rows} == set(re.findall(r'Anybody\("(.+?)"\)', inspect.getsource(turning)))
    files = _project()
    files["workflows/segments.yaml"] += "".join(f"s{n}: {json.dumps(when)}\n" for n, (_, when) in enumerate(rows))
    content, problems = check_directory(project(files), registry, None)
    assert not problems, "\n".join(map(str, problems))
    because = {segment.name: whole_because(segment) for segment in segments_of(content)}
    assert [because[f"s{n}"] for n in range(len(rows))] == [reason for reason, _ in rows]
    assert f"everybody is judged {often(BEAT)}" in page
