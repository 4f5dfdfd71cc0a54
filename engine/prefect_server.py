"""Prefect's server as a child process: started for `karibu up` and `karibu demo`, ended with them.

It has a directory of its own (database, log, pid file) and listens on loopback only. Nothing here imports prefect: the
child does, and takes its seconds for it while the parent goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import orjson

HOST = "127.0.0.1"
KEEP_HISTORY = 30 * 24 * 3600
"""Seconds after which Prefect's server deletes a run."""

HEARTBEAT = 30
"""Seconds between two signs of life of a run (Prefect takes no less); after three missing ones it counts as crashed."""

STARTING = 300.0
"""Seconds it gets until it answers. It takes 4 to 9, and many times that on a slow, busy machine; one that fails has
ended, which is told at once."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a stray call fails at once
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # what a step has to say stands in our own log, without anybody's data
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
}
"""Settings of every process of ours that imports prefect. Logs and telemetry stay in the house."""

_SERVER = QUIET | {
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_API_URL": "/api",  # the page's own server, whatever port or tunnel it is seen through
    # Task runs reach the database through a queue that drops what is over 10,000; the defaults record 40 a second,
    # these 180.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    # Storing every event is six times the disk and, on SQLite, the writer that locks out the API: half of a run's time
    # went into waiting for it. Runs, states and automations don't need it; only the page "Events" stays empty.
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(KEEP_HISTORY),
}

_ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_WATCH: dict[str, Any] = {
    "name": "Runs without a sign of life have crashed",
    "description": "An engine that was killed can't say so. Its customers are safe: the next run takes them up.",
    "enabled": True,
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "for_each": ["prefect.resource.id"],
        "after": ["prefect.flow-run.heartbeat"],
        "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{name}" for name in _ENDED)],
        "threshold": 1,
        "within": 3 * HEARTBEAT,
    },
    "actions": [{"type": "change-flow-run-state", "state": "CRASHED", "message": "no sign of life from the engine"}],
}


class ServerFailed(RuntimeError):
    """Prefect's server did not start; the end of its log says why."""


def quiet(environment: MutableMapping[str, str]) -> None:
    """Set what a process needs before it imports prefect; what its owner has set stays."""
    for name, value in QUIET.items():
        environment.setdefault(name, value)


class PrefectServer:
    """`home` is its directory, made when missing. Without a `port` a free one is taken. `database_url` names a
    PostgreSQL for Prefect's own data (postgresql+asyncpg://…); without it SQLite in `home`. `watch`: have it mark runs
    whose engine was killed; without, a third less work for it (an engine that starts with `alone` marks them too)."""

    def __init__(
        self, home: Path, port: int | None = None, database_url: str | None = None, *, watch: bool = True
    ) -> None:
        self.home = home
        self.port = port
        self.database_url = database_url
        self.watch = watch
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def __enter__(self) -> PrefectServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, patience: float = STARTING) -> PrefectServer:
        """Start it and wait until it answers, for `patience` seconds. Raises ServerFailed."""
        self.launch()
        self.ready(patience)
        return self

    def launch(self) -> None:
        """Start it and don't wait: `ready` does. A server that a killed engine left behind in this directory is ended
        first."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.end_leftover()
        self.port = self.port or _free_port()
        mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        mine |= _SERVER | {"PREFECT_HOME": str(self.home), "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml")}
        if not self.watch:
            mine["PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED"] = "false"
        if self.database_url is not None:
            mine["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = self.database_url
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.port)]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the engine, which still has runs to close on this server.
            self._child = subprocess.Popen(
                command, env=mine, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid_file.write_text(f"{self._child.pid} {_born(self._child.pid)}\n", encoding="utf-8")

    def ready(self, patience: float = STARTING) -> None:
        """Wait until it answers and have it watch for runs that died. Raises ServerFailed."""
        assert self._child is not None, "launch it first"
        deadline = time.monotonic() + patience
        while not self.healthy():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailed(f"Prefect's server did not start; the end of {self._log}:\n{self._last_words()}")
            time.sleep(0.1)
        while self.watch:
            try:
                self._watch_for_crashes()
                return
            except (HTTPError, URLError, OSError) as error:  # busy, most likely: its services have just started
                if time.monotonic() > deadline:
                    raise ServerFailed(f"Prefect's server refuses to watch for crashes: {error}") from None
                time.sleep(0.25)

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            with urlopen(f"{self.api_url}/health", timeout=2):
                return True
        except (URLError, OSError):
            return False

    def stop(self, patience: float = 10.0) -> None:
        """End it: politely first, then not. Does nothing when it isn't running."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None
        self._pid_file.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self.home / "server.log"

    @property
    def _pid_file(self) -> Path:
        return self.home / "server.pid"

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        return ""

    def end_leftover(self) -> None:
        """Two servers on one SQLite file would lock each other out. The file alone proves nothing: the number may be
        another's now, so the time its process was born has to agree."""
        try:
            pid_text, _, born = self._pid_file.read_text(encoding="utf-8").strip().partition(" ")
            pid = int(pid_text)
        except (OSError, ValueError):
            return
        for signal_ in (signal.SIGTERM, signal.SIGKILL):
            for _ in range(100):
                if not born or _born(pid) != born:
                    self._pid_file.unlink(missing_ok=True)
                    return
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_)
                time.sleep(0.1)

    def _watch_for_crashes(self) -> None:
        """Install the automation that ends runs whose engine was killed; once."""
        known = _call(f"{self.api_url}/automations/filter", {})
        if all(automation["name"] != _WATCH["name"] for automation in known):
            _call(f"{self.api_url}/automations/", _WATCH)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _call(url: str, body: object) -> Any:
    request = Request(url, data=orjson.dumps(body), headers={"Content-Type": "application/json"}, method="POST")
    with urlopen(request, timeout=10) as answer:
        return orjson.loads(answer.read())


def _born(pid: int) -> str:
    """When the process was started, in words of the system; empty when there is none (a zombie has ended)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()
