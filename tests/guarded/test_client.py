"""The guarded client as its callers use it, against real servers of this machine that it was allowed to ask."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from engine.guarded.client import Guarded, NotSent, Unsure, origins
from tests.guarded.server import answering, certificate, serving


def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def guard(port: int, **more: object) -> Guarded:
    return Guarded(inside=origins(f"http://crm.example:{port}"), resolve=here, **more)  # type: ignore[arg-type]


def test_it_asks_the_host_by_its_name_and_hands_back_what_it_said() -> None:
    with serving(answering("201 Created", b'{"id": 7}', "X-Kind: new")) as server:
        url = f"http://crm.example:{server.port}/people?a=b"
        answer = guard(server.port).request("POST", url, [("Content-Type", "application/json")], b'{"n": 1}')
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (201, b'{"id": 7}', "new")
    assert server.asked[0].startswith(b"POST /people?a=b HTTP/1.1\r\n")
    assert server.headers()["host"] == f"crm.example:{server.port}"
    assert server.body() == b'{"n": 1}'


def test_the_certificate_must_be_the_hosts_though_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    theirs, trusted = certificate("crm.example", tmp_path)
    with serving(tls=theirs) as server:
        inside = origins(f"https://crm.example:{server.port}, https://other.example:{server.port}")
        guard = Guarded(inside=inside, resolve=here, trust=trusted)
        assert guard.request("GET", f"https://crm.example:{server.port}/").status == 200
        assert server.named == ["crm.example"]
        with pytest.raises(NotSent, match="unreachable"):
            guard.request("GET", f"https://other.example:{server.port}/")
        assert len(server.asked) == 1


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with (
        serving() as secret,
        serving(answering("302 Found", b"", f"Location: http://127.0.0.1:{secret.port}/")) as server,
    ):
        assert guard(server.port).request("GET", f"http://crm.example:{server.port}/").status == 302
        assert secret.came == 0


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy, serving() as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert guard(server.port).request("GET", f"http://crm.example:{server.port}/").status == 200
        assert proxy.came == 0


def test_an_answer_that_is_too_large_or_packed_is_not_read() -> None:
    with serving(answering("200 OK", b"x" * 70_000)) as server:
        assert guard(server.port).request("GET", f"http://crm.example:{server.port}/").body is None
    with serving(answering("200 OK", b"\x1f\x8b", "Content-Encoding: gzip")) as server:
        assert guard(server.port).request("GET", f"http://crm.example:{server.port}/").body is None
        assert server.headers()["accept-encoding"] == "identity"


def _drip(connection: socket.socket, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-More: 1\r\n")
        time.sleep(0.05)


def test_an_answer_that_comes_drop_by_drop_is_over_when_the_time_is() -> None:
    with serving(_drip) as server, pytest.raises(Unsure, match="timeout"):
        guard(server.port, seconds=0.5).request("GET", f"http://crm.example:{server.port}/")


def _reset(connection: socket.socket, asked: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_who_hangs_up_after_the_question_leaves_it_in_doubt() -> None:
    for behave in (_reset, lambda connection, asked: None):
        with serving(behave) as server, pytest.raises(Unsure, match="connection"):
            guard(server.port).request("POST", f"http://crm.example:{server.port}/", body=b"{}")


def test_who_is_not_there_was_certainly_not_asked() -> None:
    with serving() as server:
        pass
    with pytest.raises(NotSent) as gone:
        guard(server.port).request("POST", f"http://crm.example:{server.port}/", body=b"{}")
    assert not gone.value.for_good
    with pytest.raises(NotSent, match="not known") as unknown:
        Guarded(resolve=lambda host, port: []).request("GET", "https://crm.example/")
    assert not unknown.value.for_good


def test_an_origin_of_the_settings_is_an_origin_and_nothing_more() -> None:
    assert {str(one) for one in origins("http://crm.internal:8080, https://10.0.0.5")} == {
        "http://crm.internal:8080",
        "https://10.0.0.5",
    }
    for wrong in ("crm.internal", "http://crm.internal/x", "ftp://crm.internal", "http://u@crm.internal"):
        with pytest.raises(ValueError, match="origin"):
            origins(wrong)
