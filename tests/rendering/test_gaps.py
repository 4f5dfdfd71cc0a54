"""What a project's templates lack, and what nobody uses, is told where it stands, and is no fault."""

from __future__ import annotations

import pytest

from engine.rendering.renderer import Renderer
from engine.rendering.values import Links
from tests.rendering.conftest import FOOTER, LAYOUT, TEXT, Shop

MAIL = "---\nsubject: Hi\npreheader: there\nlayout: main\n---\n" + TEXT("x")
SHARED = {"layouts/main.mjml": LAYOUT, "blocks/footer.mjml": FOOTER}


def gaps(shop: Shop, **files: str) -> list[str]:
    renderer = shop.write({"email/x.mjml": MAIL} | SHARED | files)
    assert [renderer.problems(ref) for ref in renderer.refs()] == [()] * len(list(renderer.refs()))
    return [str(one) for one in renderer.gaps()]


def test_a_whole_project_lacks_nothing(shop: Shop) -> None:
    assert gaps(shop) == []
    assert gaps(shop, **{"email/x.sw.mjml": MAIL, "email/x.txt": "x", "email/x.sw.txt": "x"}) == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"blocks/old.mjml": FOOTER}, "templates/blocks/old.mjml:1 no template uses this (put it in, or remove it)"),
        ({"layouts/deep/old.txt": "x"}, "templates/layouts/deep/old.txt:1 no template uses this"),
        ({"blocks/footer.sw.mjml": FOOTER}, "templates/blocks/footer.sw.mjml:1 no template uses this"),
        ({"email/x.SW.mjml": MAIL}, "templates/email/x.SW.mjml:1 nobody gets this: its name is no template's (write templates/email/x.mjml, or with a locale like sw"),
        ({"email/x.sw_KE.mjml": MAIL}, "templates/email/x.sw_KE.mjml:1 nobody gets this"),
        ({"email/x.sw.txt": "x"}, "templates/email/x.sw.txt:1 nobody gets this"),
        ({"sms/y.swahili.txt": "x"}, "templates/sms/y.swahili.txt:1 nobody gets this"),
        ({"email/x.sw.mjml": MAIL.replace("preheader: there\n", "")}, "templates/email/x.sw.mjml:1 this has no preheader, and templates/email/x.mjml has one"),
        ({"email/x.sw.mjml": MAIL, "email/x.txt": "x"}, "templates/email/x.sw.mjml:1 this has no text part of its own, and templates/email/x.mjml has one"),
        ({"push/p.yaml": "title: a\nbody: b\nurl: https://x.example", "push/p.sw.yaml": "title: a\nbody: b"}, "templates/push/p.sw.yaml:1 this has no url, and templates/push/p.yaml has one"),
    ],
)  # fmt: skip
def test_a_gap_is_told_where_it_stands(files: dict[str, str], told: str, shop: Shop) -> None:
    found = gaps(shop, **files)
    assert len(found) == 1 and found[0].startswith(told), found


def test_a_block_that_speaks_some_languages_and_not_this_one_is_told(shop: Shop) -> None:
    mails = {f"email/x.{locale}.mjml": MAIL for locale in ("sw-KE", "hy", "fil")}
    blocks = {"blocks/footer.hy.mjml": FOOTER, "blocks/footer.sw.mjml": FOOTER}
    assert gaps(shop, **mails, **blocks) == [
        "templates/blocks/footer.mjml:1 templates/email/x.fil.mjml puts this in, and it isn't there in fil "
        "(write templates/blocks/footer.fil.mjml)"
    ]


def test_nothing_is_told_while_a_template_can_not_be_read(shop: Shop) -> None:
    renderer = shop.write({"email/x.mjml": MAIL, "blocks/old.mjml": FOOTER, "sms/y.txt": "{{ x | y }}"} | SHARED)
    assert renderer.gaps() == ()


def texts(renderer: Renderer, locale: str = "en") -> str:
    return renderer.render("sms/x", locale, {"customer": {"first_name": "Amina"}}, Links()).text


def test_a_block_takes_what_is_set_before_it(shop: Shop) -> None:
    block = "{% if n %}{{ n }} {{ word }}{% endif %}"
    source = (
        '{% set n = 2 %}{% set word = "bowls" %}\n{% include "blocks/b" %}\n{% set n = 1 %}\n{% include "blocks/b" %}'
    )
    assert texts(shop.write({"sms/x.txt": source, "blocks/b.txt": block})) == "2 bowls\n1 bowls"


def test_a_button_of_a_mail_takes_what_is_set_before_it(shop: Shop) -> None:
    button = '<mj-section><mj-column><mj-button href="{{ to }}">{{ label }}</mj-button></mj-column></mj-section>'
    body = '{% set to = "https://duka.example/" ~ customer.first_name %}{% set label = "Look" %}\n{% include "blocks/button" %}'
    renderer = shop.mail(body, **{"blocks/button.mjml": button})
    assert renderer.problems("email/x") == ()
    mail = renderer.render("email/x", "en", {"customer": {"first_name": "Amina"}}, Links("https://x.example/u"))
    assert 'href="https://duka.example/Amina"' in mail.html and "Look: https://duka.example/Amina" in mail.text


def test_a_text_has_a_layout_too_in_its_own_language(shop: Shop) -> None:
    layouts = {
        "layouts/short.txt": "Duka: \n{{ content }}\nSTOP ends it",
        "layouts/short.sw.txt": "Duka: \n{{ content }}\nSTOP itakoma",
    }
    mine = "---\nlayout: short\n---\nHello {{ customer.first_name }}"
    renderer = shop.write(layouts | {"sms/x.txt": mine, "sms/x.sw.txt": mine.replace("Hello", "Habari")})
    assert texts(renderer) == "Duka: \nHello Amina\nSTOP ends it"
    assert texts(renderer, "sw-KE") == "Duka: \nHabari Amina\nSTOP itakoma"


@pytest.mark.parametrize("locale", ["sw-KE", "sw_KE", "sw", "sw-TZ"])
def test_a_locale_finds_its_language_and_else_the_default(locale: str, shop: Shop) -> None:
    renderer = shop.write({"sms/x.txt": "en", "sms/x.sw.txt": "sw", "sms/x.sw-KE.txt": "sw-KE"})
    assert texts(renderer, locale) == ("sw-KE" if locale.endswith("KE") else "sw")
    assert texts(renderer, "de-AT") == "en"
