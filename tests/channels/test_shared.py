"""Mails of one skeleton share a request, and each arrives as it was rendered for its reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.channels.base import Accepted, InDoubt, Outgoing, Refused, Result
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.rendering.renderer import Renderer
from engine.rendering.shared import shared
from engine.rendering.values import Links
from tests.channels.conftest import FakeProvider, outgoing
from tests.patience import PATIENCE

BRAND = SimpleNamespace(name="Duka", address="1 Moi Avenue", timezone="Africa/Nairobi", locale="en", currency="KES")
MAIL = """---
subject: "{{ customer.first_name }}, look"
---
<mjml><mj-body><mj-section><mj-column>
<mj-text>Dear {{ customer.first_name }} of {{ customer.city }} <b>{{ customer.first_name }}</b></mj-text>
<mj-text>{% if customer.vip %}You are {{ customer.tier }}.{% endif %}
{% for item in entry.items %}{{ item.name }}, {% endfor %}</mj-text>
<mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    (tmp_path / "templates/email").mkdir(parents=True)
    (tmp_path / "templates/email/mail.mjml").write_text(MAIL)
    return Renderer(tmp_path, SimpleNamespace(brand=BRAND))


@pytest.fixture
def channel(sendgrid: FakeProvider) -> Iterator[SendGrid]:
    channel = SendGrid("SG.test", sendgrid.url, SendGridOptions().model_copy(update={"timeout": PATIENCE}))
    yield channel
    channel.close()


def letter(renderer: Renderer, n: int, *, items: int = 2, **customer: Any) -> Outgoing:
    """A rendered mail to the n-th customer."""
    values = {
        "customer": {"first_name": f"Amina {n}", "city": "Lamu", "tier": "gold", "vip": False, **customer},
        "entry": {"items": [{"name": f"Coffee {n}-{k}"} for k in range(items)]},
    }
    url = f"https://mail.duka.example/u/{n}"
    content = renderer.render("email/mail", None, values, Links(unsubscribe=url))
    return outgoing(
        ref=f"msg-{n}", to=f"c{n}@shop.example", content=content, unsubscribe_url=url, shared=shared(content)
    )


def send(channel: SendGrid, wave: list[Outgoing]) -> dict[int, Result]:
    settled: dict[int, Result] = {}
    channel.send_many(wave, lambda: True, settled.__setitem__)
    return settled


def arrived(requests: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """What each reader finds: subject, text and HTML with the substitutions made, as their documentation says."""
    found = {}
    for request in requests:
        for person in request["personalizations"]:
            parts = [request["subject"], *(part["value"] for part in request["content"])]
            for place, value in person.get("substitutions", {}).items():
                parts = [part.replace(place, value) for part in parts]
            found[person["to"][0]["email"]] = (*parts, person["headers"]["List-Unsubscribe"])
    return found


def as_rendered(wave: list[Outgoing]) -> dict[str, tuple[str, ...]]:
    return {
        one.to: (one.content.subject, one.content.text, one.content.html, f"<{one.unsubscribe_url}>") for one in wave
    }


def test_mails_that_differ_in_values_share_a_request(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, n) for n in range(25)]
    assert send(channel, wave) == {n: Accepted("sg-1") for n in range(25)}
    (request,) = sendgrid.taken()
    assert arrived([request]) == as_rendered(wave)
    assert [one["custom_args"]["karibu_ref"] for one in request["personalizations"]] == [f"msg-{n}" for n in range(25)]


def test_who_takes_another_branch_or_bought_more_is_in_another_request(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, n, vip=n % 2 == 0, items=n % 3) for n in range(24)]
    assert len(send(channel, wave)) == 24
    assert len(sendgrid.taken()) == 6
    assert arrived(sendgrid.taken()) == as_rendered(wave)


@pytest.mark.parametrize(
    "name",
    ["[%kh1%]", "[%k", "<b>&amp;</b>", "  ", "", " Amina ", "{{ x }}", "$1 \\1", "Ամինա", "a\n\n\n\nb", "x" * 12_000],
)
def test_whatever_a_customer_is_called_everybody_reads_their_own_mail(
    name: str, renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, 0), letter(renderer, 1, city=name), letter(renderer, 2), letter(renderer, 3, tier=name)]
    settled = send(channel, wave)
    assert all(isinstance(one, Accepted) for one in settled.values())
    assert arrived(sendgrid.taken()) == as_rendered(wave)


def test_a_mail_that_is_none_costs_the_others_of_its_request_nothing(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, n) for n in range(5)]
    wave[2] = outgoing(ref="msg-2", to="nowhere", content=wave[2].content, shared=wave[2].shared)
    settled = send(channel, wave)
    assert isinstance(settled.pop(2), Refused)
    assert len(settled) == 4 and all(isinstance(one, Accepted) for one in settled.values())
    assert sorted(arrived(sendgrid.taken())) == [f"c{n}@shop.example" for n in (0, 1, 3, 4)]


@pytest.mark.parametrize(("mode", "kind"), [("accept-500", InDoubt), ("accept-reset", InDoubt), ("429", Refused)])
def test_what_becomes_of_a_request_becomes_of_each_mail_in_it(
    mode: str, kind: type, renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    sendgrid.mode(mode)
    settled = send(channel, [letter(renderer, n) for n in range(6)])
    assert len(settled) == 6 and all(isinstance(one, kind) for one in settled.values())
    assert len(sendgrid.taken()) == (0 if mode == "429" else 1)


def test_one_recipient_whom_they_refuse_costs_the_others_of_the_request_nothing(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, n) for n in range(25)]
    wave[7] = replace(wave[7], to="refused@shop.example")
    settled = send(channel, wave)
    assert settled.pop(7) == Refused("provider: 400 personalizations.0.to")
    assert len(settled) == 24 and all(isinstance(one, Accepted) for one in settled.values())
    refs = [person["custom_args"]["karibu_ref"] for one in sendgrid.taken() for person in one["personalizations"]]
    assert sorted(refs) == sorted(f"msg-{n}" for n in range(25) if n != 7)


def test_a_request_that_is_all_wrong_is_refused_mail_by_mail(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    sendgrid.mode("400")
    settled = send(channel, [letter(renderer, n) for n in range(6)])
    assert settled == {n: Refused("provider: 400 subject") for n in range(6)}
    assert sendgrid.taken() == []


def test_a_mail_whose_turn_to_go_alone_comes_too_late_stays(
    renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    wave = [letter(renderer, n) for n in range(4)]
    wave[1] = replace(wave[1], to="refused@shop.example")
    asked = iter([True])
    settled: dict[int, Result] = {}
    channel.send_many(wave, lambda: next(asked, False), settled.__setitem__)
    assert settled == {} and sendgrid.taken() == []


@pytest.mark.parametrize("mode", ["401", "429", "500"])
def test_what_is_no_fault_of_a_mail_takes_no_request_apart(
    mode: str, renderer: Renderer, channel: SendGrid, sendgrid: FakeProvider
) -> None:
    sendgrid.mode(mode)
    asked: list[int] = []

    def fresh() -> bool:
        asked.append(1)
        return True

    settled: dict[int, Result] = {}
    channel.send_many([letter(renderer, n) for n in range(6)], fresh, settled.__setitem__)
    assert len(asked) == 1 and len(settled) == 6


def test_a_request_holds_no_more_than_it_may(renderer: Renderer, sendgrid: FakeProvider) -> None:
    options = SendGridOptions(share=10).model_copy(update={"timeout": PATIENCE})
    channel = SendGrid("SG.test", sendgrid.url, options)
    assert len(send(channel, [letter(renderer, n) for n in range(25)])) == 25
    channel.close()
    assert sorted(len(request["personalizations"]) for request in sendgrid.taken()) == [5, 10, 10]
