"""Mail that came back: read as the standards have it, and believed where it names the address the message went to."""

from __future__ import annotations

import io
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from engine.app import App
from engine.channels.dsn import read
from engine.cli import main
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from engine.store import tables as t
from tests.returns.samples import NOW
from tests.scenarios.shop import FILES, PROJECT

JOURNEY = "journey: hello\ntopic: offers\nenter: {event: signed_up}\nsteps: [{send: email/a}]\n"
AMINA = "amina@shop.example"


def report(
    ref: str = "1-1",
    to: str = AMINA,
    action: str = "failed",
    status: str = "5.1.1",
    *,
    whole: bool = True,
    said: str = "",
) -> bytes:
    """A delivery report, with the mail it is about or only its headers."""
    quoted = f"From: hello@duka.example\r\nTo: {to}\r\nMessage-ID: <{ref}@duka.example>\r\nSubject: x\r\n\r\n"
    kind = "message/rfc822" if whole else "text/rfc822-headers"
    lines = [
        "Return-Path: <>",
        "Date: Mon, 02 Mar 2026 12:00:00 +0300",
        "From: MAILER-DAEMON@relay.example",
        "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
        "",
        "--b",
        "Content-Type: text/plain",
        "",
        f"Your mail to <{to}> came back.",
        "--b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; relay.example",
        "",
        f"Final-Recipient: rfc822; {to}",
        f"Action: {action}",
        f"Status: {status}",
        *([f"Diagnostic-Code: {said}"] if said else []),
        "",
        "--b",
        f"Content-Type: {kind}",
        "",
        quoted + ("the text" if whole else ""),
        "--b--",
        "",
    ]
    return "\r\n".join(lines).encode()


def complaint(ref: str = "1-1", to: str = AMINA) -> bytes:
    """A complaint as a mailbox provider sends it."""
    return (
        report(ref, to)
        .replace(b"report-type=delivery-status", b"report-type=feedback-report")
        .replace(b"message/delivery-status", b"message/feedback-report")
        .replace(b"Reporting-MTA: dns; relay.example\r\n\r\n", b"Feedback-Type: abuse\r\nUser-Agent: Box/1\r\n")
    )


@pytest.mark.parametrize("whole", [True, False], ids=["with the mail", "with its headers"])
@pytest.mark.parametrize(
    ("action", "status", "said", "kind", "detail"),
    [
        ("failed", "5.1.1", "", "bounced", {"status": "5.1.1"}),
        ("Failed", "5.1.10 (no mail here)", "", "bounced", {"status": "5.1.10"}),
        ("failed", "5.0.0", "smtp; 550 5.1.1 no such user", "bounced", {"status": "5.1.1"}),
        ("failed", "5.0.0", "smtp; 550 go away", "bounced", {"status": "5.0.0", "soft": True}),
        ("failed", "5.2.2", "", "bounced", {"status": "5.2.2", "soft": True}),
        ("failed", "5.7.1", "", "bounced", {"status": "5.7.1", "soft": True}),
        ("failed", "4.4.7", "", "bounced", {"status": "4.4.7", "soft": True}),
        ("failed", "", "", "bounced", {"soft": True}),
        ("delayed", "4.4.1", "", "deferred", {"status": "4.4.1"}),
        ("delivered", "2.1.5", "", "delivered", {"status": "2.1.5"}),
    ],
)
def test_a_report_is_read_in_our_words(
    action: str, status: str, said: str, kind: str, detail: dict[str, Any], whole: bool
) -> None:
    (one,) = read(report("12-3-fallback", action=action, status=status, said=said, whole=whole))
    assert (one.ref, one.kind, one.address, one.detail) == ("12-3-fallback", kind, AMINA, detail)
    assert one.at == NOW


def test_a_complaint_is_read_as_one() -> None:
    (one,) = read(complaint())
    assert (one.ref, one.kind, one.address) == ("1-1", "complained", AMINA)


def test_a_report_of_the_standard_librarys_own_making_is_read() -> None:
    """Written by another hand than the reports above."""
    inner, fields, recipient = Message(), Message(), Message()
    inner["Message-ID"], inner["To"] = "<7-1@duka.example>", AMINA
    inner.set_payload("hello")
    fields["Reporting-MTA"] = "dns; relay.example"
    recipient["Final-Recipient"], recipient["Action"], recipient["Status"] = f"rfc822;{AMINA}", "failed", "5.1.1"
    status = MIMEBase("message", "delivery-status")
    status.set_payload([fields, recipient])
    whole = MIMEMultipart("report", report_type="delivery-status")
    whole["Date"] = "Mon, 02 Mar 2026 09:00:00 +0000"
    for part in (MIMEText("It came back."), status, MIMEMessage(inner)):
        whole.attach(part)
    (one,) = read(whole.as_bytes())
    assert (one.ref, one.kind, one.address, one.at) == ("7-1", "bounced", AMINA, NOW)


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"Subject: out of office\r\n\r\nI am away.",
        report().replace(b"multipart/report", b"multipart/mixed"),
        report().replace(b"Message-ID", b"X-Other"),
        report().replace(b"Final-Recipient", b"X-Other"),
        report(action="relayed"),
        report().replace(b"Content-Type: message/rfc822", b"Content-Type: message/rfc822; charset=\xff"),
        report()[:400],
    ],
)
def test_any_other_mail_says_nothing_or_no_more_than_it_has(mail: bytes) -> None:
    assert [one.kind for one in read(mail)] in ([], ["bounced"])


@given(places=st.lists(st.tuples(st.integers(0, 2_000), st.binary(max_size=3)), max_size=8))
def test_a_report_that_is_damaged_anywhere_is_read_or_left(places: list[tuple[int, bytes]]) -> None:
    mail = report()
    for place, other in places:
        mail = mail[:place] + other + mail[place + 1 :]
    for one in read(mail):
        assert one.kind in ("bounced", "deferred", "delivered")


def test_a_report_nested_without_end_is_left() -> None:
    assert read(report().replace(b"the text", b"Content-Type: message/rfc822\r\n\r\n" * 20_000)) is not None


@pytest.fixture
def shop(
    project: Callable[..., Path], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[App, Callable[..., tuple[int, str]]]:
    """A shop that has sent Amina a mail, and `karibu bounces` with a mail at its input."""
    root = project({"workflows/project.yaml": PROJECT.replace("memory", "maildir"), **FILES, "workflows/h.yaml": ""})
    (root / "workflows/h.yaml").rename(root / "workflows/hello.yaml")
    (root / "workflows/hello.yaml").write_text(JOURNEY)
    monkeypatch.setenv("KARIBU_DATABASE_URL", sqlite_url)
    app = App(Settings.of(root), VirtualClock(NOW))
    app.runtime.publish()
    problems: Any = type("Nothing", (), {"found": {}})()
    person = app.door.profile({"email": AMINA, "consent": ["email/offers"]}, problems)
    app.runtime.ingest([Incoming("amina", "signed_up", "1", NOW, {}, person)])
    app.runtime.advance()

    def bounces(mail: bytes, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mail)))
        with pytest.raises(SystemExit) as left:
            main(["-C", str(root), "bounces", "-"], VirtualClock(NOW))
        told = capsys.readouterr()
        return int(left.value.code or 0), (told.out + told.err).strip()

    return app, bounces


def sealed(app: App) -> str:
    """What stands before the @ in the Message-ID of the mail that Amina got."""
    (mail,) = (app.settings.mail / "email").glob("*.eml")
    return str(message_from_bytes(mail.read_bytes())["Message-ID"]).strip("<>").partition("@")[0]


def test_a_bounce_piped_in_ends_the_address_once(shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    app, bounces = shop
    assert bounces(report(sealed(app)), capsys) == (0, "1 report taken in.")
    assert bounces(report(sealed(app)), capsys) == (0, "0 reports taken in, 1 known already.")
    with app.database.read() as connection:
        assert list(connection.scalars(select(t.suppression.c.reason))) == ["bounced"]
        assert list(connection.scalars(select(t.message.c.delivery))) == ["bounced"]


def test_what_is_made_up_about_another_address_or_message_is_not_believed(
    shop: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    app, bounces = shop
    mark = sealed(app)
    of_another = app.seals.made("9-9")
    made_up = (report("1-1"), report(mark[:-1] + ("A" if mark[-1] != "A" else "B")), report(of_another[1:]))
    others = (report(mark, to="baraka@shop.example"), report(of_another), complaint(mark, to="baraka@shop.example"))
    for mail in (*made_up, *others):
        assert bounces(mail, capsys) == (0, "0 reports taken in, 1 about no message of ours.")
    assert bounces(b"Subject: hello\r\n\r\nhello", capsys) == (0, "This is no report about a mail.")
    with app.database.read() as connection:
        assert not list(connection.scalars(select(t.suppression.c.reason)))


def test_when_the_database_is_away_the_mail_server_is_told_to_try_again(
    shop: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bounces = shop
    monkeypatch.setenv("KARIBU_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    code, told = bounces(report(), capsys)
    assert code == 75 and AMINA not in told
