"""What check says of templates, with the real renderer."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import starter
from engine.language.check import check_directory, notices
from engine.rendering.renderer import Renderer
from tests.language.support import HEAD, PROJECT, project, registry

MAIL = """\
---
subject: Hello
---
<mjml><mj-body><mj-section><mj-column>
<mj-text>{{ customer.first_name or "you" }}</mj-text>
<mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">No more</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


def told(root: Path, steps: str, templates: dict[str, str], head: str = HEAD, brand: str = PROJECT) -> list[str]:
    project(root, project=brand, j=head + "steps:\n" + steps)
    for name, text in templates.items():
        (root / "templates" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "templates" / name).write_text(text, encoding="utf-8")
    _, problems = check_directory(root, registry(), Renderer)
    return [problem.headline for problem in problems]


def test_a_sound_template_is_fine(tmp_path: Path) -> None:
    assert told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": MAIL}) == []


def test_a_missing_template_is_told_with_the_nearest(tmp_path: Path) -> None:
    assert told(tmp_path, "  - send: email/helo\n  - send: sms/x\n", {"email/hello.mjml": MAIL}) == [
        'workflows/j.yaml:5:11 steps[0].send: there is no template "email/helo" (did you mean "email/hello"?)',
        'workflows/j.yaml:6:11 steps[1].send: there is no template "sms/x" (known: email/hello)',
    ]


@pytest.mark.parametrize(
    ("hole", "message"),
    [
        ("{{ customer.frist_name }}", 'unknown name "customer.frist_name" (did you mean "first_name"?)'),
        ("{{ entry.total }}", 'unknown name "entry.total", in "j"'),
        ("{{ with.a }}", '"j" sends this without "with.a" (write with: {a: …} at send_1)'),
        ('{{ times("purchas") }}', 'unknown event "purchas" (did you mean "purchase"?)'),
        ("{{ shop.name }}", 'unknown name "shop" (known: customer, entry, now)'),
    ],
)
def test_a_name_that_the_journey_cant_hand_over_is_told_in_the_template(
    tmp_path: Path, hole: str, message: str
) -> None:
    mail = MAIL.replace('{{ customer.first_name or "you" }}', hole)
    found = told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": mail})
    assert found == [f"templates/email/hello.mjml:5:13: {message}"]


def test_what_the_step_hands_over_is_known(tmp_path: Path) -> None:
    mail = MAIL.replace('{{ customer.first_name or "you" }}', "{{ with.headline }} {{ got.total }}")
    steps = (
        "  - wait_for: {event: purchase, within: 1d}\n    id: got\n"
        "  - send: email/hello\n    with: {headline: '{{ got.order_id }}'}\n"
    )
    assert told(tmp_path, steps, {"email/hello.mjml": mail}) == []


def test_a_fields_name_in_a_loop_is_known(tmp_path: Path) -> None:
    loop = "{% for item in entry.items %}{{ item.nmae }}{% endfor %}"
    mail = MAIL.replace('{{ customer.first_name or "you" }}', loop)
    head = HEAD.replace("signed_up", "purchase")
    assert told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": mail}, head) == [
        'templates/email/hello.mjml:5:1: entry.items has no "nmae" in it (did you mean "name"?)'
    ]


def test_an_item_that_is_picked_by_its_number_has_the_fields_of_its_list(tmp_path: Path) -> None:
    picked = "{{ entry.items[0].name }} {{ entry.items[0].nmae }}"
    mail = MAIL.replace('{{ customer.first_name or "you" }}', picked)
    head = HEAD.replace("signed_up", "purchase")
    assert told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": mail}, head) == [
        'templates/email/hello.mjml:5:1: entry.items has no "nmae" in it (did you mean "name"?)'
    ]


def test_marketing_mail_shows_address_and_unsubscribe_link(tmp_path: Path) -> None:
    bare = MAIL.replace('<mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">No more</a></mj-text>', "")
    found = told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": bare})
    assert found == [
        "workflows/j.yaml:5:11 steps[0].send: email/hello is marketing mail and doesn't show its unsubscribe link to "
        "everybody (put {{ links.unsubscribe }} into it or its layout)",
        "workflows/j.yaml:5:11 steps[0].send: email/hello is marketing mail and doesn't show the postal address to "
        "everybody (put {{ brand.address }} into it or its layout)",
    ]
    transactional = HEAD.replace("topic: news", "topic: transactional")
    assert told(tmp_path, "  - send: email/hello\n", {}, transactional) == []


def test_a_brand_without_address_or_sender_sends_no_marketing_mail(tmp_path: Path) -> None:
    brand = PROJECT.replace("  address: Biashara Street 12, Nairobi\n", "").replace(
        "  sender: {email: hello@duka.example, name: Duka}\n", ""
    )
    assert told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": MAIL}, brand=brand) == [
        "workflows/project.yaml:1:1 brand: the brand has no postal address, and \"j\" sends marketing mail "
        "(write address: street, town, country)",
        "workflows/project.yaml:1:1 brand: the brand has no sender for its mail "
        "(write sender: {email: hello@duka.example, name: Duka})",
    ]  # fmt: skip


def test_a_fault_in_a_template_is_told_at_its_line(tmp_path: Path) -> None:
    mail = MAIL.replace("<mj-text>{{ brand", "<mj-txt></mj-txt><mj-text>{{ brand")
    found = told(tmp_path, "  - send: email/hello\n", {"email/hello.mjml": mail})
    assert len(found) == 1
    assert found[0].startswith("templates/email/hello.mjml:6:")


def noticed(root: Path, steps: str, templates: dict[str, str]) -> list[str]:
    assert told(root, steps, templates) == []
    content, _ = check_directory(root, registry(), Renderer)
    return [notice.headline for notice in notices(content, Renderer(root, content.project))]


def test_a_message_that_lacks_a_language_of_its_journey_is_noticed(tmp_path: Path) -> None:
    """Three of four speak Swahili: so does the journey. One speaks Armenian: that may be another journey's."""
    steps = "".join(f"  - send: email/{name}\n    id: {name}\n" for name in "abcd")
    files = {f"email/{name}.mjml": MAIL for name in "abcd"} | {"email/a.hy.mjml": MAIL, "email/b.sw-KE.mjml": MAIL}
    files |= {"email/a.sw.mjml": MAIL, "email/d.sw.mjml": MAIL}
    assert noticed(tmp_path, steps, files) == [
        "workflows/j.yaml:9:11 steps[2].send: email/c isn't there in sw, sw-KE, as email/a is (write templates/email/c.sw.mjml)"
    ]


def test_what_the_renderer_finds_is_noticed_at_its_file(tmp_path: Path) -> None:
    files = {"email/hello.mjml": MAIL, "blocks/old.mjml": "<mj-text>x</mj-text>"}
    assert noticed(tmp_path, "  - send: email/hello\n", files) == [
        "templates/blocks/old.mjml:1:1: no template uses this (put it in, or remove it)"
    ]


def test_the_starter_lacks_nothing() -> None:
    content, problems = check_directory(starter.root(), registry(), Renderer)
    assert problems == [] and notices(content, Renderer(starter.root(), content.project)) == []
