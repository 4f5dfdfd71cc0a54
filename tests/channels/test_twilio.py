"""Texts and WhatsApp messages, as Twilio documents them, and its errors in our words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from engine.channels.base import Accepted, ConfigurationError, InDoubt, Outgoing, Refused, Surroundings
from engine.channels.sms_parts import parts
from engine.channels.twilio import Account, Twilio, TwilioOptions
from engine.rendering.renderer import Renderer
from engine.rendering.values import BrokenTemplate, Links
from tests.channels.conftest import SMS, FakeProvider, Words, body, fake, outgoing
from tests.patience import PATIENCE, eventually

ACCOUNT = Account("AC123", "token", "+254700000000", "https://duka.example")


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[FakeProvider]:
    with fake("fake_http", tmp_path) as running:
        yield running


@pytest.fixture
def channel(provider: FakeProvider) -> Iterator[Twilio]:
    channel = Twilio(ACCOUNT, provider.url, TwilioOptions().model_copy(update={"timeout": PATIENCE}))
    yield channel
    channel.close()


def text(**changes: Any) -> Outgoing:
    return outgoing(**{"channel": "sms", "to": "+254700000001", "content": SMS, **changes})


def forms(provider: FakeProvider) -> list[dict[str, str]]:
    return [dict(parse_qsl(body(one).decode())) for one in provider.taken()]


def test_a_text_arrives_as_documented_and_is_called_back_under_our_id(channel: Twilio, provider: FakeProvider) -> None:
    assert channel.send(text()) == Accepted(f"SM{1:032x}")
    assert provider.taken()[0]["path"] == "/2010-04-01/Accounts/AC123/Messages.json"
    assert forms(provider) == [
        {
            "To": "+254700000001",
            "From": "+254700000000",
            "Body": "Karibu, Amina",
            "StatusCallback": "https://duka.example/hooks/twilio/events?ref=msg-0000000001",
        }
    ]


def test_a_whatsapp_message_is_an_approved_content_and_its_variables(channel: Twilio, provider: FakeProvider) -> None:
    content = Words(template_id="HX" + "0" * 32, variables={"1": "Amina", "2": "D-1"})
    assert isinstance(channel.send(text(channel="whatsapp", content=content)), Accepted)
    (form,) = forms(provider)
    assert (form["To"], form["From"]) == ("whatsapp:+254700000001", "whatsapp:+254700000000")
    assert form["ContentSid"] == "HX" + "0" * 32 and json.loads(form["ContentVariables"]) == {"1": "Amina", "2": "D-1"}
    assert "Body" not in form


def test_a_messaging_service_sends_in_place_of_a_number(provider: FakeProvider) -> None:
    channel = Twilio(Account("AC123", "token", "MG77"), provider.url)
    channel.send(text())
    channel.close()
    (form,) = forms(provider)
    assert form["MessagingServiceSid"] == "MG77" and "From" not in form and "StatusCallback" not in form


@pytest.mark.parametrize(
    ("status", "code", "result"),
    [
        (400, 21610, Refused("stop", ends="stop")),
        (400, 21211, Refused("bad_address", ends="bounced")),
        (400, 21614, Refused("bad_address", ends="bounced")),
        (429, 20429, Refused("rate_limited", timedelta(seconds=30))),
        (400, 21611, Refused("rate_limited", timedelta(seconds=30))),
        (401, 20003, Refused("provider_key: 401", timedelta(minutes=10))),
        (400, 21408, Refused("provider: 400 21408")),
        (400, None, Refused("provider: 400")),
    ],
)
def test_their_errors_in_our_words(
    status: int, code: int | None, result: Refused, channel: Twilio, provider: FakeProvider
) -> None:
    provider.mode(json.dumps({"status": status, "body": {"code": code, "message": "+254700000001 is wrong"}}))
    assert channel.send(text()) == result
    assert provider.taken() == []


@pytest.mark.parametrize(("mode", "taken"), [("hang", 1), ("take-reset", 1), ("reset", 0)])
def test_a_silence_is_in_doubt(mode: str, taken: int, provider: FakeProvider) -> None:
    options = TwilioOptions(timeout=2 if mode == "hang" else 60)
    channel = Twilio(ACCOUNT, provider.url, options)
    provider.mode(mode)
    assert isinstance(channel.send(text()), InDoubt)
    channel.close()
    eventually(lambda: len(provider.taken()) == taken)


@pytest.mark.parametrize("answer", [{"status": 503}, {"status": 201, "body": "x"}, {"status": 200, "body": {"sid": 7}}])
def test_an_answer_that_tells_nothing_is_in_doubt(answer: Any, channel: Twilio, provider: FakeProvider) -> None:
    provider.mode(json.dumps(answer))
    assert isinstance(channel.send(text()), InDoubt)


def test_what_could_not_be_sent_is_refused_before_it_costs_anything(channel: Twilio, provider: FakeProvider) -> None:
    assert channel.send(text(to="0700 000 001")) == Refused("bad_address")
    assert channel.send(text(content=Words())) == Refused("content: there is no text")
    assert channel.send(text(content=Words(text="x" * 1000))) == Refused("content: the text is too long")
    assert provider.taken() == []


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("", 1),
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("Ամ" * 35, 1),
        ("Ամ" * 35 + "ի", 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_parts_are_counted_as_carriers_count_them(said: str, count: int) -> None:
    assert parts(said) == count


def test_the_address_that_is_called_back_is_the_shops_own(tmp_path: Path) -> None:
    def form(**more: str) -> dict[str, str]:
        given = {"twilio_account_sid": "AC1", "twilio_auth_token": "t", "twilio_from": "+254700000000", **more}
        channel = Twilio.open(TwilioOptions(), Surroundings(tmp_path, given.get, given.get))
        return channel._form(text())

    own = {"public_url": "http://127.0.0.1:8000"}
    assert "StatusCallback" not in form(**own), "Twilio refuses what it can't reach"
    assert form(**own, base_url="https://duka.example/")["StatusCallback"].startswith("https://duka.example/hooks/")
    assert form(**own, twilio_base_url="http://127.0.0.1:9")["StatusCallback"].startswith("http://127.0.0.1:8000/")


def test_without_an_account_it_does_not_open(tmp_path: Path) -> None:
    for given in ({}, {"twilio_account_sid": "AC1"}, {"twilio_account_sid": "AC1", "twilio_auth_token": "t"}):
        with pytest.raises(ConfigurationError, match="KARIBU_TWILIO"):
            Twilio.open(TwilioOptions(), Surroundings(tmp_path, given.get, given.get))
    assert "token" not in repr(ACCOUNT)


BRAND = SimpleNamespace(name="Duka", address="1 Moi Avenue", timezone="Africa/Nairobi", locale="en", currency="KES")


def whatsapp(folder: Path, written: str) -> Renderer:
    (folder / "templates/whatsapp").mkdir(parents=True)
    (folder / "templates/whatsapp/order.yaml").write_text(written)
    return Renderer(folder, SimpleNamespace(brand=BRAND))


def test_a_whatsapp_template_names_a_content_and_fills_its_variables(tmp_path: Path) -> None:
    renderer = whatsapp(
        tmp_path,
        "content: HXb5b62575e6e4ff6129ad7c8efe1f983e\n"
        'variables: {1: "{{ customer.first_name }}", order: "{{ entry.order_id }}"}\ntext: "Order {{ entry.order_id }}"\n',
    )
    values = {"customer": {"first_name": "Amina"}, "entry": {"order_id": "D-1"}}
    done = renderer.render("whatsapp/order", None, values, Links())
    assert done.template_id == "HXb5b62575e6e4ff6129ad7c8efe1f983e"
    assert done.variables == {"1": "Amina", "order": "D-1"} and done.text == "Order D-1"
    assert renderer.needs("whatsapp/order").names == {"customer.first_name", "entry.order_id"}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("content: HX12\n", "templates/whatsapp/order.yaml:1 this is no id of a content"),
        ("variables: {1: x}\n", "templates/whatsapp/order.yaml:1 a WhatsApp message needs a content"),
        ("text: hi\nbody: x\n", 'templates/whatsapp/order.yaml:2 unknown key "body"'),
        ("text: hi\nvariables: [x]\n", "templates/whatsapp/order.yaml:2 variables are a mapping"),
        ("- x\n", "templates/whatsapp/order.yaml:1 a WhatsApp template is a mapping"),
        ("text: {{ x }}\n", "templates/whatsapp/order.yaml:1"),
    ],
)
def test_a_whatsapp_template_that_is_none_says_where(written: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenTemplate) as broken:
        whatsapp(tmp_path, written).needs("whatsapp/order")
    assert str(broken.value).startswith(told)
