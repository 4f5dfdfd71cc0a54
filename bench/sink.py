"""A relay and an API that take everything and keep nothing, in a process of their own: bare protocols, because a proper
server would be slower than what is measured.

    python -m bench.sink smtp | http

It prints its port; for every line it reads it prints how many messages it has taken since the last one.
"""

from __future__ import annotations

import asyncio
import sys

REF = b'"karibu_ref"'


class Relay(asyncio.Protocol):
    """SMTP with PIPELINING: whatever comes between DATA and the lone dot is a mail."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.rest = b""
        self.content = False
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.rest += data
        replies = []
        while True:
            if self.content:
                end = self.rest.find(b"\r\n.\r\n")
                if end < 0:
                    break
                self.rest = self.rest[end + 5 :]
                self.content = False
                Relay.taken += 1
                replies.append(b"250 2.0.0 taken\r\n")
                continue
            line, end_of_line, rest = self.rest.partition(b"\r\n")
            if not end_of_line:
                break
            self.rest = rest
            verb = line[:4].upper()
            if verb == b"DATA":
                self.content = True
                replies.append(b"354 go on\r\n")
            elif verb == b"EHLO":
                replies.append(b"250-sink.example\r\n250-PIPELINING\r\n250 SIZE 30000000\r\n")
            elif verb == b"QUIT":
                replies.append(b"221 2.0.0 bye\r\n")
            else:
                replies.append(b"250 2.1.0 ok\r\n")
        if replies:
            self.transport.write(b"".join(replies))


class Api(asyncio.Protocol):
    """HTTP/1.1: every POST is a mail for each reference in it, and is answered 202."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.parts: list[bytes] = []
        self.missing = 0

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        if self.missing:
            self.missing -= len(data)
        else:
            whole = b"".join(self.parts)
            self.parts = [whole]
            head, end, rest = whole.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            self.missing = length - len(rest)
        if self.missing <= 0:
            Api.taken += b"".join(self.parts).count(REF)
            self.parts, self.missing = [], 0
            self.transport.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: sink\r\nContent-Length: 0\r\n\r\n")


async def main(kind: str) -> None:
    protocol = Relay if kind == "smtp" else Api
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        taken, protocol.taken = protocol.taken, 0
        print(taken, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
