"""A mail: laid out once by MJML, filled in for each customer."""

from __future__ import annotations

from typing import Any

import pytest

from engine.rendering.values import Links, RenderError
from tests.rendering.conftest import FOOTER, LAYOUT, SECTION, TEXT, Shop, body_of

OUT = Links("https://mail.duka.example/u/to_ken")


def test_a_mail_has_subject_preheader_html_and_text(shop: Shop, amina: dict[str, Any]) -> None:
    body = SECTION(
        "<mj-text><h1>Karibu, {{ customer.first_name }}</h1><p>Tea &amp; more</p></mj-text>"
        '<mj-button href="{{ brand.url }}/cart_1?a=1&b={{ entry.cart_id | urlencode }}">Go_there</mj-button>'
    )
    mail = shop.mail(
        body, "subject: Hi {{ customer.first_name }}\npreheader: For {{ customer.first_name }} & all"
    ).render("email/x", "en", amina, OUT)
    assert (mail.subject, mail.preheader) == ("Hi Amina", "For Amina & all")
    assert mail.text == (
        "# Karibu, Amina\n\nTea & more\n\nGo_there: https://duka.example/cart_1?a=1&b=c+1\n\n"
        "14 Kijabe Street, Nairobi [Unsubscribe](https://mail.duka.example/u/to_ken)\n"
    )
    assert "<title>Hi Amina</title>" in mail.html and '<html lang="en"' in mail.html
    assert "For Amina &amp; all" in mail.html
    assert 'href="https://duka.example/cart_1?a=1&amp;b=c+1"' in mail.html
    assert "mj-" not in body_of(mail).replace("mj-column-per-100", "").replace("mj-outlook-group-fix", "")


def test_loops_and_conditions_survive_the_layout(shop: Shop, amina: dict[str, Any]) -> None:
    body = (
        "{% if entry.items %}"
        + SECTION(
            "{% for item in entry.items %}<mj-text>T:{{ item.name }}</mj-text>{% endfor %}"
            "<mj-table>{% for item in entry.items %}<tr><td>{{ loop.index }}</td><td>{{ item.price | money }}</td></tr>{% endfor %}</mj-table>"
            "<mj-text><ul>{% for item in entry.items %}<li>L:{{ item.qty }}</li>{% endfor %}</ul></mj-text>"
        )
        + "{% else %}"
        + TEXT("empty")
        + "{% endif %}"
    )
    renderer = shop.mail(body)
    full = renderer.render("email/x", "en", amina, OUT)
    html = body_of(full)
    assert html.count("T:Tea &amp; milk") == 1 and html.count("T:&lt;b&gt;Bowl&lt;/b&gt;") == 1
    assert html.count("<tbody><tr><td style") and html.count("L:") == 2
    assert "empty" not in html
    assert "1 KES120.50" in full.text
    assert "- L:2\n- L:1" in full.text
    empty = renderer.render("email/x", "en", {**amina, "entry": {**amina["entry"], "items": []}}, OUT)
    assert "empty" in empty.html and "T:" not in empty.html
    assert empty.text.startswith("empty\n")


def test_a_table_of_rows_has_one_body(shop: Shop, amina: dict[str, Any]) -> None:
    rows = "<mj-table>{% for item in entry.items %}<tr><td>{{ item.qty }}</td></tr>{% endfor %}</mj-table>"
    html = body_of(shop.mail(SECTION(rows)).render("email/x", "en", amina, OUT))
    assert html.count("<tbody>") == html.count("</tbody>")


@pytest.mark.parametrize(
    "nasty", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'", "{{ 7*7 }}", "&amp;", "]]>", "<!--"]
)
def test_values_never_become_html(nasty: str, shop: Shop, amina: dict[str, Any]) -> None:
    body = SECTION(
        '<mj-text>{{ customer.first_name }}</mj-text><mj-image src="{{ brand.url }}/x.png" alt="{{ customer.first_name }}" />'
    )
    mail = shop.mail(body, "subject: s\npreheader: {{ customer.first_name }}").render(
        "email/x", "en", {**amina, "customer": {"first_name": nasty}}, OUT
    )
    clean = shop.mail(body, "subject: s\npreheader: {{ customer.first_name }}").render("email/x", "en", amina, OUT)
    assert mail.html.count("<") == clean.html.count("<") and mail.html.count(">") == clean.html.count(">")
    assert mail.html.count('"') == clean.html.count('"')
    assert nasty in mail.text


@pytest.mark.parametrize(
    "href", ["javascript:alert(1)", " JaVaScRiPt:x", "data:text/html,x", "//evil.example", "vbscript:x"]
)
def test_a_link_from_outside_can_only_be_a_link(href: str, shop: Shop, amina: dict[str, Any]) -> None:
    renderer = shop.mail(SECTION('<mj-button href="{{ entry.url }}">x</mj-button>'))
    with pytest.raises(RenderError) as caught:
        renderer.render("email/x", "en", {**amina, "entry": {"url": href}}, OUT)
    assert caught.value.reason == "wrong_type"
    fine = renderer.render("email/x", "en", {**amina, "entry": {"url": "https://track.example/?a=1&b=2"}}, OUT)
    assert 'href="https://track.example/?a=1&amp;b=2"' in fine.html


@pytest.mark.parametrize("bad", ["Hi\r\nBcc: everyone", "a\nb", "a\rb", "a\x00b", "a\u2028b", "a\x85b"])
def test_a_subject_is_one_line_or_nothing(bad: str, shop: Shop, amina: dict[str, Any]) -> None:
    renderer = shop.mail(TEXT("x"), "subject: Hi {{ customer.first_name }}!")
    with pytest.raises(RenderError) as caught:
        renderer.render("email/x", "en", {**amina, "customer": {"first_name": bad}}, OUT)
    assert caught.value.reason == "subject_line_break"


def test_styles_are_inlined_and_media_queries_kept(shop: Shop, amina: dict[str, Any]) -> None:
    style = "<mj-style>.big { color: #123456; } @media (max-width: 400px) { .big { color: #654321; } }</mj-style>"
    layout = LAYOUT.replace("</mj-head>", f"{style}</mj-head>")
    renderer = shop.mail(SECTION('<mj-text css-class="big">x</mj-text>'), **{"layouts/main.mjml": layout})
    html = renderer.render("email/x", "en", amina, OUT).html
    assert "color: #123456" in html[html.index("<body") :]
    assert "max-width: 400px" in html[: html.index("<body")]


def test_an_own_text_part_wins(shop: Shop, amina: dict[str, Any]) -> None:
    renderer = shop.mail(TEXT("html"), **{"email/x.txt": "Just text, {{ customer.first_name }}"})
    assert renderer.render("email/x", "en", amina, OUT).text == "Just text, Amina\n"
    assert renderer.needs("email/x").names == {"customer.first_name"}


def test_notes_of_the_author_are_not_sent(shop: Shop, amina: dict[str, Any]) -> None:
    mail = shop.mail("<!-- secret -->\n{# secret\n #}" + TEXT("x<!-- secret -->{# secret #}")).render(
        "email/x", "en", amina, OUT
    )
    assert "secret" not in mail.html + mail.text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("sw-KE", "sw-KE"),
        ("sw-TZ", "sw"),
        ("sw", "sw"),
        ("hy-AM", "hy"),
        ("fr", ""),
        (None, ""),
        ("en-GB", ""),
        ("sw_KE", "sw-KE"),
    ],
)
def test_the_nearest_locale_is_taken(asked: str | None, found: str, shop: Shop) -> None:
    names = {"": "", "sw": ".sw", "sw-KE": ".sw-KE", "hy": ".hy"}
    renderer = shop.write({f"sms/x{suffix}.txt": f"[{name}] {{{{ locale }}}}" for name, suffix in names.items()})
    assert renderer.render("sms/x", asked, {}, Links()).text.startswith(f"[{found}]")
    assert renderer.locales("sms/x") == ("", "hy", "sw", "sw-KE")


def test_layout_and_blocks_follow_the_locale_of_the_template(shop: Shop, amina: dict[str, Any]) -> None:
    footer = FOOTER.replace("Unsubscribe", "Jiondoe")
    renderer = shop.mail(
        TEXT("hello"),
        **{
            "blocks/footer.sw.mjml": footer,
            "email/x.sw.mjml": f"---\nsubject: Habari\nlayout: main\n---\n{TEXT('habari')}",
        },
    )
    assert "Jiondoe" in renderer.render("email/x", "sw-KE", amina, OUT).text
    assert "Unsubscribe" in renderer.render("email/x", "fr", amina, OUT).text


def test_what_functions_need_is_told_and_handed_in(shop: Shop, amina: dict[str, Any]) -> None:
    source = '{{ total("purchase", "total", within=365d) | money }} {% if times("purchase", within=2w, where=event.total > 50 and event.sku == "A1") > 1 %}!{% endif %}'
    renderer = shop.mail(TEXT(source))
    total = 'total("purchase", "total", within=365d)'
    times = 'times("purchase", within=2w, where=(event.total > 50) and (event.sku == "A1"))'
    needs = renderer.needs("email/x")
    assert needs.calls == (total, times)
    assert needs.names == frozenset()
    mail = renderer.render("email/x", "en", {**amina, "_calls": {total: amina["customer"]["spent"], times: 2}}, OUT)
    assert mail.text.startswith("KES1,500.50 !\n\n14 Kijabe")
    with pytest.raises(RenderError):
        renderer.render("email/x", "en", {**amina, "_calls": {total: None, times: 2}}, OUT)


def test_needs_say_what_is_read_and_where(shop: Shop) -> None:
    body = TEXT(
        "{{ customer.first_name | default('you') }}\n{% for i in entry.items %}{{ i.name }}{{ loop.index }}{% endfor %}\n{% set x = entry.total %}{{ x }}"
    )
    needs = shop.mail(body, "subject: {{ shipped.carrier }}").needs("email/x")
    assert needs.names == {"customer.first_name", "entry.items", "entry.total", "shipped.carrier"}
    assert needs.fields == {"entry.items[].name"}
    where = {use.text: (use.file, use.line) for use in needs.uses}
    assert where["shipped.carrier"] == ("templates/email/x.mjml", 2)
    assert where["customer.first_name"] == ("templates/email/x.mjml", 5)
    assert where["entry.total"] == ("templates/email/x.mjml", 7)


@pytest.mark.parametrize(
    ("footer", "unsubscribe", "address"),
    [
        (FOOTER, True, True),
        (FOOTER.replace("brand.address", "brand.name"), True, False),
        (FOOTER.replace('<a href="{{ links.unsubscribe }}">Unsubscribe</a>', ""), False, True),
        (FOOTER.replace("{% if links.unsubscribe is set %}", "{% if customer.vip %}"), False, True),
        (FOOTER.replace("{{ brand.address }}", "{% if customer.vip %}{{ brand.address }}{% endif %}"), True, False),
    ],
)
def test_the_way_out_and_the_address_must_be_shown_to_everybody(
    footer: str, unsubscribe: bool, address: bool, shop: Shop
) -> None:
    needs = shop.mail(TEXT("x"), **{"blocks/footer.mjml": footer}).needs("email/x")
    assert (needs.has_unsubscribe, needs.has_address) == (unsubscribe, address)


def test_a_locale_without_a_way_out_is_found(shop: Shop) -> None:
    bare = "---\nsubject: Habari\n---\n<mjml><mj-body>" + TEXT("x") + "</mj-body></mjml>"
    assert not shop.mail(TEXT("x"), **{"email/x.sw.mjml": bare}).needs("email/x").has_unsubscribe


def test_push_and_sms_are_rendered(shop: Shop, amina: dict[str, Any]) -> None:
    renderer = shop.write(
        {
            "push/x.yaml": 'title: "Hi {{ customer.first_name }}"\nbody: |\n  Two\n  lines\nurl: "{{ brand.url }}/x"\n',
            "sms/x.txt": "Hi {{ customer.first_name }} & <all>\n\n\n\nStop: {{ links.unsubscribe }}\n",
        }
    )
    push = renderer.render("push/x", "en", amina, OUT)
    assert (push.title, push.body, push.url) == ("Hi Amina", "Two\nlines", "https://duka.example/x")
    assert (
        renderer.render("sms/x", "en", amina, OUT).text
        == "Hi Amina & <all>\n\nStop: https://mail.duka.example/u/to_ken"
    )


def test_a_template_that_is_not_there_is_no_surprise(shop: Shop) -> None:
    renderer = shop.write({"sms/y.sw.txt": "x"})
    assert not renderer.exists("sms/x") and renderer.exists("sms/y")
    for ref in ("sms/x", "sms/y", "sms/../../etc/passwd", "fax/x", "sms/"):
        with pytest.raises(RenderError) as caught:
            renderer.render(ref, "en", {}, Links())
        assert caught.value.reason == "no_template"
    assert "customers of other locales get nothing" in str(renderer.problems("sms/y")[0])
