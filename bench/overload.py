"""Ten times what the service can take, for five minutes: nothing accepted is lost, whoever is accepted waits a bounded
time, the others are told when to come again, and soon after it is as before.

First, how many events a second it takes (batches of 100, each event entering a journey, cohorts moving). Then ten times
that, from another process, at even times whatever the answers take; a latency counts from when the request was sent.
Then a probe every fifth of a second, until ten in a row were accepted within a second each. In the end every key that
was answered 202 must be in the database, once.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from bench.flow import HERE
from bench.ingest import SIZE, Server, loaded, service
from bench.load import Line, Load, body

LINES = 512
TIMES = 10
PATIENCE = 60.0
"""Seconds after the last request: what isn't answered by then is counted as such."""
PROBES, BETWEEN, QUICK = 10, 0.2, 1.0


class Flood(Load):
    """Sends at even times, as long as a line is free; what finds none is counted: its sender would wait for an
    answer."""

    def __init__(self, port: int, label: str, seconds: float, rate: float) -> None:
        super().__init__(port, label, SIZE, LINES, seconds, rate)
        self.numbers: dict[Line, int] = {}
        self.accepted = array("L")
        self.waited: dict[int, list[float]] = {}
        self.untold = 0

    def answered(self, line: Line, status: int, took: float, head: bytes) -> None:
        self.statuses[status] += 1
        self.waited.setdefault(status, []).append(took)
        if status == 202:
            self.accepted.append(self.numbers[line])
        elif b"retry-after:" not in head.lower():
            self.untold += 1
        self.in_flight -= 1
        self.free.append(line)

    async def run(self) -> dict[str, object]:
        assert self.rate is not None
        await self.connect()
        begun = time.perf_counter()
        offered = int(self.seconds * self.rate)
        for n in range(offered):
            passed = time.perf_counter() - begun
            if (ahead := n / self.rate - passed) > 0:
                await asyncio.sleep(ahead)
            elif passed > self.seconds:
                break  # this process is too slow for the rate: what it could not send is told as unsent
            elif n % 16 == 0:
                await asyncio.sleep(0)  # behind: the answers must be read all the same
            if not self.free:
                continue
            line = self.free.pop()
            self.numbers[line] = self.sent
            self.start(line, time.perf_counter())
        flooded = time.perf_counter()
        while self.in_flight and time.perf_counter() - flooded < PATIENCE:
            await asyncio.sleep(0.01)
        return {
            "seconds": time.perf_counter() - begun,
            "sent": self.sent,
            "unsent": offered - self.sent,
            "unanswered": self.sent - self.statuses.total(),
            "cut": self.cuts,
            "statuses": dict(self.statuses),
            "untold": self.untold,
            "waited": {status: _spread(took) for status, took in self.waited.items()},
            "accepted": self.accepted.tolist(),
        }


def _spread(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000) for name, part in at.items()}


def flood(port: int, seconds: float, rate: float, out: Path) -> dict[str, Any]:
    """What came of it, from another process."""
    command = [sys.executable, "-m", "bench.overload", "--flood", str(port), str(rate), "--seconds", str(seconds)]
    subprocess.run([*command, "--out", str(out)], env={**os.environ, "PYTHONPATH": str(HERE)}, check=True)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def recovery(port: int, most: float = 120) -> float:
    """Seconds until it takes events as quickly as before."""
    ended, streak, since = time.perf_counter(), 0, 0.0
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=most)
    for n in range(int(most / BETWEEN)):
        head, _, text = body("probe", n, SIZE).partition(b"\r\n\r\n")
        headers = dict(one.split(": ", 1) for one in head.decode().split("\r\n")[1:])
        begun = time.perf_counter()
        line.request("POST", "/v1/events", text, headers)
        answer = line.getresponse()
        answer.read()
        if answer.status == 202 and time.perf_counter() - begun < QUICK:
            since = since if streak else begun
            streak += 1
            if streak == PROBES:
                return since - ended
        else:
            streak = 0
        time.sleep(BETWEEN)
    return float("inf")


def lost(root: Path, label: str, accepted: list[int]) -> int:
    """Events that were accepted and are not there, or twice."""
    found: Counter[int] = Counter()
    with sqlite3.connect(root / ".karibu/karibu.db") as database:
        for (key,) in database.execute("SELECT key FROM event WHERE key >= ? AND key < ?", (f"{label}-", f"{label}.")):
            found[int(key.split("-")[1])] += 1
        counted, kept = database.execute(
            "SELECT (SELECT sum(count) FROM tally), (SELECT count(*) FROM event)"
        ).fetchone()
    missing: int = sum(abs(SIZE - found[n]) for n in accepted) + abs(counted - kept)
    return missing


def resident(server: Server) -> int:
    """MiB that the service had in memory at most."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def measured(seconds: float) -> dict[str, Any]:
    """The figures of one overload."""
    with service(journeys=True) as server:
        capacity = loaded(server.port, "capacity", seconds=5, size=SIZE, lines=16)["events_per_second"]
        before = resident(server)
        rate = capacity * TIMES / SIZE
        print(f"it takes {capacity:,} events/s; now {rate * SIZE:,.0f}/s for {seconds:g} s", file=sys.stderr)
        found = flood(server.port, seconds, rate, server.root / "flood.json")
        recovered = recovery(server.port)
        accepted = found.pop("accepted")
        return {
            "capacity": capacity,
            "offered": round((found["sent"] + found["unsent"]) * SIZE / found["seconds"]),
            "accepted": round(len(accepted) * SIZE / found["seconds"]),
            "requests": found["statuses"] | {name: found[name] for name in ("unsent", "unanswered", "cut")},
            "without_retry_after": found["untold"],
            "accepted_waited": found["waited"].get("202"),
            "refused_waited": found["waited"].get("429"),
            "recovered_s": round(recovered, 1),
            "memory_mib": [before, resident(server)],
            "lost": lost(server.root, "flood", accepted),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="ten times what the service can take")
    parser.add_argument("--seconds", type=float, default=300, help="of the overload")
    parser.add_argument("--flood", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood is not None:
        port, rate = options.flood
        load = Flood(int(port), "flood", options.seconds, float(rate))
        options.out.write_text(json.dumps(asyncio.run(load.run())))
        return
    print(json.dumps({"bench": "overload", "figures": measured(options.seconds)}))


if __name__ == "__main__":
    main()
