"""A template can't show what is not known yet where it is sent: `karibu check` tells it, and lets what is guarded be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.language.support import HEAD, PROJECT
from tests.language.test_templates_told import MAIL, told

WAIT = "  - wait_for: {event: purchase, within: 3d}\n    id: got\n"
BEFORE = "  - send: email/hello\n    id: first\n" + WAIT
IN_ELSE = WAIT + "    else:\n      - send: email/hello\n        id: late\n"


def showing(what: str) -> dict[str, str]:
    return {"email/hello.mjml": MAIL.replace('{{ customer.first_name or "you" }}', what)}


def test_what_comes_later_is_told_in_the_template_with_the_step_that_shows_it(tmp_path: Path) -> None:
    assert told(tmp_path, BEFORE, showing("Your {{ got.order_id }}")) == [
        'templates/email/hello.mjml:5:18: "got" is not known at first of "j", which sends this: no way leads from it to '
        "that step (show it in {% if got.order_id is set %}, or send this after it)"
    ]


def test_of_several_steps_that_send_it_the_one_too_early_is_told(tmp_path: Path) -> None:
    steps = BEFORE + "  - send: email/hello\n    id: second\n"
    found = told(tmp_path, steps, showing("{{ got.order_id }}"))
    assert len(found) == 1 and "at first of" in found[0]


def test_where_the_event_did_not_come_it_is_never_known(tmp_path: Path) -> None:
    assert told(tmp_path, IN_ELSE, showing("{{ got.order_id }}")) == [
        'templates/email/hello.mjml:5:13: "got" is never known at late of "j", which sends this: only its else leads to '
        "that step (it is known in its then, and where that leads)"
    ]


def test_where_both_ways_meet_it_may_be_known(tmp_path: Path) -> None:
    steps = WAIT + "    then: [{wait: 1d}]\n    else: [{wait: 2d}]\n  - send: email/hello\n"
    assert told(tmp_path, steps, showing("{{ got.order_id }}")) == []


def test_a_code_is_not_known_before_its_step(tmp_path: Path) -> None:
    brand = PROJECT + 'coupons:\n  hello: {generate: "HELLO-{8}"}\n'
    steps = "  - send: email/hello\n    id: first\n  - coupon: hello\n"
    assert told(tmp_path, steps, showing("{{ coupon.code }}"), brand=brand) == [
        'templates/email/hello.mjml:5:13: no coupon is known at first of "j", which sends this: no way leads from a '
        "coupon step to that step (show it in {% if coupon.code is set %}, or send this after it)"
    ]


@pytest.mark.parametrize(
    "shown",
    [
        "{{ got.sku | default('-') }}",
        "{{ got.sku | upper | default('-') }}",
        "{{ got.sku or 'nothing' }}",
        "{{ got.sku if got.total is set else '-' }}",
        "{% if got.sku is set %}{{ got.sku }}{% endif %}",
        "{% if got.total > 5 and customer.vip %}{{ got.sku }}{% endif %}",
        "{% if not got.sku %}-{% else %}{{ got.sku }}{% endif %}",
        "{% if got.sku is not set %}-{% elif customer.vip %}{{ got.sku }}{% endif %}",
        "{% for item in got.items %}{{ item.name }} {{ got.sku }}{% endfor %}",
        "{% if with.kind == 'late' %}{{ got.sku }}{% endif %}",
        "{% if clicked('first') %}{{ got.sku }}{% endif %}",
        "{% set sku = got.sku %}{% if sku %}{{ sku }}{% endif %}",
        "{% if got.total > 5 %}much{% endif %}",
    ],
)
def test_what_the_template_guards_is_fine(tmp_path: Path, shown: str) -> None:
    steps = BEFORE.replace("    id: first\n", "    id: first\n    with: {kind: early}\n")
    assert told(tmp_path, steps, showing(shown)) == []


@pytest.mark.parametrize(
    "shown",
    [
        "{{ got.sku | upper }}",
        "{{ got.total + 5 }}",
        "{{ 'Order ' ~ got.sku }}",
        "{{ got.sku or got.order_id }}",
        "{{ customer.vip and got.sku }}",
        "{{ got.sku | default(got.order_id) }}",
        "{{ 'much' if customer.vip else got.sku }}",
        "{% if got.sku is not set %}{{ got.sku }}{% endif %}",
        "{% if customer.vip %}{{ got.sku }}{% endif %}",
        "{% for item in entry.items %}{{ got.sku }}{% endfor %}",
        "{% if got.sku %}-{% else %}{{ got.sku }}{% endif %}",
        "{{ got.items[0].name }}",
    ],
)
def test_what_no_guard_stands_before_is_told(tmp_path: Path, shown: str) -> None:
    found = told(tmp_path, BEFORE, showing(shown), HEAD.replace("signed_up", "purchase"))
    assert len(found) == 1 and '"got" is not known at first' in found[0], found


def test_nothing_is_said_of_a_step_that_could_not_be_read(tmp_path: Path) -> None:
    steps = "  - wait_for: {event: purchase, within: soon}\n    id: got\n  - send: email/hello\n"
    found = told(tmp_path, steps, showing("{{ got.sku }}"))
    assert len(found) == 1 and "soon" in found[0]
