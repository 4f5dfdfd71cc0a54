"""The filters: what they give, what they refuse, and what somebody who knows Liquid is told."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.rendering.filters import FILTERS
from engine.rendering.values import Money, RenderError
from tests.rendering.conftest import TEXT, Shop, body_of

VALUES: dict[str, Any] = {
    "e": {
        "at": datetime(2026, 3, 1, 21, 30, tzinfo=UTC), "day": date(2026, 3, 1), "none": None, "n": 3, "text": "Tea & milk",
        "total": Money(150050, "KES"),
        "items": [
            {"sku": "A1", "name": "Tea", "price": Money(1200, "KES"), "gift": True, "qty": 2},
            {"sku": "B2", "name": "Bowl", "price": Money(900, "KES"), "gift": None, "qty": 1},
            {"sku": "C3", "name": "Rug", "price": None, "gift": False, "qty": 1},
        ],
    },
    "customer": {"timezone": "Africa/Nairobi"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ 'x' | upcase }}{{ 'X' | downcase }}{{ ' x ' | strip }}{{ 'tea' | size }}", "Xxx3"),
        ("{{ e.total | plus(10) }} {{ e.total | minus(0.5) | times(2) }}", "KES1,510.50 KES3,000.00"),
        ("{{ e.total | divided_by(2) }} {{ e.total | divided_by(e.total) }}", "KES750.25 1"),
        ("{{ 7 | divided_by(0) | default('none') }} {{ 7 | modulo(0) | default('none') }}", "none none"),
        ("{{ 7.5 | modulo(2) }} {{ 7 | modulo(4) | plus(1) }}", "1.5 4"),
        ("{{ e.none | plus(1) | default(9) }} {{ 1 | plus(e.none) | default(9) }}", "9 9"),
        ("{{ e.none | append('x') | default('y') }} {{ 'x' | append(e.none) | default('y') }}", "y y"),
        ("{{ e.none | size | default(0) }} {{ e.items | size }}", "0 3"),
        ("{{ e.items | where('sku', 'B2') | map('name') | join }}", "Bowl"),
        ("{{ e.items | where('gift') | map('name') | join }}", "Tea"),
        ("{{ e.items | where('price', 9) | size }} {{ e.items | where('none', 'x') | size }}", "0 0"),
        ("{{ e.items | sort('price') | map('name') | join(',') }}", "Bowl,Tea,Rug"),
        ("{{ e.items | sort('name') | reverse | map('name') | join(',') }}", "Tea,Rug,Bowl"),
        ("{{ e.items | sum('price') }} {{ e.items | sum('qty') }} {{ e.items | where('sku', 'x') | sum('qty') }}", "KES21.00 4 0"),
        ("{{ e.items | map('qty') | uniq | join(',') }}", "2,1"),
        ("{{ e.items | slice(0, 2) | size }} {{ e.items | slice(-1) | map('name') | join }} {{ 'abc' | slice(9) }}", "2 Rug "),
        ("{{ e.items | map('sku') | last }} {{ 'a-b' | split('-') | first }}", "C3 a"),
        ("{% for i in e.items | where('qty', 1) %}{{ i.name }}{% endfor %}", "BowlRug"),
        ("{{ e.text | remove(' & milk') | prepend('black ') | capitalize }}", "Black Tea"),
        ("{{ e.text | truncatewords(2) }} {{ 'one' | truncatewords(2) }}", "Tea &… one"),
        ("{{ 3 | at_least(5) }}{{ 9 | at_most(5) }}{{ 1.2 | ceil }}{{ 1.8 | floor }}{{ (0 - 2) | abs }}", "55212"),
        ("{{ e.day | date('%d %B %Y') }}", "01 March 2026"),
        ("{{ e.at | date('%a, %e %b at %H:%M') }}", "Mon, 2 Mar at 00:30"),
        ("{{ e.at | date(\"%-d o'clock %I%p 100%%\") }}", "2 o'clock 12AM 100%"),
        ("{{ 1 | pluralize('bowl', 'bowls') }} {{ e.n | pluralize('bowl', 'bowls') }} {{ 0 | pluralize('bowl', 'bowls') }}", "bowl bowls bowls"),
        ("{{ e.items | size | pluralize('thing', 'things') }}", "things"),
    ],
)  # fmt: skip
def test_filters_give_what_their_names_say(source: str, shown: str, shop: Shop) -> None:
    assert shop.problems(source) == []
    assert shop.text(source, **VALUES).replace("\u00a0", "").replace("\u202f", "") == shown


@pytest.mark.parametrize(
    ("locale", "shown"), [("ru", "1 чаша 3 чаши 5 чаш"), ("en", "1 чаша 3 чаш 5 чаш"), ("ar", "1 чаша 3 чаши 5 чаши")]
)
def test_each_language_counts_in_its_own_way(locale: str, shown: str, shop: Shop) -> None:
    say = "{{ %d }} {{ %d | pluralize('чаша', 'чаш', few='чаши') }}"
    source = " ".join(say % (n, n) for n in (1, 3, 5))
    renderer = shop.write({f"sms/x.{locale}.txt": source, "sms/x.txt": source})
    from engine.rendering.values import Links

    assert renderer.render("sms/x", locale, VALUES, Links()).text == shown


@pytest.mark.parametrize(
    "source",
    [
        "{{ e.items | upper }}", "{{ e.text | plus(1) }}", "{{ e.items | sum('name') | plus(1) }}", "{{ e.items | uniq }}",
        "{{ e.items | where('sku', e.items) }}", "{{ e.day | date('%Q') }}", "{{ e.n | pluralize('a', 'b', dual='c') }}",
        "{{ e.text | slice(1.5) }}", "{{ e.n | truncatewords('x') }}",
    ],
)  # fmt: skip
def test_what_a_filter_can_not_do_stops_the_message_and_quotes_nobody(source: str, shop: Shop) -> None:
    with pytest.raises(RenderError) as caught:
        shop.text(source, **VALUES)
    assert caught.value.reason == "wrong_type"
    assert "Tea" not in str(caught.value)


def test_line_breaks_become_html_and_nothing_else_does(shop: Shop) -> None:
    renderer = shop.mail(TEXT("{{ e.note | newline_to_br }}"))
    from engine.rendering.values import Links

    mail = renderer.render("email/x", "en", {"e": {"note": "14 Kijabe St\n<script>"}}, Links())
    assert "14 Kijabe St<br />\n&lt;script&gt;" in body_of(mail)
    assert "14 Kijabe St\n<script>" in mail.text


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ a | upcas }}", 'unknown filter "upcas" (did you mean "upcase"?)'),
        ("{{ a | uppercase }}", 'unknown filter "uppercase" (did you mean "upcase"?)'),
        ("{{ a | safe }}", 'unknown filter "safe" (a value is escaped'),
        ("{{ a | t }}", 'unknown filter "t" (write the template in another language'),
        ("{{ a | money_with_currency }}", 'unknown filter "money_with_currency" (write money)'),
        ("{{ a | zzz }}", 'unknown filter "zzz" (known: abs, '),
        ("{{ a | truncate(1, 2, 3) }}", '"truncate" is given too much, or too little (write truncate(length='),
        ("{{ a | plus }}", '"plus" is given too much, or too little (write plus(other))'),
        ("{{ a | replace(was='x') }}", '"replace" is given too much, or too little (write replace(old, new))'),
        ("{{ a | upper(*b) }}", "* is not available in templates"),
        ("{{ a | truncate: 20 }}", "what a filter takes stands in brackets"),
        ("{% assign x = 1 %}", "write {% set name = value %}"),
        ("{% unless a %}{% endunless %}", "write {% if not"),
        ("{% if a %}{% elsif b %}{% endif %}", "write {% elif"),
        ("{% case a %}{% when 1 %}{% endcase %}", "write {% if x =="),
        ("{% comment %}x{% endcomment %}", "write {# … #}"),
        ("{% render 'x' %}", "blocks/NAME"),
        ("{% if a contains 'b' %}{% endif %}", 'write {% if "tea" in name %}'),
        ("{% if a = 1 %}{% endif %}", "=="),
        ("{% if a == blank %}{% endif %}", 'there is no "blank" (write `is set`'),
        ("{{ nil }}", 'there is no "nil"'),
    ],
)
def test_who_knows_liquid_is_told_what_to_write(source: str, problem: str, shop: Shop) -> None:
    found = shop.problems(source)
    assert len(found) == 1 and problem in found[0], found


def test_a_field_that_a_filter_picks_is_known_to_the_check(shop: Shop) -> None:
    source = "{{ entry.items | where('sku') | sort('price') | map('nmae') | join }}{% for i in entry.items | reverse %}{{ i.x }}{% endfor %}"
    renderer = shop.write({"sms/x.txt": source})
    assert renderer.problems("sms/x") == ()
    assert renderer.needs("sms/x").fields == {f"entry.items[].{name}" for name in ("sku", "price", "nmae", "x")}


def test_every_filter_is_told_with_an_example_of_its_own() -> None:
    for name, one in FILTERS.items():
        assert one.says.endswith(".") or one.says.endswith(".)"), name
        assert f"| {name}" in one.example, name
