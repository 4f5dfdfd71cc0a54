"""The files that maildir writes."""

from __future__ import annotations

import email
import email.policy
import json
import os
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from engine.channels import mime
from engine.channels.base import Accepted, InDoubt, Refused, Sender
from engine.channels.maildir import Maildir
from tests.channels.conftest import MAIL, PUSH, SMS, Words, outgoing


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_a_mail_reads_back_as_it_was_given(tmp_path: Path) -> None:
    result = Maildir(tmp_path).send(outgoing())
    assert result == Accepted("msg-0000000001.eml")
    raw = (tmp_path / "email" / "msg-0000000001.eml").read_bytes()
    mail = parsed(raw)
    assert mail["Subject"] == "Karibu, Ամինա"
    assert mail["From"] == "Duka <hello@duka.example>"
    assert mail["To"] == "Amina <amina@shop.example>"
    assert mail["Message-ID"] == "<msg-0000000001@duka.example>"
    assert mail["Date"].datetime == outgoing().at
    assert mail["List-Unsubscribe"] == "<https://mail.duka.example/u/token>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert plain.get_content() == MAIL.text
    assert html.get_content() == MAIL.html


def test_every_line_is_short_and_ends_in_crlf(tmp_path: Path) -> None:
    names: dict[str, Any] = {"subject": "Բարի գալուստ " * 20, "html": "é" * 5000, "text": "x" * 5000}
    raw = mime.build(outgoing(content=Words(**names), to_name='Ամինա Ա., "Mama" ' * 6))
    lines = raw.split(b"\n")
    assert all(line.endswith(b"\r") for line in lines[:-1])
    assert max(map(len, lines)) <= 200
    assert raw.isascii()
    assert parsed(raw)["Subject"].strip() == names["subject"].strip()


@pytest.mark.parametrize("name", ["Duka, Ltd.", 'The "Shop"', "O'Neil (HQ)", "Ամինա", "a\\b", "=?utf-8?b?eA==?=", ""])
def test_any_name_survives_in_the_header(name: str) -> None:
    mail = parsed(mime.build(outgoing(sender=Sender(name, "hello@duka.example"), to_name=name)))
    assert mail["From"].addresses[0].display_name == name
    assert mail["To"].addresses[0].addr_spec == "amina@shop.example"


def test_a_mail_without_html_is_plain_text() -> None:
    mail = parsed(mime.build(outgoing(content=Words(subject="Hi", text="hello\n"))))
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content() == "hello\n"


def test_a_transactional_mail_has_no_list_headers() -> None:
    mail = parsed(mime.build(outgoing(unsubscribe_url=None, transactional=True)))
    assert mail["List-Unsubscribe"] is None and mail["List-Unsubscribe-Post"] is None


def test_an_address_in_another_script_goes_out_in_punycode() -> None:
    mail = parsed(mime.build(outgoing(to="amina@խանութ.example")))
    assert mail["To"].addresses[0].domain.startswith("xn--")


def test_sms_and_push_are_one_json_line(tmp_path: Path) -> None:
    channel = Maildir(tmp_path)
    channel.send(outgoing(channel="sms", to="+254700000001", content=SMS))
    channel.send(outgoing(channel="push", to="device", content=PUSH))
    sms = (tmp_path / "sms" / "msg-0000000001.json").read_text()
    push = (tmp_path / "push" / "msg-0000000001.json").read_text()
    assert sms.count("\n") == push.count("\n") == 1
    assert json.loads(sms) | {"at": None} == {
        "ref": "msg-0000000001", "channel": "sms", "to": "+254700000001", "from": "Duka", "topic": "offers",
        "at": None, "text": "Karibu, Amina",
    }  # fmt: skip
    assert json.loads(push)["title"] == "Karibu" and json.loads(push)["url"] == "https://duka.example/shop"


def test_a_repeat_overwrites_and_leaves_nothing_behind(tmp_path: Path) -> None:
    channel = Maildir(tmp_path)
    channel.send(outgoing())
    channel.send(outgoing())
    assert [path.name for path in (tmp_path / "email").iterdir()] == ["msg-0000000001.eml"]
    assert not list((tmp_path / "tmp").iterdir())


def test_before_the_rename_nothing_was_sent(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    channel = Maildir(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    result = channel.send(outgoing())
    assert isinstance(result, Refused) and result.retry_after
    assert not list((tmp_path / "email").iterdir()) and not list((tmp_path / "tmp").iterdir())


def test_after_the_rename_a_failing_disk_leaves_it_in_doubt(tmp_path: Path, monkeypatch: Any) -> None:
    real = os.fsync
    calls: list[int] = []

    def second_fails(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", second_fails)
    assert isinstance(Maildir(tmp_path).send(outgoing()), InDoubt)
    assert (tmp_path / "email" / "msg-0000000001.eml").exists()
