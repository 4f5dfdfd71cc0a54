"""Attempts to reach the inside through the guarded client: none may connect to anything, whatever the resolver says."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from engine.guarded.addresses import is_outside
from engine.guarded.client import Guarded, NotSent, origins
from tests.promises import figures

PUBLIC = "93.184.215.14"

FORMS = [
    # addresses inside, plain
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.254", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("192.0.0.8", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
    # an address in other clothes
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.1."),
    *("0", "0x0", "0x", "1.1", "256.256.256.256", "00.0.0.0", "127.0.0.01", "4294967297", "1e9"),
    # IPv6
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2001:0:7f00:1::]"),
    *("[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]"),
    *("[::ffff:0:127.0.0.1]", "[100::1]", "[3fff::1]", "[5f00::1]", "[2001:10::1]", "[::1", "[[::1]]"),
]
URLS = [
    *(f"https://{host}/" for host in FORMS),
    "http://shop.example/",
    "ftp://shop.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "//127.0.0.1/",
    "https:127.0.0.1/",
    "https:/127.0.0.1/",
    "https:///127.0.0.1/",
    "https://shop.example:22/",
    "https://shop.example:80/",
    "https://shop.example:8443/",
    "https://shop.example:0/",
    "https://shop.example:65616/",
    "https://shop.example:443:80/",
    "https://user@shop.example/",
    "https://user:word@shop.example/",
    "https://shop.example@127.0.0.1/",
    "https://shop.example#@127.0.0.1/",
    "https://shop.example\\@127.0.0.1/",
    "https://127.0.0.1\\@shop.example/",
    "https://shop.example /",
    " https://shop.example/",
    "https://shop.example/\r\nHost: 127.0.0.1",
    "https://shop.example\t/",
    "https://shop.example\x00.127.0.0.1/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://ⓛocalhost/",
    "https://%6c%6f%63alhost/",
    "https://127.0.0.1%2f@shop.example/",
    "https://shop.example/a/../../inside",
    "https://shop.example/%2e%2e/inside",
    "https://shop.example/a%2f..%2finside",
    "https://-shop.example/",
    "https://shop..example/",
    "https://./",
    "https://",
    "",
    "https://" + "a" * 300 + ".example/",
    "https://shop.example/" + "a" * 5000,
]
ANSWERS = [[form.strip("[]")] for form in FORMS if form.strip("[]").count(".") == 3 or ":" in form] + [
    [PUBLIC, "127.0.0.1"],
    ["127.0.0.1", PUBLIC],
    [PUBLIC, "::1"],
    ["fe80::1%eth0"],
    ["not an address"],
    [""],
]


BYPASSES: list[str] = []
"""What was not refused."""


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What somebody tried to connect to. Nothing is connected."""
    tried: list[Any] = []

    def refuse(address: Any, *more: Any, **named: Any) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    return tried


def tried(guard: Guarded, url: str, dialled: list[Any]) -> None:
    """It is refused for good, and nothing is dialled."""
    BYPASSES.append(url)
    with pytest.raises(NotSent) as refused:
        guard.request("GET", url)
    assert refused.value.for_good
    assert not dialled
    BYPASSES.pop()


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_names_no_outside_host_plainly_is_refused(url: str, dialled: list[Any]) -> None:
    def resolve(host: str, port: int) -> list[str]:
        return [host] if host[0].isdigit() or ":" in host else [PUBLIC]  # else every name would be refused for that

    tried(Guarded(resolve=resolve), url, dialled)


@pytest.mark.parametrize("addresses", ANSWERS, ids=str)
def test_a_name_that_leads_inside_is_refused(addresses: list[str], dialled: list[Any]) -> None:
    tried(Guarded(resolve=lambda host, port: addresses), "https://shop.example/", dialled)


def test_how_many_ways_inside_were_tried() -> None:
    figures("a call reaches no inside address", tried=len(URLS) + len(ANSWERS), bypasses=len(BYPASSES))
    assert len(URLS) + len(ANSWERS) >= 100


def test_the_address_that_was_looked_at_is_the_one_that_is_dialled(dialled: list[Any]) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    with pytest.raises(NotSent, match="unreachable"):
        Guarded(resolve=lambda host, port: next(answers)).request("GET", "https://shop.example/")
    assert dialled == [(PUBLIC, 443)]
    assert next(answers) == ["127.0.0.1"]  # nobody has asked a second time


def test_what_the_operator_allows_is_one_origin_and_no_other_port_or_host_beside_it(dialled: list[Any]) -> None:
    guard = Guarded(inside=origins("http://crm.internal:8080"), resolve=lambda host, port: ["10.0.0.5"])
    for url in (
        "http://crm.internal/",
        "http://crm.internal:8081/",
        "https://crm.internal:8080/",
        "https://crm.internal/",
        "http://crm.internal:8080@127.0.0.1/",
        "http://10.0.0.5:8080/",
        "http://x.crm.internal:8080/",
    ):
        with pytest.raises(NotSent) as refused:
            guard.request("GET", url)
        assert refused.value.for_good
    assert not dialled
    with pytest.raises(NotSent, match="unreachable"):
        guard.request("GET", "http://crm.internal:8080/")
    assert dialled == [("10.0.0.5", 8080)]


def test_public_addresses_are_outside() -> None:
    for address in (PUBLIC, "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::200e"):
        assert is_outside(address)


def test_the_attempts_are_many() -> None:
    assert len(URLS) + len(ANSWERS) >= 60
