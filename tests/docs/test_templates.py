"""The templates on the pages, and the parts of them, pass `karibu check` and are rendered as `karibu preview` does."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.language.check import check_directory
from engine.language.registry import Registry
from engine.rendering.renderer import Renderer
from engine.rendering.values import Rendered
from engine.runtime.preview import places, preview
from tests.docs.blocks import Fence, every
from tests.docs.shop import files_of

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TEXT = "<mj-section><mj-column><mj-text>%s</mj-text></mj-column></mj-section>"
MAIL = '---\nsubject: "Hi"\n---\n<mjml><mj-body>%s' + TEXT % (
    '{{ brand.address }} <a href="{{ links.unsubscribe }}">No more</a>'
)
MAIL += "</mj-body></mjml>\n"
SUFFIXES = {"email": "mjml", "whatsapp": "yaml"}

Show = Callable[[Fence, str, str], Rendered]


@pytest.fixture
def show(project: Callable[..., Path], registry: Registry) -> Show:
    """A template of this text, in the shop of the page, as one customer would get it who bought something."""

    def rendered(fence: Fence, ref: str, text: str) -> Rendered:
        step = "ask: {survey: nps, by: " + ref + "}" if "links.survey" in text else f"send: {ref}"
        journey = f"journey: example\ntopic: news\nenter: {{event: purchase}}\nsteps:\n  - {step}\n"
        blocks = {f"templates/blocks/{one.kind.partition(':')[2]}.mjml": one.text for one in parts("block")}
        template = {f"templates/{ref}.{SUFFIXES[ref.partition('/')[0]]}": text}
        root = project(files_of(fence.page) | blocks | template | {"workflows/example.yaml": journey})
        content, problems = check_directory(root, registry, Renderer)
        assert not problems, "\n".join(map(str, problems))
        (place,) = places(content, ref)
        shown = preview(None, content, Renderer(root, content.project), ref, place, None, None, NOW).rendered
        assert not re.search(r"{{|{%", shown.html + shown.text + shown.subject + "".join(shown.variables.values()))
        return shown

    return rendered


def parts(word: str) -> list[Fence]:
    """The blocks whose kind is the word with a name behind it, `template:email/spring`."""
    return [fence for fence in every() if fence.kind.startswith(f"{word}:")]


@pytest.mark.parametrize("fence", parts("template"), ids=str)
def test_a_template_is_rendered(fence: Fence, show: Show) -> None:
    shown = show(fence, fence.kind.partition(":")[2], fence.text)
    assert "Amina" in shown.subject + shown.text


@pytest.mark.parametrize("fence", every("mail"), ids=str)
def test_a_part_of_a_mail_is_rendered_with_the_block_that_it_names(fence: Fence, show: Show) -> None:
    (label,) = re.findall(r'set label = "(.+?)"', fence.text)
    assert label in show(fence, "email/example", MAIL % fence.text).html


@pytest.mark.parametrize("fence", every("survey"), ids=str)
def test_each_number_of_a_survey_is_a_link_to_it(fence: Fence, show: Show) -> None:
    html = show(fence, "email/example", MAIL % (TEXT % fence.text)).html
    assert re.findall(r"\?score=(\d+)", html) == [str(score) for score in range(11)]
