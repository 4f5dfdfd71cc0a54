"""A request's head has a bound, whatever comes before and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from engine.web.wire import LARGEST_HEAD, Protocol

PACKET = 16 * 1024


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


def sent(packets: Iterable[bytes]) -> bytes:
    """All that a server answers who is sent these packets, until it ends the connection."""

    async def talk() -> bytes:
        config = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None, port=0)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        try:
            port = server.servers[0].sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answer = asyncio.create_task(reader.read())
            for packet in packets:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0.05)  # so that it comes alone
                if answer.done():  # the server has had enough
                    break
            found = await asyncio.wait_for(answer, 10)
            writer.close()
            return found
        finally:
            await server.shutdown()

    return asyncio.run(talk())


def head(length: int = 0, more: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (length, more)


END = b"Connection: close\r\n"


def test_headers_without_end_are_not_kept() -> None:
    lines = [b"X-%d: %b\r\n" % (n, b"x" * PACKET) for n in range(20)]
    answer = sent([head()[:-2], *lines])
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"The line and headers of a request may have 65536 bytes.")


def test_nor_is_one_header_or_a_path_without_end() -> None:
    packets = [b"x" * PACKET] * 20
    for begun in (head()[:-2] + b"X: ", b"POST /"):
        assert sent([begun, *packets]).startswith(b"HTTP/1.1 400 ")


def test_a_head_that_comes_in_parts_is_read() -> None:
    whole = head(3, b"X: %b\r\n%b" % (b"x" * (LARGEST_HEAD - 200), END)) + b"abc"
    packets = [whole[at : at + 8000] for at in range(0, len(whole), 8000)]
    assert sent(packets).endswith(b"\r\n\r\n3")


def test_a_large_body_does_not_count_nor_do_requests_before() -> None:
    body = b"x" * (4 * LARGEST_HEAD)
    packets = [head(len(body)), body[:PACKET], body[PACKET:] + head(1)[:20], head(1)[20:] + b"a", head(2, END) + b"ab"]
    answer = sent(packets)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.endswith(b"\r\n\r\n2")
