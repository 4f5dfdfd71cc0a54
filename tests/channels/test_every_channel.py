"""What every channel must do, whoever carries it. A new channel is found by its decorator and tested here unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.builtins import registry
from engine.channels.base import Accepted, Channel, Outgoing, Refused, Surroundings
from engine.language.registry import declared
from tests.channels.conftest import PUSH, SMS, FakeSendGrid, outgoing

CLASSES: dict[str, Any] = dict(registry().channels)
MESSAGES = {"email": outgoing, "sms": lambda **c: outgoing(channel="sms", to="+254700000001", content=SMS, **c)}
MESSAGES["push"] = lambda **c: outgoing(channel="push", to="device-token", content=PUSH, **c)


@pytest.fixture(params=[(name, carried) for name, one in CLASSES.items() for carried in sorted(one.carries)])
def case(request: Any, tmp_path: Path, sendgrid: FakeSendGrid) -> tuple[Channel, Callable[..., Outgoing]]:
    name, carried = request.param
    settings = {"sendgrid_api_key": "SG.test", "sendgrid_base_url": sendgrid.url}
    surroundings = Surroundings(mail=tmp_path / "mail", secret=settings.get, setting=settings.get)
    cls = CLASSES[name]
    channel = cls.open(cls.Options(), surroundings)
    request.addfinalizer(channel.close)
    return channel, MESSAGES[carried]


def test_a_channel_is_declared_under_its_name_and_says_what_it_carries() -> None:
    for name, cls in CLASSES.items():
        mark = declared(cls)
        assert mark is not None and mark.kind == "channel" and mark.name == name
        assert isinstance(cls.idempotent, bool)
        assert cls.carries and cls.carries <= {"email", "sms", "push"}


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


def test_a_subject_that_would_start_a_header_is_refused_for_good(case: Any) -> None:
    channel, message = case
    if message is not outgoing:
        return
    for sneaky in ("Hi\r\nBcc: all@shop.example", "Hi\nX: y", "Hi\x00", "Hi\u2028there"):
        content = type(outgoing().content)(subject=sneaky, html="<p>x</p>", text="x")
        result = channel.send(message(content=content))
        assert isinstance(result, Refused) and result.retry_after is None, sneaky


def test_an_address_that_is_none_is_refused_for_good(case: Any) -> None:
    channel, message = case
    if message is not outgoing:
        return
    for wrong in ("amina", "amina@", "@shop.example", "a b@shop.example", "a@x.example\r\nBcc: b@x.example", "a@x,b@y"):
        result = channel.send(message(to=wrong))
        assert isinstance(result, Refused) and result.retry_after is None, wrong


def test_an_id_that_could_leave_its_place_never_reaches_a_channel() -> None:
    for ref in ("", "../x", "a/b", "a.b", "a\n", "é", "x" * 101):
        with pytest.raises(ValueError):
            outgoing(ref=ref)
