"""SendGrid, against a fake of it with a ledger of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from engine.channels.base import Accepted, ConfigurationError, InDoubt, Refused, Sender, Surroundings
from engine.channels.sendgrid import SendGrid, SendGridOptions
from tests.channels.conftest import MAIL, FakeSendGrid, outgoing
from tests.patience import PATIENCE, eventually

PATIENT = SendGridOptions().model_copy(update={"timeout": PATIENCE})


@pytest.fixture
def channel(sendgrid: FakeSendGrid) -> Iterator[SendGrid]:
    channel = SendGrid("SG.test", sendgrid.url, PATIENT)
    yield channel
    channel.close()


def test_the_mail_arrives_as_documented(channel: SendGrid, sendgrid: FakeSendGrid) -> None:
    message = outgoing(sender=Sender("Duka", "hello@duka.example", "team@duka.example"))
    assert channel.send(message) == Accepted("sg-1")
    (mail,) = sendgrid.taken()
    (person,) = mail["personalizations"]
    assert person["to"] == [{"email": "amina@shop.example", "name": "Amina"}]
    assert person["custom_args"] == {"karibu_ref": "msg-0000000001"}
    assert mail["from"] == {"email": "hello@duka.example", "name": "Duka"}
    assert mail["reply_to"] == {"email": "team@duka.example"}
    assert mail["subject"] == MAIL.subject
    assert mail["content"] == [
        {"type": "text/plain", "value": MAIL.text},
        {"type": "text/html", "value": MAIL.html},
    ]
    assert person["headers"]["List-Unsubscribe"] == "<https://mail.duka.example/u/token>"
    assert person["headers"]["Message-ID"] == "<msg-0000000001@duka.example>"
    assert mail["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["tracking_settings"]["subscription_tracking"] == {"enable": False}


@pytest.mark.parametrize(
    ("mode", "reason", "again"),
    [
        ("429", "rate_limited", timedelta(seconds=7)),
        ("429-date", "rate_limited", timedelta(minutes=2)),
        ("400", "provider: 400 subject", None),
        ("401", "provider_key: 401", timedelta(minutes=10)),
    ],
)
def test_a_definite_no_is_refused_and_nothing_was_sent(
    mode: str, reason: str, again: timedelta | None, channel: SendGrid, sendgrid: FakeSendGrid
) -> None:
    sendgrid.mode(mode)
    assert channel.send(outgoing()) == Refused(reason, again)
    assert sendgrid.taken() == []


@pytest.mark.parametrize(
    ("mode", "sent"), [("500", 0), ("accept-500", 1), ("hang", 1), ("accept-reset", 1), ("reset", 0)]
)
def test_what_may_have_been_sent_is_in_doubt(mode: str, sent: int, sendgrid: FakeSendGrid) -> None:
    channel = SendGrid("SG.test", sendgrid.url, SendGridOptions(timeout=1) if mode == "hang" else PATIENT)
    sendgrid.mode(mode)
    assert isinstance(channel.send(outgoing()), InDoubt)
    channel.close()
    eventually(lambda: len(sendgrid.taken()) == sent)  # who hangs may take it after we have gone


def test_a_refusal_tells_no_address(channel: SendGrid, sendgrid: FakeSendGrid) -> None:
    sendgrid.mode("400")
    assert "shop.example" not in repr(channel.send(outgoing()))


def test_nobody_there_is_a_refusal_that_may_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    channel = SendGrid("SG.test", f"http://127.0.0.1:{port}", PATIENT)
    result = channel.send(outgoing())
    channel.close()
    assert isinstance(result, Refused) and result.reason == "unreachable" and result.retry_after


def test_after_a_failure_the_next_mail_goes_out(channel: SendGrid, sendgrid: FakeSendGrid) -> None:
    sendgrid.mode("accept-reset")
    channel.send(outgoing())
    sendgrid.mode("accept")
    assert isinstance(channel.send(outgoing(ref="msg-2")), Accepted)


def test_without_a_key_it_does_not_open(tmp_path: object, sendgrid: FakeSendGrid) -> None:
    def none(name: str) -> str | None:
        return None

    with pytest.raises(ConfigurationError, match="API key"):
        SendGrid.open(SendGridOptions(), Surroundings(mail=sendgrid.ledger.parent, secret=none, setting=none))
