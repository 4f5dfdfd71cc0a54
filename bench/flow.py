"""From the 202 of an event to the message's file, through `karibu up` as it runs: HTTP, database, flow run, maildir.

Two loads: five events a second, and a burst. Each once with Prefect, whose page then shows the runs, and once without
it, on a fresh database: the difference is Prefect's share. When a file came is read from the file itself (the time of
its rename), so nobody has to watch the directory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parents[1]
KEY = "the-key-of-a-benchmark"
RATE = 5
BATCH = 500

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES,
  sender: {name: Duka, email: hello@duka.example}}
events: {purchase: {value: total, properties: {total: money}}}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
JOURNEY = """
journey: thanks
topic: offers
enter: {event: purchase}
steps:
  - send: email/thanks
  - wait: 3d
"""
MAIL = """---
subject: Thank you, {{ customer.first_name }}
---
<mjml><mj-body><mj-section><mj-column><mj-text>Your order over {{ entry.total | money }} is on its way.
{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a></mj-text></mj-column></mj-section></mj-body></mjml>
"""
FILES = {
    "workflows/project.yaml": PROJECT,
    "workflows/thanks.yaml": JOURNEY,
    "templates/email/thanks.mjml": MAIL,
}
NOBODY = "http://127.0.0.1:9/api"
"""An address where no Prefect is: the service then moves without it."""


@dataclass
class Service:
    """A running `karibu up`."""

    root: Path
    port: int
    prefect: bool

    def __post_init__(self) -> None:
        self._line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def post(self, events: list[dict[str, Any]]) -> float:
        """Send events; the moment of the 202, in seconds since 1970."""
        while True:
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            self._line.request("POST", "/v1/events", json.dumps(events), headers)
            answer = self._line.getresponse()
            body = answer.read()
            if answer.status == 429:  # overloaded: come again, as a shop would
                time.sleep(float(answer.headers["Retry-After"]) / 10)
                continue
            assert answer.status == 202, (answer.status, body)
            return time.time()

    def status(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}"}
        with urlopen(Request(f"http://127.0.0.1:{self.port}/v1/status", headers=headers), timeout=10) as answer:
            return dict(json.loads(answer.read()))

    def arrived(self) -> dict[str, float]:
        """When each customer's message came: the change time of its file, by address."""
        found = {}
        for path in (self.root / ".karibu/mail/email").glob("*.eml"):
            head = path.read_bytes()[:4096]
            to = re.search(rb"^To:.*?([^\s<>]+@[^\s<>]+)", head, re.MULTILINE)
            assert to is not None, path
            found[to[1].decode()] = path.stat().st_ctime_ns / 1e9
        return found

    def count(self) -> int:
        folder = self.root / ".karibu/mail/email"
        return sum(1 for _ in os.scandir(folder)) if folder.exists() else 0


@contextmanager
def running(prefect: bool) -> Iterator[Service]:
    """A service on a fresh project with one journey published."""
    with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder:
        root = Path(folder)
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        port, prefect_port = free(), free()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KARIBU_", "PREFECT_"))},
            "KARIBU_ROOT": folder,
            "KARIBU_PORT": str(port),
            "KARIBU_PREFECT_PORT": str(prefect_port),
            "KARIBU_API_KEY": KEY,
            "PYTHONPATH": str(HERE),
        }
        if not prefect:
            environment["KARIBU_PREFECT_API_URL"] = NOBODY
        command = [sys.executable, "-m", "engine.cli"]
        subprocess.run([*command, "publish"], env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with (root / "up.log").open("wb") as log:
            child = subprocess.Popen([*command, "up"], env=environment, cwd=folder, stdout=log, stderr=log)
        service = Service(root, port, prefect)
        try:
            wait(lambda: healthy(service), 120, root / "up.log")
            # The service imports and compiles at first; that is not what is measured.
            service.post([event("warm", 0)])
            wait(lambda: service.count() == 1, 60, root / "up.log")
            time.sleep(8)
            yield service
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def healthy(service: Service) -> bool:
    try:
        status = service.status()
    except OSError:
        return False
    return not service.prefect or bool(status["prefect"] and status["prefect"]["up"])


def wait(holds: Any, patience: float, log: Path) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {patience} s; the service said:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def free() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def event(name: str, n: int) -> dict[str, Any]:
    """A purchase of a customer of their own, told with it."""
    who = {"id": f"{name}{n}", "email": f"{name}{n}@shop.example", "first_name": "Amina", "consent": ["email/offers"]}
    return {"event": "purchase", "customer": who, "key": f"{name}-{n}", "properties": {"total": 40}}


def paced(service: Service, seconds: int) -> dict[str, float]:
    """Five events a second, at even times whatever the answers take; milliseconds from 202 to file."""
    begun = time.monotonic()
    answered = {}
    for n in range(seconds * RATE):
        time.sleep(max(0.0, begun + n / RATE - time.monotonic()))
        answered[f"paced{n}@shop.example"] = service.post([event("paced", n)])
    before = 1 + len(answered)
    wait(lambda: service.count() >= before, 60, service.root / "up.log")
    arrived = service.arrived()
    took = sorted((arrived[to] - at) * 1000 for to, at in answered.items())
    return {"p50_ms": at(took, 0.5), "p99_ms": at(took, 0.99), "max_ms": round(took[-1], 1)}


def burst(service: Service, size: int) -> dict[str, float]:
    """All at once, in requests of 500; until the last file exists."""
    before = service.count()
    begun = time.time()
    for first in range(0, size, BATCH):
        answered = service.post([event("burst", n) for n in range(first, min(first + BATCH, size))])
    wait(lambda: service.count() >= before + size, 600, service.root / "up.log")
    last = max(when for to, when in service.arrived().items() if to.startswith("burst"))
    return {"per_second": round(size / (last - begun)), "seconds": last - begun, "accepted_s": answered - begun}


def at(ordered: list[float], part: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1)


def shown(service: Service) -> dict[str, int]:
    """What Prefect's page shows at the end, when everything has been told."""
    api = f"{service.status()['prefect']['url']}/api"

    def count(of: str) -> int:
        request = Request(f"{api}/{of}/count", b"{}", {"Content-Type": "application/json"}, method="POST")
        with urlopen(request, timeout=10) as answer:
            return int(answer.read())

    seen = -1
    while (now := count("task_runs")) != seen:
        seen = now
        time.sleep(3)
    return {"flow_runs": count("flow_runs"), "task_runs": seen}


def measure(prefect: bool, seconds: int, size: int) -> dict[str, float]:
    with running(prefect) as service:
        figures = paced(service, seconds) | burst(service, size)
        if prefect:
            figures |= shown(service)
            assert figures["flow_runs"] and figures["task_runs"] > seconds * RATE, (
                "Prefect's page doesn't show the runs"
            )
    name = "with Prefect" if prefect else "without"
    told = f"p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms; burst of {size:,}: {figures['per_second']:,}/s"
    print(f"{name:>12}: {told}", file=sys.stderr)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="events to files, through the whole service")
    parser.add_argument("--seconds", type=int, default=60, help="of five events a second")
    parser.add_argument("--burst", type=int, default=20_000)
    options = parser.parse_args()
    with_prefect = measure(True, options.seconds, options.burst)
    without = measure(False, options.seconds, options.burst)
    share = {
        "p50_ms": round(with_prefect["p50_ms"] - without["p50_ms"], 1),
        "p99_ms": round(with_prefect["p99_ms"] - without["p99_ms"], 1),
        "burst": round(1 - without["seconds"] / with_prefect["seconds"], 3),
    }
    figures = {"prefect": with_prefect, "without": without, "share_of_prefect": share}
    ratio = round(with_prefect["seconds"] / without["seconds"], 2)
    print(json.dumps({"bench": "flow", "figures": figures, "ratio": ratio}))


if __name__ == "__main__":
    main()
