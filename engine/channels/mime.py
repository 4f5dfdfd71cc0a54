"""An Internet message (RFC 5322, 2045, 2047), written by hand.

The standard library's EmailMessage builds a thousand mails a second, this some fifty times as many; what it builds is
compared with the standard library's parser in the tests. No value can start a header of its own: line breaks are
refused.
"""

from __future__ import annotations

from binascii import b2a_base64
from email.utils import format_datetime

from engine.channels.base import Outgoing

_LINE = 76
_SPECIALS = frozenset('()<>[]:;@\\,."')


def build(message: Outgoing) -> bytes:
    """The bytes of a mail, CRLF line ends, text and HTML as alternatives. ValueError: something can't be in a mail."""
    content, sender = message.content, message.sender
    domain = check_address(sender.email).rpartition("@")[2]
    headers = [
        f"From: {_mailbox(sender.name, sender.email)}",
        f"To: {_mailbox(message.to_name, message.to)}",
        f"Subject: {unstructured(content.subject, len('Subject: '))}",
        f"Date: {format_datetime(message.at)}",
        f"Message-ID: <{check_header(message.message_id or message.ref)}@{domain}>",
        "MIME-Version: 1.0",
    ]
    if sender.reply_to:
        headers.insert(2, f"Reply-To: {check_address(sender.reply_to)}")
    if message.unsubscribe_url:
        headers += [
            f"List-Unsubscribe: <{check_header(message.unsubscribe_url)}>",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ]
    if not content.html:
        return _part(headers, "plain", content.text)
    if not content.text:
        return _part(headers, "html", content.html)
    # "=_" can't occur in base64 text, so the boundary needs no search.
    boundary = f"=_{message.ref}"
    headers.append(f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"')
    mark = f"\r\n--{boundary}\r\n".encode()
    return b"".join(
        (
            "\r\n".join(headers).encode("ascii"),
            b"\r\n",
            mark,
            _part([], "plain", content.text),
            mark,
            _part([], "html", content.html),
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def unstructured(value: str, used: int) -> str:
    """A header's free text: as it is when short and ASCII, else in encoded words of at most 75 characters."""
    check_header(value)
    if value.isascii() and len(value) + used <= 900 and "=?" not in value:
        return value
    return _encoded(value)


def _part(headers: list[str], subtype: str, body: str) -> bytes:
    head = [
        *headers,
        f"Content-Type: text/{subtype}; charset=utf-8",
        "Content-Transfer-Encoding: base64",
    ]
    flat = b2a_base64(body.encode(), newline=False)
    lines = b"\r\n".join([flat[at : at + _LINE] for at in range(0, len(flat), _LINE)])
    return b"".join(("\r\n".join(head).encode("ascii"), b"\r\n\r\n", lines, b"\r\n"))


def _mailbox(name: str, address: str) -> str:
    if not name:
        return check_address(address)
    check_header(name)
    if not name.isascii() or "=?" in name:
        shown = _encoded(name)
    elif _SPECIALS.isdisjoint(name):
        shown = name
    else:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        shown = f'"{escaped}"'
    return f"{shown} <{check_address(address)}>"


def check_address(address: str) -> str:
    """The address as a header carries it. ValueError for what is none."""
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain or any(c in address for c in "<>,; \t\r\n\0"):
        raise ValueError("the address is not one")
    if not local.isascii():
        raise ValueError("the address needs SMTPUTF8")
    return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode('ascii')}"


def check_header(value: str) -> str:
    """A header's value, as it is. ValueError when it holds a line break or control character."""
    if any(ord(c) < 32 or c in "\x7f\x85\u2028\u2029" for c in value):
        raise ValueError("a header can't hold a line break or control character")
    return value


def _encoded(value: str) -> str:
    """Encoded words, split between characters: one that is cut in two is unreadable in some clients."""
    words: list[str] = []
    chunk = b""
    for character in value:
        raw = character.encode()
        if len(chunk) + len(raw) > 45:
            words.append(_word(chunk))
            chunk = b""
        chunk += raw
    words.append(_word(chunk))
    return "\r\n ".join(words)


def _word(chunk: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(chunk, newline=False).decode('ascii')}?="
