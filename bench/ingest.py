"""Events in, through the real service (uvicorn, SQLite, no Prefect), loaded from another process.

Single events: how many a second are durable, against the same server with a handler that reads the body and answers
202, the two taking turns (a handler as FastAPI has them; and, for comparison, one that goes past FastAPI as ours does);
and how long an answer takes at a fixed rate while cohorts move. Batches of 100, each event entering a journey, against
the bare inserts of the rows that such a batch leaves (event, count, enrolment, decision, touch): a transaction a batch,
no HTTP. And, for comparison, against inserts of the events alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from fastapi import Request, Response
from sqlalchemy import insert

from bench.flow import HERE, NOBODY, PROJECT, free, wait
from bench.load import KEY, body
from engine.runtime.ingest import tally_of
from engine.service import _listening, _serve
from engine.store.database import Database
from engine.store.scratch import insert_into, insert_touched
from engine.store.tables import decision, enrolment, event, tally
from engine.web.api import Web

JOURNEY = """
journey: thanks
topic: offers
enter: {event: purchase, again: always}
steps:
  - tag: bought
  - wait: 3d
"""
SIZE = 100
LINES = 256
"""Connections that send single events as fast as they are answered. With few of them a group commit waits for those
whom it has just answered, and what is measured is how quickly this machine lets one thread follow another."""

USUAL = "/v1/usual"
"""Where the yardstick answers as any handler of FastAPI does."""

WARM = 8
"""Seconds until what is loaded late, as Prefect, is there."""


@dataclass(frozen=True)
class Server:
    """A process that answers. `root`: its project."""

    port: int
    pid: int
    root: Path


@contextmanager
def service(journeys: bool) -> Iterator[Server]:
    """`karibu up` on a fresh project."""
    with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder:
        root, port = Path(folder), free()
        (root / "workflows").mkdir()
        project = PROJECT.replace("total: money", "total: money, order_id: text")
        (root / "workflows/project.yaml").write_text(project)
        (root / "workflows/thanks.yaml").write_text(JOURNEY)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KARIBU_", "PREFECT_"))},
            "KARIBU_ROOT": folder,
            "KARIBU_PORT": str(port),
            "KARIBU_API_KEY": KEY,
            "KARIBU_PREFECT_API_URL": NOBODY,
            "PYTHONPATH": str(HERE),
        }
        command = [sys.executable, "-m", "engine.cli"]
        if journeys:
            subprocess.run([*command, "publish"], env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with child([*command, "up"], port, root / "up.log", environment) as server:
            yield server


@contextmanager
def yardstick() -> Iterator[Server]:
    """The same server, whose handler reads the body and answers 202."""
    with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder:
        port = free()
        command = [sys.executable, "-m", "bench.ingest", "--yardstick", str(port)]
        with child(command, port, Path(folder) / "log", {**os.environ, "PYTHONPATH": str(HERE)}) as server:
            yield server


@contextmanager
def child(command: list[str], port: int, log: Path, environment: dict[str, str]) -> Iterator[Server]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=out, stderr=out)
    try:
        wait(lambda: answers(port), 120, log)
        loaded(port, "warm", seconds=WARM)
        yield Server(port, process.pid, log.parent)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def answers(port: int) -> bool:
    import http.client

    try:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        line.request("GET", "/healthz")
        return line.getresponse().status == 200
    except OSError:
        return False


def loaded(port: int, label: str, **options: float | str) -> dict[str, Any]:
    """What came of a load from another process."""
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", str(port), label, *given],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["statuses"]) <= {"202", "429"}, found
    return found


def bare(batches: int, *, entering: bool) -> float:
    """Events a second, inserted and nothing else: a transaction a batch, on the same kind of file. `entering`: with the
    rows that are left of an event that lets somebody in."""
    with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder:
        database = Database(f"sqlite:///{folder}/bare.db")
        database.migrate()
        bodies = [body("bare", n, SIZE).partition(b"\r\n\r\n")[2] for n in range(batches)]
        counted = tally_of(insert_into("sqlite", tally))
        now = datetime.now(UTC)
        begun = time.perf_counter()
        for n, text in enumerate(bodies):
            rows = [
                {
                    "id": n * SIZE + k + 1,
                    "source": "bare",
                    "key": one["key"],
                    "customer_id": n * SIZE + k,
                    "name": one["event"],
                    "occurred_at": now,
                    "received_at": now,
                    "properties": one["properties"],
                }
                for k, one in enumerate(orjson.loads(text))
            ]
            with database.write() as connection:
                connection.execute(insert(event), rows)
                if entering:
                    connection.execute(counted, [_counted(row) for row in rows])
                    connection.execute(insert_touched("sqlite"), [{"customer_id": row["customer_id"]} for row in rows])
                    connection.execute(insert(enrolment), [_entered(row) for row in rows])
                    connection.execute(insert(decision), [_decided(row) for row in rows])
        took = time.perf_counter() - begun
        database.dispose()
    return batches * SIZE / took


def _counted(row: dict[str, Any]) -> dict[str, Any]:
    at, total = row["occurred_at"], row["properties"]["total"]
    named = {"customer_id": row["customer_id"], "name": row["name"]}
    return named | {"count": 1, "total": total, "first_at": at, "last_at": at}


def _entered(row: dict[str, Any]) -> dict[str, Any]:
    at, customer = row["received_at"], row["customer_id"]
    named = {"id": row["id"], "journey": "thanks", "version_id": 1, "customer_id": customer, "cause": row["key"]}
    times = {"due_at": at, "entered_at": at, "moved_at": at}
    stands = {"key": "", "event_id": row["id"], "side_by_side": True, "state": "ready", "step": "tag_1", "visit": 1}
    return named | stands | times


def _decided(row: dict[str, Any]) -> dict[str, Any]:
    what = {"enrolment_id": row["id"], "visit": 0, "kind": "enters", "outcome": "entered", "reason": row["key"]}
    return what | {"at": row["received_at"], "event_id": row["id"]}


def serve(port: int) -> None:
    """The yardstick's own process: a handler as FastAPI has them, and one that goes past it as ours does."""
    web = Web()

    async def events(request: Request) -> Response:
        await request.body()
        return Response(b'{"accepted":1,"duplicates":0}', 202, media_type="application/json")

    web.straight = events
    web.post(USUAL)(events)

    @web.get("/healthz")
    async def health() -> Response:
        return Response(b"{}")

    with _listening("127.0.0.1", port) as sock:
        asyncio.run(_serve(web, sock))


def told(name: str, found: dict[str, Any]) -> None:
    figures = f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, max {found['max_ms']} ms"
    print(f"{name:>28}: {found['events_per_second']:>8,} events/s, {figures}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="events in, through the whole service")
    parser.add_argument("--seconds", type=float, default=6, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="turns of service and yardstick")
    parser.add_argument("--rate", type=float, default=1000, help="single events a second, for the latencies")
    parser.add_argument("--yardstick", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.yardstick is not None:
        serve(options.yardstick)
        return
    figures: dict[str, Any] = {}
    rounds = range(options.rounds)
    with service(journeys=False) as ours, yardstick() as theirs:
        turns: list[list[int]] = []
        for n in rounds:
            mine = loaded(ours.port, f"single{n}", seconds=options.seconds, lines=LINES)
            usual = loaded(theirs.port, f"single{n}", seconds=options.seconds, lines=LINES, path=USUAL)
            past = loaded(theirs.port, f"single{n}", seconds=options.seconds, lines=LINES)
            told("single", mine)
            told("only read and answered", usual)
            told("the same past FastAPI", past)
            turns.append([one["events_per_second"] for one in (mine, usual, past)])
    for place, name in enumerate(("single", "only_read", "only_read_past_fastapi")):
        figures[name] = statistics.median(turn[place] for turn in turns)
    with service(journeys=True) as ours:
        paced = loaded(ours.port, "paced", seconds=options.seconds * 2, rate=options.rate, lines=64)
        told(f"single, {options.rate:g}/s, moving", paced)
        batched, inserted, events = [], [], []
        for n in rounds:
            found = loaded(ours.port, f"batch{n}", seconds=options.seconds, size=SIZE, lines=16)
            told("batches of 100, entering", found)
            batched.append(found["events_per_second"])
            inserted.append(bare(200, entering=True))
            events.append(bare(200, entering=False))
            print(f"{'bare inserts':>28}: {inserted[-1]:>8,.0f} events/s", file=sys.stderr)
            print(f"{'of the events alone':>28}: {events[-1]:>8,.0f} events/s", file=sys.stderr)
    figures["paced"] = {name: paced[name] for name in ("p50_ms", "p99_ms", "max_ms", "events_per_second")}
    figures["batched"], figures["bare"] = statistics.median(batched), round(statistics.median(inserted))
    figures["bare_events_alone"] = round(statistics.median(events))
    ratios = {
        "single_of_only_read": round(statistics.median(mine / usual for mine, usual, _ in turns), 3),
        "single_of_only_read_past_fastapi": round(statistics.median(mine / past for mine, _, past in turns), 3),
        "batched_times_bare": round(statistics.median(b / a for a, b in zip(batched, inserted, strict=True)), 2),
        "batched_times_events_alone": round(statistics.median(b / a for a, b in zip(batched, events, strict=True)), 2),
    }
    print(json.dumps({"bench": "ingest", "figures": figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
