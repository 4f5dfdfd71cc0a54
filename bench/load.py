"""Load from a process of its own: HTTP/1.1 over kept connections, one JSON line with what came of it.

`open`: requests start at even times whatever the answers take, and a latency counts from the time its request should
have started: a server that stalls can't slow the clock that judges it. `full`: each connection sends its next request
when the last one is answered, which finds how many a second there can be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter, deque

KEY = "the-key-of-a-benchmark"
EVENTS = "/v1/events"


def body(label: str, n: int, size: int, path: str = EVENTS) -> bytes:
    """A request of `size` events of different customers."""
    events = [
        {
            "event": "purchase",
            "customer": f"c{(n * size + k) % 50_000}",
            "key": f"{label}-{n}-{k}",
            "properties": {"total": 40, "order_id": f"{n}-{k}"},
        }
        for k in range(size)
    ]
    text = json.dumps(events[0] if size == 1 else events).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Line(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.load.cut(self)

    def send(self, request: bytes, began: float) -> None:
        self.began = began
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self.buffer = b""
            self.load.answered(self, int(head[9:12]), time.perf_counter() - self.began, head)


class Load:
    """Sends for some seconds. `rate`: requests a second; None: as many as are answered."""

    def __init__(
        self, port: int, label: str, size: int, lines: int, seconds: float, rate: float | None, path: str = EVENTS
    ) -> None:
        self.path = path
        self.port, self.label, self.size, self.count, self.seconds, self.rate = port, label, size, lines, seconds, rate
        self.free: list[Line] = []
        self.due: deque[float] = deque()
        self.took: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.sent = self.in_flight = self.cuts = 0
        self.last = 0.0

    def answered(self, line: Line, status: int, took: float, head: bytes) -> None:
        self.statuses[status] += 1
        self.took.append(took)
        self.in_flight -= 1
        self.last = time.perf_counter()
        if self.rate is None and self.last < self.until:
            self.start(line, self.last)
        elif self.due:
            self.start(line, self.due.popleft())
        else:
            self.free.append(line)

    def cut(self, line: Line) -> None:
        """The server closed the line: nothing is sent on it any more, nor waited for."""
        self.cuts += 1
        if line in self.free:
            self.free.remove(line)
        else:
            self.in_flight -= 1

    def start(self, line: Line, began: float) -> None:
        line.send(body(self.label, self.sent, self.size, self.path), began)
        self.sent += 1
        self.in_flight += 1

    async def connect(self) -> None:
        """Open every line."""
        loop = asyncio.get_running_loop()
        for _ in range(self.count):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", self.port)
            self.free.append(line)

    async def run(self) -> dict[str, object]:
        await self.connect()
        begun = time.perf_counter()
        self.until = begun + self.seconds
        if self.rate is None:
            while self.free:
                self.start(self.free.pop(), time.perf_counter())
        else:
            for n in range(int(self.seconds * self.rate)):
                at = begun + n / self.rate
                if (ahead := at - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead)
                if self.free:
                    self.start(self.free.pop(), at)
                else:
                    self.due.append(at)
        while time.perf_counter() < self.until or self.in_flight or self.due:
            await asyncio.sleep(0.01)
        return self.figures(self.last - begun)

    def figures(self, seconds: float) -> dict[str, object]:
        ordered = sorted(self.took)
        return {
            "requests": len(ordered),
            "statuses": dict(self.statuses),
            "events_per_second": round(self.statuses[202] * self.size / seconds),
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
            "max_ms": round(ordered[-1] * 1000, 2),
            "seconds": round(seconds, 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="requests to a port")
    parser.add_argument("port", type=int)
    parser.add_argument("label")
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("--lines", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--path", default=EVENTS)
    given = parser.parse_args()
    load = Load(given.port, given.label, given.size, given.lines, given.seconds, given.rate, given.path)
    print(json.dumps(asyncio.run(load.run())))


if __name__ == "__main__":
    main()
