"""The relay's words and silences, against a relay of our own with a ledger."""

from __future__ import annotations

import email
import email.policy
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.channels.base import Accepted, ConfigurationError, InDoubt, Outgoing, Refused, Result, Surroundings
from engine.channels.smtp import Smtp, SmtpOptions
from engine.channels.smtp_line import Relay
from engine.runtime.waves import FRESH
from tests.channels.certificates import certificate
from tests.channels.conftest import MAIL, FakeProvider, Words, fake, outgoing
from tests.patience import PATIENCE, eventually


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[FakeProvider]:
    with fake("fake_smtp", tmp_path, *map(str, certificate(tmp_path))) as running:
        yield running


@pytest.fixture
def opened(relay: FakeProvider, request: Any) -> Callable[..., Smtp]:
    """Makes channels to the relay."""

    def make(security: str = "none", username: str = "", password: str = "sesame", **options: Any) -> Smtp:
        ca_file = str(relay.ledger.parent / "certificate.pem")
        where = Relay("localhost", relay.port, security, username, password, ca_file)
        channel = Smtp(where, SmtpOptions.model_validate({"timeout": 120, **options}))
        request.addfinalizer(channel.close)
        return channel

    return make


def wave(channel: Smtp, messages: list[Outgoing], fresh: Callable[[], bool] = lambda: True) -> dict[int, Result]:
    settled: dict[int, Result] = {}

    def settle(at: int, result: Result) -> None:
        assert at not in settled, "told twice"
        settled[at] = result

    channel.send_many(messages, fresh, settle)
    return settled


def crowd(count: int, **changes: Any) -> list[Outgoing]:
    return [outgoing(ref=f"msg-{n}", to=f"c{n}@shop.example", **changes) for n in range(count)]


def test_a_mail_arrives_whole_under_our_own_id(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    assert opened(bounces="bounces@duka.example").send(outgoing()) == Accepted("msg-0000000001@duka.example")
    (taken,) = relay.taken()
    assert (taken["from"], taken["to"]) == ("bounces@duka.example", ["amina@shop.example"])
    mail: Any = email.message_from_string(taken["content"], policy=email.policy.default)
    assert mail["Message-ID"] == "<msg-0000000001@duka.example>"
    assert [part.get_content() for part in mail.iter_parts()] == [MAIL.text, MAIL.html]


@pytest.mark.parametrize("manner", ["", "slow"])
def test_a_wave_leaves_over_a_few_lines_each_mail_once(
    manner: str, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode(manner)
    settled = wave(opened(connections=3), crowd(40))
    assert settled == {n: Accepted(f"msg-{n}@duka.example") for n in range(40)}
    assert sorted(one["to"][0] for one in relay.taken()) == sorted(f"c{n}@shop.example" for n in range(40))


@pytest.mark.parametrize("manner", ["", "slow"])
def test_one_unknown_recipient_costs_the_others_nothing(
    manner: str, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode(f"unknown {manner}")
    messages = crowd(9)
    messages[4] = outgoing(ref="msg-4", to="nobody@shop.example")
    settled = wave(opened(connections=1), messages)
    assert settled.pop(4) == Refused("provider: 550 5.1.1", ends="bounced")
    assert len(settled) == 8 and all(isinstance(one, Accepted) for one in settled.values())
    assert len(relay.taken()) == 8


@pytest.mark.parametrize(
    ("mode", "reason", "again"),
    [
        ("greylist", "provider: 450 4.7.1", True),
        ("full", "provider: 452 4.2.2", True),
        ("spam", "provider: 550 5.7.1", False),
        ("busy", "provider: 421 4.3.2", True),
        ("login", "provider_key: 530 5.7.0", True),
        ("reset", "unreachable", True),
        ("small", "too_large", False),
    ],
)
def test_a_no_is_a_no_and_nothing_was_sent(
    mode: str, reason: str, again: bool, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode(mode)
    result = opened().send(outgoing(content=Words(subject="Hi", text="x" * 1000)))
    assert isinstance(result, Refused)
    assert (result.reason, result.retry_after is not None) == (reason, again)
    assert relay.taken() == []


@pytest.mark.parametrize("manner", ["", "slow"])
def test_an_address_is_ended_only_by_a_word_about_the_address(
    manner: str, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    channel = opened(connections=1)
    ended = {}
    about_it = ("rcpt-5.1.1", "rcpt-5.1.2", "rcpt-5.1.3", "rcpt-5.1.6", "rcpt-5.1.10", "rcpt-5.2.1")
    about_us = ("rcpt-", "rcpt-5.1.0", "rcpt-5.1.8", "rcpt-5.2.2", "rcpt-5.7.1", "rcpt-5.7.26", "rcpt-5.1.11")
    other = ("mail-5.1.1", "mail-5.1.0", "mail-5.7.1", "spam")
    for mode in (*about_it, *about_us, *other):
        relay.mode(f"{mode} {manner}")
        result = channel.send(outgoing())
        assert isinstance(result, Refused) and result.retry_after is None, mode
        ended[mode] = result.ends
    assert ended == dict.fromkeys(about_it, "bounced") | dict.fromkeys((*about_us, *other))
    assert relay.taken() == []


@pytest.mark.parametrize(("mode", "taken"), [("hang", 1), ("take-reset", 1), ("reset-data", 0)])
def test_silence_after_the_content_is_in_doubt(
    mode: str, taken: int, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode(mode)
    result = opened(timeout=3 if mode == "hang" else PATIENCE / 3).send(outgoing())
    # Whether the reset is seen before the content is written is the network's business: both answers are true.
    assert isinstance(result, InDoubt) or (mode == "reset-data" and isinstance(result, Refused) and result.retry_after)
    eventually(lambda: len(relay.taken()) == taken)


def test_in_a_wave_only_the_mail_under_way_is_in_doubt(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    relay.mode("take-reset")
    channel = opened(connections=1)
    settled = wave(channel, crowd(4))
    assert sum(isinstance(one, InDoubt) for one in settled.values()) == len(relay.taken()) == 4
    relay.mode("")
    assert isinstance(channel.send(outgoing()), Accepted)


def test_a_line_that_has_carried_its_share_is_replaced(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    relay.mode("tired")
    settled = wave(opened(connections=2), crowd(20))
    assert len(settled) == 20 and all(isinstance(one, Accepted) for one in settled.values())
    assert len({one["to"][0] for one in relay.taken()}) == len(relay.taken()) == 20


def test_what_is_not_fresh_does_not_leave(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    asked: list[int] = []

    def fresh() -> bool:
        asked.append(1)
        return len(asked) < 12

    settled = wave(opened(connections=1), crowd(50), fresh)
    assert 0 < len(settled) < 12
    eventually(lambda: len(relay.taken()) == len(settled))


def for_half_a_second() -> Callable[[], bool]:
    """Fresh, as the gate's word is."""
    asked = time.monotonic()
    return lambda: time.monotonic() - asked < FRESH.total_seconds()


@pytest.mark.parametrize("mode", ["ponder", "ponder slow"])
def test_a_relay_slower_than_the_gates_word_gets_each_mail_once(
    mode: str, opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode(mode)
    channel, left = opened(connections=2), crowd(5)
    for _ in range(20):  # as delivery does: what came too late is asked about and handed over again
        settled = wave(channel, left, for_half_a_second())
        assert all(isinstance(one, Accepted) for one in settled.values())
        left = [one for at, one in enumerate(left) if at not in settled]
        if not left:
            break
    assert not left
    assert sorted(one["to"] for one in relay.taken()) == [[f"c{n}@shop.example"] for n in range(5)]


def test_what_the_gate_stops_while_a_relay_ponders_does_not_leave(
    opened: Callable[..., Smtp], relay: FakeProvider
) -> None:
    relay.mode("ponder")
    channel = opened(connections=2)
    assert wave(channel, crowd(2), for_half_a_second()) == {}
    relay.mode("")
    moved = outgoing(ref="msg-1", to="elsewhere@shop.example")  # they told another address in between
    settled = wave(channel, [moved, outgoing(ref="msg-2", to="c2@shop.example")])
    assert all(isinstance(one, Accepted) for one in settled.values()) and len(settled) == 2
    assert sorted(one["to"] for one in relay.taken()) == [["c2@shop.example"], ["elsewhere@shop.example"]]


def test_the_line_is_secured_and_the_sender_logs_in(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    relay.mode("tls login")
    settled = wave(opened("starttls", "duka", connections=1), crowd(3))
    assert all(isinstance(one, Accepted) for one in settled.values())
    assert [one["secure"] for one in relay.taken()] == [True] * 3


def test_a_wrong_password_is_no_fault_of_the_mail(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    relay.mode("tls login")
    result = opened("starttls", "duka", "wrong").send(outgoing())
    assert isinstance(result, Refused) and result.reason == "provider_key: 535 5.7.8" and result.retry_after


def test_without_the_tls_it_was_promised_nothing_is_sent(opened: Callable[..., Smtp], relay: FakeProvider) -> None:
    result = opened("starttls", "duka").send(outgoing())  # the relay offers none
    assert isinstance(result, Refused) and result.retry_after
    assert relay.taken() == []


def test_a_certificate_of_somebody_else_is_not_trusted(relay: FakeProvider) -> None:
    relay.mode("tls")
    channel = Smtp(Relay("localhost", relay.port, "starttls"), SmtpOptions())
    result = channel.send(outgoing())
    channel.close()
    assert isinstance(result, Refused) and result.reason == "unreachable" and relay.taken() == []


def test_a_line_that_begins_with_a_dot_arrives_with_it(
    opened: Callable[..., Smtp], relay: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.channels.mime.build", lambda message: b"Subject: x\r\n\r\n.\r\n..two\r\nend\r\n")
    assert isinstance(opened().send(outgoing()), Accepted)
    assert relay.taken()[0]["content"] == "Subject: x\r\n\r\n.\r\n..two\r\nend\r\n"


def test_nobody_there_is_a_refusal_that_may_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    channel = Smtp(Relay("127.0.0.1", port, "none"), SmtpOptions())
    result = channel.send(outgoing())
    channel.close()
    assert isinstance(result, Refused) and result.reason == "unreachable" and result.retry_after


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "KARIBU_SMTP_HOST"),
        ({"smtp_host": "mail.example", "smtp_security": "ssl"}, "starttls, tls or none"),
        ({"smtp_host": "mail.example", "smtp_security": "none", "smtp_username": "duka"}, "in the clear"),
    ],
)
def test_what_is_set_wrongly_is_told_before_anything_is_sent(
    settings: dict[str, str], word: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Smtp.open(SmtpOptions(), Surroundings(mail=tmp_path, secret=settings.get, setting=settings.get))


def test_the_password_is_in_no_text_of_the_relay() -> None:
    assert "sesame" not in repr(Relay("mail.example", 587, "starttls", "duka", "sesame"))
