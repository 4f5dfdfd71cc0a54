"""`karibu up`: the long-running service, one process: events in, ticks, flows, and Prefect's server as its child.

It stops at SIGTERM or Ctrl-C: takes no more requests, writes what waits, lets the passes end that are under way. Killed
at any point it loses nothing that was answered; the next start takes up what is due.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from functools import partial
from typing import Any

import uvicorn
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import func, select

from engine.app import App
from engine.beat import Beat
from engine.loaded import Loaded
from engine.prefect_server import PrefectServer, ServerFailed, quiet
from engine.runs import JourneyRuns
from engine.runtime import kept, keys, lowpools, versions
from engine.runtime.fence import AT_WORK, Memory
from engine.runtime.sightings import EVERY
from engine.store import published
from engine.store.database import DatabaseError
from engine.store.tables import IN_JOURNEY, UNSETTLED, enrolment, journey_version, message
from engine.web import hooks, returns
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.site import Site
from engine.web.wire import Protocol

log = logging.getLogger("karibu.service")

TICK = 0.5
"""Seconds from one look at the clock to the next, more when they take longer: so long may it take until somebody is
seen to have joined a segment."""

WAKE = 0.25
"""Seconds between two looks for those whose wait is over. A look at the clock that takes long doesn't keep them."""

AWAKE = 5.0
"""Seconds between two times that an engine writes down that it is at work. What is sent after the last of them, and
before a backup is put back, can't be known."""
RECOVER = 30.0
"""Seconds between two looks for messages that a dead engine has left."""

STOCK = 60.0
"""Seconds between two looks for coupon pools that run low: their codes are counted."""

STALE = 60.0
"""Seconds without a tick after which the service is not well."""

AT_HOME = ("maildir", "memory")
"""Providers that keep messages on this machine."""

SHORTEST_KEY = 16
GRACE = 10
"""Seconds that open requests get when the service stops."""

Say = Callable[[str], None]


class Refused(Exception):
    """The service won't start like this; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def check_bind(app: App) -> None:
    """Who listens beyond this machine needs a key that somebody chose, or made to send events with. Raises Refused."""
    settings = app.settings
    if _loopback(settings.host):
        return
    if settings.api_key is None:
        with app.database.read() as connection:
            if keys.guards(connection):
                return
        raise Refused(
            f"{settings.host} can be reached from other machines, and no API key is set or made",
            "make one: karibu key create NAME --scope write; or set KARIBU_API_KEY; or listen on 127.0.0.1",
        )
    if len(settings.key) < SHORTEST_KEY:
        raise Refused(f"the API key has fewer than {SHORTEST_KEY} characters", "make a longer one, by chance")


def check_secrets(app: App) -> None:
    """A source without its secret could verify nothing. Raises Refused."""
    for name, variables in hooks.without_secret(app).items():
        raise Refused(f"the source {name} has no secret", f"set {variables} to what the shop signs its webhooks with")


def check_links(app: App) -> None:
    """Customers must reach the links of their messages, the way out above all. Raises Refused."""
    if app.settings.base_url or app.settings.provider == "fake":
        return
    leave = [name for name, channel in app.content.project.channels.items() if channel.provider not in AT_HOME]
    if leave:
        raise Refused(
            f"messages by {', '.join(leave)} leave this machine, and nobody could unsubscribe by the links in them",
            "set KARIBU_BASE_URL to the https address under which customers reach this service",
        )


def up(app: App, say: Say = print, listening: Say | None = None) -> None:
    """Run the service until it is told to stop; only in the main thread. `say` gets lines for whoever started it;
    `listening` the address that this machine reaches it at, once nothing else can have it.

    Raises Refused, ContentError, DatabaseError."""
    check_bind(app)
    check_secrets(app)
    check_links(app)
    with _listening(app.settings.host, app.settings.port) as sock, _alone(app):
        if listening is not None:
            listening(f"http://127.0.0.1:{sock.getsockname()[1]}")
        Service(app, sock, say).run()


class Service:
    """The parts of one running service, and how they start and stop."""

    def __init__(self, app: App, sock: socket.socket, say: Say) -> None:
        self.app = app
        self.runtime = app.runtime
        self.say = say
        self._sock = sock
        self._failed: dict[str, str] = {}
        self._ticked = time.monotonic()
        self._published: tuple[object, ...] | None = None  # what came between reading the files and now is found out
        self._loaded = Loaded()
        self._prefect: PrefectServer | None = None
        self._sole = app.database.dialect == "sqlite"  # one engine: what is claimed was claimed by its dead predecessor

    def run(self) -> None:
        """Start everything, serve, and stop everything in the opposite order."""
        quiet(os.environ)
        memory = Memory(self.app.settings.data / AT_WORK)
        since = self.runtime.awake(starting=self.app.settings.provider != "fake", memory=memory)
        self.runtime.recover(alone=self._sole)
        with ExitStack() as stack:
            api_url = self._start_prefect(stack)
            self.runs = stack.enter_context(JourneyRuns(self.runtime, api_url, alone=self._prefect is not None))
            self.intake = Intake(self.runtime, self.runs.wake)
            self.intake.start()
            stack.callback(self.intake.close)
            scheduler = _scheduler()
            scheduler.add_job(self.runs.wake, "interval", seconds=WAKE)
            scheduler.add_job(self.runtime.recover, "interval", seconds=RECOVER)
            scheduler.add_job(partial(self.runtime.awake, memory=memory), "interval", seconds=AWAKE)
            self.app.sightings.remember(self.app.database, self.app.content.project.events)
            scheduler.add_job(self.count, "interval", seconds=EVERY.total_seconds())
            stack.callback(self.count)
            scheduler.add_job(self.stock, "interval", seconds=STOCK)
            scheduler.start()
            stack.callback(scheduler.shutdown)
            clock = Beat(self.tick, TICK)
            clock.start()
            stack.callback(clock.stop)
            self._greet()
            if since is not None:
                self.say(f"Nothing is sent: what this database knows ends at {since:%Y-%m-%d %H:%M:%S} UTC.")
                self.say("If it is a restored backup, look before you go on: karibu messages; then karibu resume")
            site = Site(lambda: self.app, self.intake, self.report, self.healthy)
            asyncio.run(_serve(build(site), self._sock))
            self.say("stopping: what has begun is finished first")

    def tick(self) -> None:
        """One look at the clock; then whoever is due, by whatever cause, is woken."""
        try:
            if (now := self._fingerprint()) != self._published and self._reread():
                self._published = now
            self._failed = self.runtime.tick(once=True).failed
            self._ticked = time.monotonic()
            self.runs.wake()
            self._loaded.settle()
        except Exception as error:  # the next tick tries again
            log.error("a look at the clock failed: %s", type(error).__name__)

    def count(self) -> None:
        """Write what was seen at the door: in a transaction of its own, so that no event waits for it."""
        self.app.sightings.write(self.app.database, self.runtime.clock.now())

    def stock(self) -> None:
        """Tell the team of coupon pools that have fallen below their marks."""
        try:
            pools, post = self.app.content.project.coupons, self.runtime.post
            lowpools.look(self.app.database, pools, post, self.runtime.clock.now())
        except Exception as error:  # the next look tries again
            log.error("a look at the coupon pools failed: %s", type(error).__name__)

    def healthy(self) -> bool:
        """Whether the clock is looked at and the database answers."""
        if time.monotonic() - self._ticked > STALE:
            return False
        try:
            with self.runtime.database.read() as connection:
                return connection.scalar(select(1)) == 1
        except DatabaseError:
            return False

    def report(self) -> dict[str, Any]:
        """How it is: the published journeys, who is inside, what is due or waits."""
        now = self.runtime.clock.now()
        live = journey_version.c.state == versions.LIVE
        inside = select(enrolment.c.journey, func.count().label("n")).where(IN_JOURNEY).group_by(enrolment.c.journey)
        due = inside.where(enrolment.c.due_at <= now)
        with self.runtime.database.read() as connection:
            published = connection.execute(
                select(journey_version).where(live).order_by(journey_version.c.journey)
            ).all()
            counts = {row.journey: row.n for row in connection.execute(inside)}
            waiting = {row.journey: row.n for row in connection.execute(due)}
            queued = connection.scalar(select(func.count()).select_from(message).where(UNSETTLED))
            kept_hooks = kept.counts(connection)
        return {
            "now": now.isoformat(),
            "database": self.runtime.database.dialect,
            "prefect": None if self._prefect is None else {"url": self._prefect.url, "up": self._prefect.healthy()},
            "journeys": [
                {
                    "journey": row.journey,
                    "version": row.number,
                    "published": row.published_at.isoformat(),
                    "inside": counts.get(row.journey, 0),
                    "due": waiting.get(row.journey, 0),
                }
                for row in published
            ],
            "events_waiting": self.intake.waiting,
            "messages_unsettled": queued,
            "hooks_kept": kept_hooks,
            "clock": {"seconds_ago": round(time.monotonic() - self._ticked, 1), "failed": self._failed},
        }

    def _start_prefect(self, stack: ExitStack) -> str | None:
        """Launch Prefect's server and don't wait: journeys move without it until it answers. The address of its API."""
        settings = self.app.settings
        if settings.prefect_api_url is not None:
            return settings.prefect_api_url
        port = settings.prefect_port if _is_free(settings.prefect_port) else None
        self._prefect = PrefectServer(settings.data / "prefect", port)
        self._prefect.launch()
        stack.callback(self._prefect.stop)
        threading.Thread(target=self._await_prefect, args=(self._prefect,), daemon=True).start()
        return self._prefect.api_url

    def _await_prefect(self, server: PrefectServer) -> None:
        try:
            server.ready()
            self.say(f"Prefect's page shows the runs: {server.url}/runs")
        except (ServerFailed, AssertionError) as error:
            log.error("%s", error)

    def _greet(self) -> None:
        settings, (host, port) = self.app.settings, self._sock.getsockname()[:2]
        assert settings.key  # made now, if there is none yet
        self.say(f"Karibu listens on http://{f'[{host}]' if ':' in host else host}:{port}")
        where = "is the one you set" if settings.api_key is not None else f"lies in {settings.data / 'api-key'}"
        self.say(f"It takes events at POST /v1/events; the key {where}")
        for name, variable in returns.deaf(self.app).items():
            self.say(f"What {name} calls back about is not believed yet: set {variable} (docs/returns.md)")
        live = [program.name for program in self.runtime.programs().values() if program.takes_entries]
        told = ", ".join(live) if live else "nothing yet, so nobody is let in (karibu publish)"
        self.say(f"Published: {told}")

    def _fingerprint(self) -> tuple[object, ...]:
        with self.runtime.database.read() as connection:
            return versions.fingerprint(connection)

    def _reread(self) -> bool:
        """Something was published, maybe by another process: read the project anew, its templates too."""
        with self.app.database.read() as connection:
            as_of = published.times(connection)
        fresh = self.app.anew()
        try:
            if fresh.content.project.channels == self.app.content.project.channels:
                fresh.__dict__["channels"] = self.app.channels  # they hold connections
            _ = fresh.sources  # what is wrong with them must be known before they take over
            self.runtime.renew(fresh.content, fresh.post, as_of)
        except Exception as error:  # files that are just being edited must not stop the clock
            log.error("the project can't be read as it is now (%s); the old one stays", type(error).__name__)
            return False
        self.app = fresh
        if self._published is not None:
            log.info("something was published; the project's files were read anew")
        return True


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn would raise them again at its end, before the rest has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(web: Any, sock: socket.socket) -> None:
    config = uvicorn.Config(
        web,
        http=Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=30,
    )
    server = _Server(config)

    def stop() -> None:
        server.force_exit = server.should_exit  # the second time nobody wants to wait
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stop)
    await server.serve(sockets=[sock])


def _scheduler() -> BackgroundScheduler:
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick that takes long is no news
    return BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(4)},
        job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        timezone=UTC,
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, before anything is started that would have to be stopped again. Raises Refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named: asyncio sends small parts at once only on a socket that says it is TCP. Otherwise the
    # second part of each answer waits 40 ms for the client to acknowledge the first.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            hint = "end what listens there, or set KARIBU_PORT and KARIBU_HOST"
            raise Refused(f"nothing can listen on {host}:{port}: {error.strerror}", hint) from None
        yield sock


@contextmanager
def _alone(app: App) -> Iterator[None]:
    """On SQLite there is one service a database: the second would take the first one's work for that of a dead one."""
    if app.database.dialect != "sqlite":
        yield
        return
    app.settings.data.mkdir(parents=True, exist_ok=True)
    with (app.settings.data / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("another karibu up runs on this database", "end it first, or use PostgreSQL") from None
        yield


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
