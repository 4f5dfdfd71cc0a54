"""What a value looks like in a message, and what happens to one that isn't there."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.language.types import Birthday
from engine.rendering.values import Amount, Links, Money, RenderError
from tests.rendering.conftest import Shop

NIGHT = datetime(2026, 3, 1, 21, 30, tzinfo=UTC)  # already the 2nd in Nairobi


@pytest.mark.parametrize(
    ("locale", "source", "shown"),
    [
        ("en-KE", "{{ a.m }}", "Ksh1,500.50"),
        ("en", "{{ a.m | money }}", "KES1,500.50"),
        ("de", "{{ a.m }}", "KES1,500.50"),  # the text is English: so is its money
        ("en", "{{ 12 | money }}", "KES12.00"),
        ("en", "{{ 12.5 | money('USD') }}", "$12.50"),
        ("en", "{{ a.yen }}", "¥500"),
        ("en", "{{ a.d }}", "March 1, 2026"),
        ("en-GB", "{{ a.d | date }}", "1 March 2026"),
        ("en-GB", "{{ a.d | date('full') }}", "Sunday, 1 March 2026"),
        ("en-GB", "{{ a.d | date('d MMM') }}", "1 Mar"),
        ("en-GB", "{{ a.t }}", "2 March 2026"),
        ("en-GB", "{{ a.t | time }}", "00:30"),
        ("en-GB", "{{ a.b }}", "29 February"),
        ("en", "{{ a.n | number }}", "1,234,567.5"),
        ("en", "{{ a.n }}", "1234567.5"),
        ("en", "{{ 0.1 + 0.2 | round(1) }}", "0.3"),
        ("en", "{{ 3 }} {{ 2.50 }} {{ true }}", "3 2.5 true"),
        ("en", "{{ 0.25 | percent }}", "25%"),
        ("en", "{{ a.m * 2 }} {{ a.m - 500 }}", "KES3,001.00 KES1,000.50"),
        ("en", "{% if a.m > 1500 and a.m < 1501 %}yes{% endif %}", "yes"),
        ("en", "{{ 'a' ~ 1 ~ a.m }}", "a1KES1,500.50"),
        ("en", "{{ 'x y' | urlencode }}", "x+y"),
        ("en", "{{ a.list | map(attribute='name') | join(', ') }}", "Tea, Bowl"),
        ("en", "{{ a.list | count }} {{ (a.list | first).name }} {{ a.list[1].name }}", "2 Tea Bowl"),
        ("en", "{{ a.items }}{{ a.keys }}{{ a.get }}", "shop's ownk"),
        ("en", "{{ 'one two three' | truncate(9) }}", "one two…"),
        (
            "en",
            "{% for x in a.list %}{{ loop.index }}{{ x.name }}{% if not loop.last %},{% endif %}{% endfor %}",
            "1Tea,2Bowl",
        ),
        ("en", "{% set x = a.n %}{{ x | number(0) }}", "1,234,568"),
    ],
)
def test_values_are_shown_in_the_locale_of_the_mail(locale: str, source: str, shown: str, shop: Shop) -> None:
    a: dict[str, Any] = {
        "m": Money(150050, "KES"), "yen": Money(500, "JPY"), "d": date(2026, 3, 1), "t": NIGHT, "n": 1234567.5,
        "b": Birthday(2, 29), "list": [{"name": "Tea"}, {"name": "Bowl"}],
        "items": "shop's ", "keys": "own", "get": "k",
    }  # fmt: skip
    assert shop.text(source, locale, a=a).replace("\u00a0", "") == shown


@pytest.mark.parametrize(
    ("locale", "file", "shown"),
    [
        ("sw-KE", "sms/x.sw.txt", "2 Machi 2026 Ksh 1,500.50"),
        ("hy", "sms/x.hy.txt", "02 մարտի, 2026 թ. 1 500,50 KES"),
        ("fil-PH", "sms/x.fil.txt", "Marso 2, 2026 KES 1,500.50"),
        ("pt-BR", "sms/x.pt.txt", "2 de março de 2026 KES 1.500,50"),
    ],
)
def test_dates_and_money_speak_the_language_of_the_text(locale: str, file: str, shown: str, shop: Shop) -> None:
    source = "{{ e.t | date }} {{ e.m | money }}"
    renderer = shop.write({"sms/x.txt": "wrong", file: source})
    said = renderer.render("sms/x", locale, {"e": {"t": NIGHT, "m": Money(150050, "KES")}}, Links()).text
    assert said.replace("\u00a0", " ").replace("KES1", "KES 1") == shown


def test_times_are_the_customers(shop: Shop) -> None:
    there = shop.text("{{ e.t | time('HH:mm') }}", customer={"timezone": "Asia/Manila"}, e={"t": NIGHT})
    nowhere = shop.text("{{ e.t | time('HH:mm') }}", customer={"timezone": "Mars/Base"}, e={"t": NIGHT})
    assert (there, nowhere) == ("05:30", "00:30")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ c.none | default('friend') }}", "friend"),
        ("{{ c.absent.deeper | default('friend') }}", "friend"),
        ("{{ c.empty | default('friend') }}", "friend"),
        ("{{ c.none | upper | default('friend') }}", "friend"),
        ("{{ c.none or 'friend' }}", "friend"),
        ("{{ (c.none + 1) | default(7) }}", "7"),
        ("{{ (1 / 0) | default('never') }}", "never"),
        ("{{ c.list[9] | default('none there') }}", "none there"),
        ("{{ _calls_ | default('x') }}", None),
        ("{% if c.none %}a{% else %}b{% endif %}", "b"),
        ("{% if c.none == c.none %}a{% else %}b{% endif %}", "b"),
        ("{% if c.none != 'x' %}a{% else %}b{% endif %}", "a"),
        ("{% if 'x' != c.none %}a{% else %}b{% endif %}", "a"),
        ("{% if c.none < 3 or c.none >= 3 or 3 > c.none %}a{% else %}b{% endif %}", "b"),
        ("{% if not c.none is set and c.none is not set %}a{% endif %}", "a"),
        ("{% if 'x' in c.none %}a{% else %}b{% endif %}", "b"),
        ("{% for x in c.none %}a{% else %}nothing{% endfor %}", "nothing"),
    ],
)
def test_something_missing_is_as_in_conditions(source: str, shown: str | None, shop: Shop) -> None:
    values: dict[str, Any] = {"c": {"none": None, "empty": "", "list": []}}
    if shown is None:
        assert shop.problems(source)
    else:
        assert shop.text(source, **values) == shown


@pytest.mark.parametrize(
    "source",
    [
        "{{ c.none }}",
        "{{ c.absent }}",
        "{{ c.none.deeper }}",
        "{{ c.none + 1 }}",
        "{{ c.none | upper }}",
        "{{ c.none ~ 'x' }}",
    ],
)
def test_something_missing_is_never_sent(source: str, shop: Shop) -> None:
    with pytest.raises(RenderError) as caught:
        shop.text(source, c={"none": None})
    assert caught.value.reason == "missing_value"


@pytest.mark.parametrize(
    "source", ["{{ nobody }}", "{{ nobody.name }}", "{% if nobody %}x{% endif %}", "{% if nobody == 1 %}{% endif %}"]
)
def test_a_name_nobody_handed_in_stops_the_message(source: str, shop: Shop) -> None:
    with pytest.raises(RenderError) as caught:
        shop.text(source, c={})
    assert caught.value.reason == "missing_value"
    assert "nobody" in caught.value.detail


@pytest.mark.parametrize(
    "source",
    [
        "{{ c.list }}",
        "{{ c }}",
        "{{ c.name | money }}",
        "{{ c.name | date }}",
        "{{ c.name + 1 }}",
        "{{ c.name.upper }}",
        "{{ c.list | upper }}",
    ],
)
def test_a_value_of_the_wrong_kind_stops_the_message_without_being_told(source: str, shop: Shop) -> None:
    with pytest.raises(RenderError) as caught:
        shop.text(source, c={"list": [{"a": 1}], "name": "Amina Secret"})
    assert caught.value.reason == "wrong_type"
    assert "Amina" not in str(caught.value)


def test_amounts_count_and_never_mix() -> None:
    kes = Amount(1050, "KES")
    assert kes + kes == Amount(2100, "KES") and kes * 2 == 21 and kes / 2 == Amount(525, "KES")
    assert kes / Amount(525, "KES") == 2 and 20 - kes == Amount(950, "KES")
    assert kes > 10 and kes < 10.6 and kes >= 10.5
    with pytest.raises(TypeError):
        _ = kes + Amount(1, "USD")
    with pytest.raises(OverflowError):
        _ = kes * 10**18
