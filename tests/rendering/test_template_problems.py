"""What is wrong with a template is told with its file and line, all of it at once."""

from __future__ import annotations

import pytest

from tests.rendering.conftest import SECTION, TEXT, Shop


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("ok\n{{ customer.name | mony }}", '2 unknown filter "mony" (did you mean "money"?)'),
        ("{{ a | safe }}", '1 unknown filter "safe"'),
        ("{% if a is odd %}{% endif %}", '1 unknown test "is odd" (known: is set, is not set)'),
        ("a\n\n{{ x", '3 "{{" is never closed (add "}}")'),
        ("a\n{% if x %}\nb", "2 Unexpected end of template"),
        ("{% if x %}{% endfor %}", "1 Encountered unknown tag 'endfor'"),
        ("{{ a b }}", "1 expected token"),
        ("{{ a.b() }}", "1 values have no methods"),
        ("{{ a['b']() }}", "1 values have no methods"),
        ("{{ _secret }}", '1 "_secret": a name can\'t begin with _'),
        ("{% for _x in a %}{% endfor %}", '1 "_x": a name can\'t begin with _'),
        ("{{ a % b }}", "1 % is not available in templates"),
        ("{{ a ** b }}", "1 ** is not available in templates"),
        ("{{ a // b }}", "1 // is not available in templates"),
        ("{{ {'a': 1} }}", "1 {…} is not available in templates"),
        ("{{ a[1:2] }}", "1 [:] is not available in templates"),
        ("{% macro m() %}{% endmacro %}", "1 macro is not available in templates"),
        ("{% extends 'x' %}", "1 extends is not available in templates (name the layout in the front matter"),
        ("x {% include 'blocks/y' %}", "1 include is not available in templates (an include stands alone on its line"),
        ("{% include 'blocks/y' %}", "1 there is no templates/blocks/y.txt"),
        ("{% include 'sms/y' %}", '1 "sms/y" is not the name of a layout or block'),
        ("{% include 'blocks/../../x' %}", "is not the name of a layout or block"),
        ("{% import 'x' as y %}", "1 import is not available in templates"),
        ("{% block x %}{% endblock %}", "1 block is not available in templates"),
        ("{% autoescape false %}{% endautoescape %}", "is not available in templates"),
        ("{% raw %}{{ x }}{% endraw %}", None),
        ("{% for a, b in c %}{% endfor %}", "1 a loop has one name"),
        ("{% for a in b recursive %}{% endfor %}", "1 a loop can't call itself"),
        ("{% for a in b %}{{ loop.cycle }}{% endfor %}", '1 a loop has no "cycle"'),
        (
            "{% for a in b %}{{ did(a.name) }}{% endfor %}",
            '1 did(…) is computed for everybody at once and can\'t use "a"',
        ),
        ("{{ brand.adress }}", '1 unknown name "brand.adress" (known: address, currency, name, url)'),
        ("{{ links.prefs }}", '1 unknown name "links.prefs"'),
        ("---\nsubjekt: x\n---\nhi", '2 unknown front matter "subjekt"'),
        ("---\nhi", "1 the front matter has no closing ---"),
    ],
)
def test_an_sms_tells_what_is_wrong_with_it(source: str, problem: str | None, shop: Shop) -> None:
    found = shop.problems(source)
    if problem is None:
        assert not found
    else:
        assert len(found) == 1
        assert found[0].startswith("templates/sms/x.txt:") and problem in found[0]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (SECTION("<mj-buton>x</mj-buton>"), '5 unknown MJML tag <mj-buton> (did you mean "<mj-button>"?)'),
        (SECTION("<p>x</p>"), "5 unknown MJML tag <p> (put HTML into <mj-text>)"),
        ("<mj-text>x</mj-text>", "5 <mj-text> can't stand in <mj-body> (it stands in <mj-column>, <mj-hero>)"),
        ("<mj-section>x</mj-section>", "5 text can't stand directly in <mj-section> (use <mj-text>)"),
        (SECTION('<mj-text colour="red">x</mj-text>'), '5 <mj-text> has no attribute "colour" (did you mean "color"?)'),
        (SECTION("<mj-text><mj-button>x</mj-button></mj-text>"), "5 <mj-button> can't stand in <mj-text>"),
        (TEXT("<script>x</script>"), "5 <script> is not allowed in a mail"),
        (TEXT("<form></form>"), "5 <form> is not allowed in a mail"),
        (TEXT('<a href="javascript:x">x</a>'), '5 the attribute "href" can run a script'),
        (TEXT('<b onclick="x">x</b>'), '5 the attribute "onclick" can run a script'),
        (TEXT('<b style="color: {{ entry.c }}">x</b>'), "5 values can't stand in style="),
        (TEXT("<b>x"), "5 <b> is never closed"),
        (TEXT("x</b>"), "5 </b> closes nothing"),
        ("<mj-section>\n<mj-column>\n</mj-section>", "7 </mj-section> closes nothing (<mj-column> of line"),
        ("<mj-section>{{ entry.x }}</mj-section>", "5 text can't stand between elements (put it into <mj-text>)"),
        ("\n" + TEXT("<b {{ entry.x }}>x</b>"), "6 a tag can't stand among the attributes"),
        (TEXT('<a href="{% if entry.x %}a{% endif %}">x</a>'), "5 {% … %} can't begin href="),
        (TEXT("<!-- {{ entry.x }} -->"), "5 a tag can't stand in an HTML comment"),
        (TEXT("zqk1qz"), '5 "zqk1qz" is a word the renderer keeps for itself'),
        ("\n{% include 'blocks/none' %}", "6 there is no templates/blocks/none.mjml"),
        (SECTION("<mj-social>{% if entry.x %}<mj-social-element href='https://x'>x</mj-social-element>{% endif %}</mj-social>"), "5 {% … can't stand here"),
        ("{{ subjekt }}", "5 text can't stand between elements"),
    ],
)  # fmt: skip
def test_a_mail_tells_what_is_wrong_with_it(body: str, problem: str, shop: Shop) -> None:
    found = [str(one) for one in shop.mail(body).problems("email/x")]
    assert any(one.startswith(f"templates/email/x.mjml:{problem}") for one in found), found


def test_a_problem_in_a_layout_or_block_is_told_there(shop: Shop) -> None:
    renderer = shop.mail(TEXT("x"), **{"blocks/footer.mjml": "\n" + SECTION("<mj-txt>x</mj-txt>")})
    assert str(renderer.problems("email/x")[0]).startswith("templates/blocks/footer.mjml:2 unknown MJML tag <mj-txt>")


def test_every_problem_is_told_at_once(shop: Shop) -> None:
    body = SECTION("<mj-txt>x</mj-txt>") + "\n" + TEXT("{{ a | b }}\n{{ c | d }}")
    found = [str(one) for one in shop.mail(body, "subject: {{ e | f }}").problems("email/x")]
    assert [one.split(" ")[0].rpartition(":")[2] for one in found] == ["2", "6", "7", "5"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("title: {{ x }}\nbody: y", "put quotes around"),
        ("title: x\nbody: y\nicon: z", '3 unknown key "icon"'),
        ("title: x", "1 a push message needs a body"),
        ("- x", "1 a push template is a mapping"),
        ("title: x\ntitle: y\nbody: z", "stands twice"),
        ('title: x\nbody: "{{ a | b }}"', '2 unknown filter "b"'),
    ],
)
def test_a_push_tells_what_is_wrong_with_it(source: str, problem: str, shop: Shop) -> None:
    found = [str(one) for one in shop.write({"push/x.yaml": source}).problems("push/x")]
    assert len(found) == 1 and problem in found[0], found


def test_a_mail_needs_a_subject_and_a_layout(shop: Shop) -> None:
    renderer = shop.write({"email/x.mjml": TEXT("x"), "email/y.mjml": f"---\nsubject: x\n---\n{TEXT('x')}"})
    assert "a mail needs a subject" in str(renderer.problems("email/x")[0])
    assert "<mj-section> stands outside <mjml>" in str(renderer.problems("email/y")[0])


def test_files_that_are_no_text_are_refused(shop: Shop) -> None:
    renderer = shop.write({"sms/x.txt": "x" * (256 * 1024 + 1)})
    assert "larger than 256 KiB" in str(renderer.problems("sms/x")[0])
    (shop.root / "templates/sms/x.txt").write_bytes(b"ok\n\xff\xfe")
    assert str(shop.write({}).problems("sms/x")[0]) == "templates/sms/x.txt:2 the file is not UTF-8"


def test_blocks_in_a_circle_are_refused(shop: Shop) -> None:
    renderer = shop.write({"sms/x.txt": '{% include "blocks/a" %}', "blocks/a.txt": '{% include "blocks/a" %}'})
    assert "in a circle" in str(renderer.problems("sms/x")[0])
