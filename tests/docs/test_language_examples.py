"""Every example of the language on the pages is read by the program, in the shop that the pages are about."""

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
from tests.docs.shop import files_of, joined
from tests.scenarios.shop import MAIL, passes

JOURNEY = "journey: {name}\ntopic: news\nenter:\n{enter}\nsteps:\n{steps}\n"


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ")


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
    """What `karibu check` says of a project of these files; templates are another matter."""

    def check(files: dict[str, str]) -> list[Problem]:
        return check_directory(project(files), registry, None)[1]

    return check


@pytest.mark.parametrize("page", [None, *sorted({fence.page for fence in every("project-part")})])
def test_the_project_of_a_page_is_sound(page: str | None, problems: Callable[[dict[str, str]], list[Problem]]) -> None:
    found = problems(files_of(page))
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("fence", every("project-part"), ids=str)
def test_a_part_of_a_project_is_sound(fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]) -> None:
    files = files_of()
    found = problems(files | {"workflows/project.yaml": joined(files["workflows/project.yaml"], fence.text)})
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("fence", [*every("journey"), *every("enter"), *every("steps")], ids=str)
def test_an_example_is_sound(fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]) -> None:
    found = problems(files_of(fence.page) | dict([_file(fence)]))
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("fence", every("expressions"), ids=str)
def test_every_line_of_expressions_is_a_condition(
    fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]
) -> None:
    # As branches, where any condition may stand; JSON's quotes are YAML's.
    lines = fence.text.strip().splitlines()
    arms = [f"    - {{if: {json.dumps(line)}, then: [{{tag: t{n}}}]}}" for n, line in enumerate(lines)]
    steps = "- branch:\n" + "\n".join(arms) + "\n    - else: [{tag: none}]\n"
    journey = JOURNEY.format(name="example", enter="  event: purchase", steps=steps)
    found = problems(files_of(fence.page) | {"workflows/example.yaml": journey})
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("fence", every("problem"), ids=str)
def test_a_problem_is_told_as_the_page_shows_it(
    fence: Fence, problems: Callable[[dict[str, str]], list[Problem]]
) -> None:
    (number,) = re.findall(r"workflows/welcome.yaml:(\d+):", fence.text)
    faulty = fence.text.splitlines()[1].removeprefix("    ")
    above = ["journey: welcome", "topic: news", "enter: {event: signed_up}", "steps:", "  - wait: 1d", "  - wait: 1d"]
    above[:0] = ["#"] * (int(number) - 1 - len(above))
    (found,) = problems(files_of() | {"workflows/welcome.yaml": "\n".join([*above, faulty, ""])})
    assert str(found) + "\n" == fence.text


@pytest.mark.parametrize("fence", every("scenario"), ids=str)
def test_scenarios_come_true_in_the_journey_of_their_name(
    fence: Fence, project: Callable[..., Path], registry: Registry
) -> None:
    name = fence.kind.partition(" ")[2]
    (journey,) = (one.text for one in every("journey") if one.text.startswith(f"journey: {name}\n"))
    mails = {f"templates/{ref}.mjml": MAIL % (ref, ref) for ref in re.findall(r"send: (email/\S+)", journey)}
    stories = {f"workflows/{name}.yaml": journey, f"workflows/{name}.test.yaml": fence.text}
    assert passes(project(files_of(fence.page) | mails | stories), registry, None)


def test_the_page_names_all_that_makes_a_segment_be_judged_whole(
    project: Callable[..., Path], registry: Registry
) -> None:
    page = (ROOT / "docs/language.md").read_text(encoding="utf-8").partition("\n## Segments")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)`", page, re.M)
    assert {reason for reason, _ in rows} == set(re.findall(r'Anybody\("(.+?)"\)', inspect.getsource(turning)))
    files = files_of()
    files["workflows/segments.yaml"] += "".join(f"s{n}: {json.dumps(when)}\n" for n, (_, when) in enumerate(rows))
    content, problems = check_directory(project(files), registry, None)
    assert not problems, "\n".join(map(str, problems))
    because = {segment.name: whole_because(segment) for segment in segments_of(content)}
    assert [because[f"s{n}"] for n in range(len(rows))] == [reason for reason, _ in rows]
    assert f"everybody is judged {often(BEAT)}" in page
