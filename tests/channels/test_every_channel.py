"""What every channel must do, whoever carries it. A new channel is found by its decorator and tested here unasked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from engine.builtins import registry
from engine.channels.base import (
    Accepted,
    Channel,
    ChannelOptions,
    InDoubt,
    Limits,
    Many,
    Outgoing,
    Refused,
    Result,
    Surroundings,
)
from engine.language.fields import CHANNELS
from engine.language.registry import declared
from tests.channels.cases import BUSY, CASES, INSIDE
from tests.channels.conftest import PUSH, SMS, FakeProvider, Words, fake, outgoing
from tests.channels.pushed import Browser

CLASSES: dict[str, Any] = dict(registry().channels)
OTHERS: dict[str, dict[str, Any]] = {
    "email": {},
    "sms": {"to": "+254700000001", "content": SMS},
    "whatsapp": {"to": "+254700000001", "content": SMS},
    "push": {"to": "device-token", "content": PUSH},
    "telegram": {"to": "123456789", "content": SMS},
    "team": {"to": "ops"},
}
Message = Callable[..., Outgoing]


def ways(names: Iterable[str]) -> list[tuple[str, str]]:
    """Each of these channels with each that it carries."""
    return [(name, carried) for name in names for carried in sorted(CLASSES[name].carries)]


def opened(name: str, carried: str, provider: FakeProvider | None, folder: Path) -> tuple[Channel, Message]:
    """A channel that sends to this provider, and what makes messages for it."""
    settings = {} if provider is None else CASES[name].settings(provider)
    surroundings = Surroundings(mail=folder / "mail", secret=settings.get, setting=settings.get)
    cls = CLASSES[name]
    given = {"channel": carried, **OTHERS[carried]}
    if name == "webpush" and provider is not None:
        given["to"] = Browser.of(provider.url).subscription
    return cls.open(cls.Options(), surroundings), lambda **changes: outgoing(**{**given, **changes})


@pytest.fixture(params=ways(CLASSES))
def case(request: Any, tmp_path: Path) -> Iterator[tuple[Channel, Message]]:
    name, carried = request.param
    with fake(CASES[name].provider, tmp_path) if name in CASES else nullcontext() as provider:
        channel, message = opened(name, carried, provider, tmp_path)
        yield channel, message
        channel.close()


def test_every_channel_that_asks_somebody_says_how_they_go_wrong() -> None:
    """A channel of somebody else's that is installed is among them: its case goes into cases.py."""
    assert set(CLASSES) - INSIDE == set(CASES)


@pytest.mark.parametrize(("name", "carried"), ways(CASES))
def test_a_provider_that_goes_wrong_is_no_for_now_or_in_doubt_and_never_sent(
    name: str, carried: str, tmp_path: Path
) -> None:
    told = CASES[name]
    with fake(told.provider, tmp_path) as provider:
        for fault, mode in told.fails.items():
            channel, message = opened(name, carried, provider, tmp_path)
            provider.mode(mode)
            result = channel.send(message())
            channel.close()
            if fault == BUSY and told.sure:
                assert isinstance(result, Refused) and result.retry_after and result.ends is None, (fault, result)
            else:
                assert isinstance(result, InDoubt), (fault, result)


@pytest.mark.parametrize(("name", "carried"), ways(CASES))
def test_where_nobody_is_nothing_was_sent_and_it_may_be_tried_again(name: str, carried: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        channel, message = opened(name, carried, FakeProvider(free.getsockname()[1], tmp_path / "none"), tmp_path)
        result = channel.send(message())
        channel.close()
    if CASES[name].sure:
        assert isinstance(result, Refused) and result.retry_after and result.ends is None, result
    else:
        assert isinstance(result, InDoubt), result


def test_a_channel_is_declared_under_its_name_and_says_what_it_carries() -> None:
    for name, cls in CLASSES.items():
        mark = declared(cls)
        assert mark is not None and mark.kind == "channel" and mark.name == name
        assert isinstance(cls.idempotent, bool)
        assert cls.carries and cls.carries <= {*CHANNELS, "team"}
        assert isinstance(cls.limits, Limits) and cls.limits.batch >= 1 and cls.limits.at_once >= 1
        assert issubclass(cls.Options, ChannelOptions)
        assert cls.__doc__ and cls.Options.__doc__


def test_a_good_message_is_accepted_under_an_id(case: Any) -> None:
    channel, message = case
    result = channel.send(message())
    assert isinstance(result, Accepted)
    assert result.provider_id


def test_the_same_message_may_be_sent_again(case: Any) -> None:
    channel, message = case
    assert isinstance(channel.send(message()), Accepted)
    assert isinstance(channel.send(message()), Accepted)


def test_a_transactional_message_needs_no_way_out(case: Any) -> None:
    channel, message = case
    assert isinstance(channel.send(message(transactional=True, unsubscribe_url=None)), Accepted)


def test_a_wave_is_settled_once_each_and_in_its_places(case: Any) -> None:
    channel, message = case
    if not isinstance(channel, Many):
        return
    wave = [message(ref=f"msg-{n}") for n in range(30)]
    wave[7] = message(ref="msg-7", to="")
    settled: dict[int, Result] = {}

    def settle(at: int, result: Result) -> None:
        assert at not in settled
        settled[at] = result

    channel.send_many(wave, lambda: True, settle)
    assert sorted(settled) == list(range(30))
    assert isinstance(settled.pop(7), Refused)
    assert all(isinstance(one, Accepted) for one in settled.values())


def test_what_is_not_fresh_stays_and_nothing_is_told_of_it(case: Any) -> None:
    channel, message = case
    if not isinstance(channel, Many):
        return
    settled: list[int] = []
    channel.send_many([message(ref=f"msg-{n}") for n in range(5)], lambda: False, lambda at, _: settled.append(at))
    assert settled == []


def test_a_channel_that_is_closed_twice_or_before_it_sent_is_closed(case: Any) -> None:
    channel, _ = case
    channel.close()
    channel.close()


def test_a_subject_that_would_start_a_header_is_refused_for_good(case: Any) -> None:
    channel, message = case
    if message().channel != "email":
        return
    for sneaky in ("Hi\r\nBcc: all@shop.example", "Hi\nX: y", "Hi\x00", "Hi\u2028there"):
        content = Words(subject=sneaky, html="<p>x</p>", text="x")
        result = channel.send(message(content=content))
        assert isinstance(result, Refused) and result.retry_after is None, sneaky


def test_an_address_that_is_none_is_refused_for_good(case: Any) -> None:
    channel, message = case
    if message().channel != "email":
        return
    for wrong in ("amina", "amina@", "@shop.example", "a b@shop.example", "a@x.example\r\nBcc: b@x.example", "a@x,b@y"):
        result = channel.send(message(to=wrong))
        assert isinstance(result, Refused) and result.retry_after is None, wrong


def test_an_id_that_could_leave_its_place_never_reaches_a_channel() -> None:
    for ref in ("", "../x", "a/b", "a.b", "a\n", "é", "x" * 101):
        with pytest.raises(ValueError):
            outgoing(ref=ref)
