"""`karibu demo`: says what it does at each stage and how long it took; may be killed and run again at any time."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from engine import starter
from engine.app import App
from engine.demo import data, households
from engine.demo.data import END, START, Shop
from engine.demo.replay import IMPORTED, REPLAYED, done, import_history, replay
from engine.demo.replay import looks as plan
from engine.demo.report import table, told
from engine.prefect_server import PrefectServer, quiet
from engine.progress import bar, lines
from engine.runs import JourneyRuns, Manner
from engine.runtime.clock import VirtualClock
from engine.settings import Settings

HOME = Path(".karibu/demo")
ABOUT = """\
The baskets are real: "The Complete Journey", which dunnhumby published for research and teaching: households without
names, their dates moved. Its publishers' statements about its use differ, so read them before you use it for anything
but a demonstration; it is no part of Karibu. Names, addresses (all end in .example), birthdays, consents, sign-ups,
carts and parcels are made, from a seed."""

ONE_RUN_A_DAY = Manner(linger=None, age=float("inf"), moves=10**9, patience=120.0)
"""The replay says itself when a run ends. Nobody waits for a message, so Prefect may take its time."""

CONNECTING = 120.0
"""Seconds for Prefect's client, which takes 2 to 5 to be imported, and many times that on a slow, busy machine."""

Say = Callable[[str], None]


class DemoIsRunning(Exception):
    """Another demo is at work in this directory."""


def run(
    home: Path = HOME,
    *,
    serve: bool = False,
    console: Console | None = None,
    port: int | None = None,
    shop: Callable[[], Shop] = data.load,
    looks: int | None = None,
) -> None:
    """The whole demo. `port` is Prefect's (default: a free one); `shop` reads the data; `looks`: how many looks to
    replay (default: all). DemoIsRunning when another one is at work in `home`,
    households.DataMissing without the extra `demo`."""
    # Off a terminal lines are as long as they are, so that a log can be searched.
    out = console or Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    households.folder()
    quiet(os.environ)
    home.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    # A polite end ends Prefect's server, too; after a kill the next demo does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with _alone(home), _server(home, port) as server:
        _story(home, server, out, shop, looks)
        out.print(f"\nAll of it took {time.monotonic() - begun:.0f} s.")
        if serve:
            out.print(f"Prefect's page shows the runs: {server.url}/runs (until you press Ctrl-C)")
            _until_stopped()
        else:
            out.print(f"Prefect's page was at {server.url}. make demo SERVE=1 shows this again at once and stays up.")


def _story(home: Path, server: PrefectServer, out: Console, read: Callable[[], Shop], looks: int | None) -> None:
    with _stage(out, "Reading a year of baskets, making the people around them") as say:
        shop = read()
        say(f"{shop.history.height:,} baskets of history, {shop.replay.height:,} events to replay")
    out.print(ABOUT, style="dim")
    clock = VirtualClock(START)
    # The same key every time, so that the same messages hold the same links.
    app = App(Settings.of(starter.root(), home=home, secret_key="the demo's own and no secret"), clock)
    try:
        with _stage(out, f"Importing what happened before {START:%-d %B %Y} as history") as say:
            with _bar(out, shop.history.height) as tell:
                import_history(app, shop, tell)
            say(f"{shop.known.height:,} customers, {done(app.database, IMPORTED):,} baskets, nobody let in")
        with _stage(out, "Publishing the starter journeys") as say:
            say(", ".join(one.journey for one in app.runtime.publish()))
        with _stage(out, "Waiting for the Prefect server") as say:
            server.ready()
            say(server.url)
        app.runtime.recover(alone=True)
        with _stage(out, "Replaying eight weeks on a virtual clock, through the compiled Prefect flows") as say:
            with (
                JourneyRuns(app.runtime, server.api_url, ONE_RUN_A_DAY, alone=True) as runs,
                _days(out) as tell_day,
            ):
                runs.connected(CONNECTING)  # what moves before is not on Prefect's page
                replay(app, clock, shop, runs, tell_day, looks)
            count = done(app.database, REPLAYED)
            say(f"looked at the clock once a day, {count:,} times up to {plan()[count]:%-d %B %Y}")
        out.print()
        out.print(table(told(app.database), app.content.vocabulary.digits, app.content.project.brand.currency))
        out.print(f"The messages are files: open one of {app.settings.mail}/email/*.eml with a mail program.")
    finally:
        app.close()


@contextmanager
def _stage(out: Console, what: str) -> Iterator[Say]:
    """Say what is done, then what came of it and how long it took."""
    out.print(f"[bold]{what}[/bold] …")
    begun = time.monotonic()
    said = ["done"]
    yield said.append
    out.print(f"  {said[-1]} ({time.monotonic() - begun:.1f} s)")


@contextmanager
def _bar(out: Console, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; off a terminal a line every few seconds."""
    with bar(out) if out.is_terminal else lines(out.print) as tell:
        yield lambda count: tell(count / max(total, 1), f"{count:,} baskets")


@contextmanager
def _days(out: Console) -> Iterator[Callable[[datetime], None]]:
    """The virtual date as it goes by: on a bar, or off a terminal a line a week."""
    weeks = set[int]()
    with _progress(out) as progress:
        task = progress.add_task("", total=(END - START).total_seconds())

        def tell(now: datetime) -> None:
            gone = now - START
            progress.update(task, completed=gone.total_seconds(), description=f"{now:%a %-d %b %Y}")
            if not out.is_terminal and gone.days // 7 not in weeks:
                weeks.add(gone.days // 7)
                out.print(f"  {now:%a %-d %b %Y}")

        yield tell


def _progress(out: Console) -> Progress:
    columns = (TextColumn("  {task.description:<16}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, console=out, transient=True, disable=not out.is_terminal)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two demos in one directory would share a virtual clock that stands at two times."""
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoIsRunning(f"another demo is at work in {home}") from None
        yield


@contextmanager
def _server(home: Path, port: int | None) -> Iterator[PrefectServer]:
    """Prefect's server, started at once and waited for later: meanwhile there is enough to do."""
    # Nobody watches the demo for a dead engine: the next demo marks what a killed one left open.
    server = PrefectServer(home / "prefect", port, watch=False)
    server.launch()
    try:
        yield server
    finally:
        server.stop()


def _until_stopped() -> None:
    """Wait for Ctrl-C or a polite end."""
    ended = False

    def end(number: int, frame: object) -> None:
        nonlocal ended
        ended = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not ended:
            time.sleep(0.2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
