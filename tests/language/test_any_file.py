"""Whatever stands in a project's files, check answers with problems, never with a stack trace."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language.check import check_directory
from engine.language.content import load
from engine.language.errors import ContentError
from engine.rendering.renderer import Renderer
from tests.language.support import JOURNEY, PROJECT, SEGMENTS, project, registry

RICH = """\
journey: j
title: Everything
topic: offers
priority: 50
enter: {event: purchase, where: event.total > 5, key: entry.order_id, again: after 30d, limit: {at_most: 5, per: day}}
exit:
  - event: account_closed
  - when: customer.tier == "gold"
goal: {event: purchase, within: 30d, value: event.total, jump: hello}
holdout: 10%
steps:
  - send: email/hello
    id: hello
    when: customer.vip
    on_not_sent: goto last
    with: {headline: "Hello {{ customer.first_name }}"}
  - wait: 3d at 10:00
  - branch:
      - if: clicked("hello") and any(entry.items, item.sku == "A1")
        then: [{tag: keen}]
      - else:
          - split:
              - 50%: [{send: sms/nudge}]
              - 50%: [{goto: hello}]
  - wait_for: {event: shipped, where: event.order_id == entry.order_id, within: 14d}
    id: came
    then: [{update: {customer.lifecycle: "got {{ came.order_id }}"}}]
    else: [{exit: never came}]
  - consent: {channel: email, topic: news, state: off}
  - hush: {topic: offers, for: 14d}
  - start: j
  - wait: until customer.renewal - 5d at 09:00
    id: last
"""
STORY = """\
- scenario: one
  start: 2026-03-02 09:00 Africa/Nairobi
  customer: {id: amina, tier: gold, consent: [email/offers]}
  before: [{at: 2026-01-02 09:00, event: purchase, with: {total: 40.50}}]
  story:
    - {event: purchase, with: {total: 40, items: [{sku: A1}]}}
    - {sends: email/hello}
    - {takes: {branch_1: else}}
    - {ends: finished}
"""
SOUND = {"project": PROJECT, "segments": SEGMENTS, "j": RICH, "j_test": STORY}

# What a hand slips on: a line lost, doubled or moved in or out, a piece of another line, a sign too many, another word.
SIGNS = st.sampled_from([*"[]{}:-,'\"#&*!|>%@ \t\n", "{{", "}}", ": ", "- ", "~", "null", "goto ", "\0", "\u2028"])


@st.composite
def slips(draw: st.DrawFn, text: str) -> str:
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        kind = draw(st.integers(0, 6))
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind == 1:
            lines.insert(at, draw(st.sampled_from(lines)))
        elif kind == 2:
            lines[at] = " " * draw(st.integers(0, 6)) + line
        elif kind == 3:
            lines[at] = line[draw(st.integers(0, 4)) :]
        elif kind == 4:
            cut = draw(st.integers(0, len(line)))
            lines[at] = line[:cut] + draw(SIGNS) + line[cut:]
        elif kind == 5:
            cut = draw(st.integers(0, len(line)))
            lines[at] = line[:cut] + draw(st.sampled_from(lines)).strip() + line[cut:]
        else:
            words = line.split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(text.split()))
            lines[at] = " ".join(words)
    return "\n".join(lines)


def test_the_files_that_are_spoilt_here_are_sound(tmp_path: Path) -> None:
    content, problems = check_directory(project(tmp_path, **SOUND), registry(), None)
    assert [str(problem) for problem in problems if "no way leads" not in problem.message] == []
    assert content.journeys["j"].holdout == 1000


@pytest.mark.parametrize("name", list(SOUND))
@settings(max_examples=60)
@given(data=st.data())
def test_a_slip_of_the_hand_is_a_problem_and_no_stack_trace(name: str, data: st.DataObject) -> None:
    spoilt = data.draw(slips(SOUND[name]))
    with tempfile.TemporaryDirectory() as root:
        where = project(Path(root), **{**SOUND, name: spoilt})
        _, problems = check_directory(where, registry(), None)
        for problem in problems:
            text = str(problem)
            text.encode()
            assert problem.line >= 0
            for jargon in ("Input should", "validation error", "Value error", "Traceback", "pydantic", "NoneType"):
                assert jargon not in text


@given(st.binary(max_size=200))
@settings(max_examples=40)
def test_any_bytes_in_any_file_are_told(source: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        where = project(Path(root))
        (where / "workflows/k.yaml").write_bytes(source)
        _, problems = check_directory(where, registry(), None)
        assert all(str(problem) for problem in problems)


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        project=PROJECT.replace("locale: en", "locale: english"),
        segments="lapsed: [x]\n",
        j=JOURNEY.replace("send:", "sned:"),
        j_test="- scenario: one\n",
    )
    (root / "workflows/more.yml").write_text("journey: more\n")
    with pytest.raises(ContentError) as caught:
        load(root, registry())
    assert {problem.file for problem in caught.value.problems} == {
        "workflows/project.yaml",
        "workflows/segments.yaml",
        "workflows/j.yaml",
        "workflows/j.test.yaml",
        "workflows/more.yml",
    }


def test_the_starter_content_is_sound() -> None:
    root = Path(__file__).parents[2]
    content, problems = check_directory(root, registry(), Renderer)
    assert [str(problem) for problem in problems] == []
    assert content.journeys.keys() == content.scenarios.keys()


def test_a_directory_that_is_no_project_is_told(tmp_path: Path) -> None:
    _, problems = check_directory(tmp_path, registry(), None)
    assert [str(problem) for problem in problems] == [
        "workflows/project.yaml: there is no such file (karibu init writes a project)"
    ]
