"""From a purchase to the segment joined by it, and the journey entered, in `karibu up` over a large shop.

    make bench-join                                          a million customers, 20 segments, SQLite and PostgreSQL
    make bench-join ARGS="--customers 50000 --events 100000 --database sqlite"

Purchases of customers drawn at even steps are posted at even times, whatever the answers take; each one's customer
joins `today`, and a journey lets them in. Timed: from when the request should have begun until another connection sees
the customer in the segment and in the journey. (That no statement of a look reads a whole table is a test:
tests/segments/test_looks_are_seeks.py.)
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, bindparam, select, text

from bench.cohort import places
from bench.flow import HERE, KEY, NOBODY, at, free, wait
from bench.ingest import answers
from bench.shop import fill
from engine.store.database import Database
from engine.store.tables import enrolment, segment_member

PROJECT = """
brand: {name: Duka, address: "1 Moi Avenue, Nairobi", timezone: Africa/Nairobi, locale: en, currency: KES}
customer: {tier: text, trial: instant, renewal: date}
events:
  purchase: {value: total, properties: {total: money, sku: text}}
  visit: {}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
SEGMENTS = """
today: did("purchase", within=1h)
this-week: did("purchase", within=7d)
first-time: times("purchase") == 1
regulars: times("purchase") >= 9
lapsed: times("purchase") >= 2 and not did("purchase", within=300d)
lost: elapsed("purchase") > 400d
big: total("purchase", "total", within=365d) >= 500
spenders: total("purchase", "total") >= 1000
big-orders: did("purchase", within=90d, where=event.total > 150)
browsers: did("visit", within=300d) and not did("purchase", within=330d)
gold: customer.tier == "gold"
kenyans: customer.country == "KE"
quiet-gold: in_segment("gold") and elapsed("purchase") > 300d
vip: in_segment("regulars") and in_segment("big")
everybody-else: not in_segment("gold") and not in_segment("regulars")
newcomers: customer.created > now - 30d
trial-over: customer.trial < now
renewal-soon: customer.renewal is set and days_until(customer.renewal) <= 7
birthday-soon: days_until(customer.birthday) <= 7
slow: elapsed("purchase") > 2.5 * usual_gap("purchase") and customer.tier == "gold"
"""
JOURNEY = """
journey: thanks
topic: offers
enter: {segment: today, again: always}
steps:
  - tag: bought
  - wait: 3d
"""
FILES = {
    "workflows/project.yaml": PROJECT,
    "workflows/segments.yaml": SEGMENTS,
    "workflows/thanks.yaml": JOURNEY,
}


@contextmanager
def service(
    root: Path, files: dict[str, str], address: str, between: Callable[[], object] = lambda: None
) -> Iterator[int]:
    """Publishes these files over that database, does what comes `between`, and runs `karibu up`; its port."""
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body)
    port = free()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KARIBU_", "PREFECT_"))},
        "KARIBU_ROOT": str(root),
        "KARIBU_DATABASE_URL": address,
        "KARIBU_PORT": str(port),
        "KARIBU_API_KEY": KEY,
        "KARIBU_PREFECT_API_URL": NOBODY,
        "PYTHONPATH": str(HERE),
    }
    command = [sys.executable, "-m", "engine.cli"]
    begun = time.perf_counter()
    subprocess.run([*command, "publish"], env=environment, cwd=root, check=True, stdout=subprocess.DEVNULL)
    print(f"  published in {time.perf_counter() - begun:.1f} s", flush=True)
    between()
    with (root / "up.log").open("wb") as log:
        child = subprocess.Popen([*command, "up"], env=environment, cwd=root, stdout=log, stderr=log)
    try:
        wait(lambda: answers(port), 120, root / "up.log")
        yield port
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


class Watch(threading.Thread):
    """Looks every few milliseconds which of those it waits for have joined and entered; when it saw them first."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.waiting: set[int] = set()
        self.seen: dict[int, float] = {}
        self.done = threading.Event()

    def run(self) -> None:
        ids: BindParameter[int] = bindparam("ids", expanding=True)
        joined = select(segment_member.c.customer_id).where(
            segment_member.c.segment == "today", segment_member.c.customer_id.in_(ids)
        )
        entered = select(enrolment.c.customer_id).where(enrolment.c.customer_id.in_(ids))
        while not self.done.is_set():
            if some := sorted(self.waiting):  # copied at once: others add to it
                with self.database.read() as connection:
                    found = set(connection.scalars(joined, {"ids": some}))
                    found &= set(connection.scalars(entered, {"ids": some}))
                now = time.perf_counter()
                self.seen |= dict.fromkeys(found, now)
                for one in found:
                    self.waiting.discard(one)
            time.sleep(0.005)


class Line(threading.local):
    """A connection for each thread that posts."""

    def __init__(self, port: int) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, said: dict[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        self.http.request("POST", "/v1/events", json.dumps(said), headers)
        answer = self.http.getresponse()
        body = answer.read()
        assert answer.status == 202, body


def posted(port: int, watch: Watch, whos: range, rate: float) -> list[float]:
    """Milliseconds from each purchase to its customer's entry, in order; each begins when its time has come."""
    line, answers = Line(port), []
    start = time.perf_counter()
    began = {who: start + n / rate for n, who in enumerate(whos)}
    with ThreadPoolExecutor(16) as pool:
        for who, moment in began.items():
            time.sleep(max(0.0, moment - time.perf_counter()))
            said = {"event": "purchase", "customer": f"c{who}", "key": f"join-{who}", "properties": {"total": 40}}
            watch.waiting.add(who)
            answers.append(pool.submit(line.post, said))
    for answered in answers:
        answered.result()
    deadline = time.perf_counter() + 60
    while began.keys() - watch.seen.keys() and time.perf_counter() < deadline:
        time.sleep(0.01)
    never = sorted(began.keys() - watch.seen.keys())
    assert not never, f"{len(never)} never entered, the first of them {never[0]}"
    return sorted((watch.seen[who] - moment) * 1000 for who, moment in began.items())


def measured(address: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    database = Database(address)
    database.migrate()
    begun = time.perf_counter()
    fill(database, options.customers, options.events)
    print(f"  {options.customers:,} customers and {options.events:,} events made in ", end="")
    print(f"{time.perf_counter() - begun:.0f} s", flush=True)
    dated(database)
    with service(folder / "project", FILES, address) as port:
        many, warm = int(options.seconds * options.rate), int(options.warm * options.rate)
        everybody = range(1, options.customers, options.customers // (many + warm))
        watch = Watch(database)
        watch.start()
        posted(port, watch, everybody[:warm], options.rate)
        took = posted(port, watch, everybody[warm : warm + many], options.rate)
        watch.done.set()
        watch.join()
    database.dispose()
    return {"p50_ms": at(took, 0.5), "p99_ms": at(took, 0.99), "max_ms": round(took[-1], 1), "joins": len(took)}


def dated(database: Database) -> None:
    """Birthdays, trials and renewals, spread evenly."""
    made = "json_set(attributes, '$.trial', {trial}, '$.renewal', {day})"
    day = "date('2026-06-01', '+' || (id % 700) || ' days')"
    if database.dialect == "postgresql":
        made = "attributes || jsonb_build_object('trial', {trial}, 'renewal', {day})"
        day = "to_char(date '2026-06-01' + (id % 700)::int, 'YYYY-MM-DD')"
    made = made.format(trial="1780000000000000 + id * 31000000", day=day)
    with database.write() as connection:
        connection.execute(
            text(
                f"UPDATE customer SET attributes = {made}, birth_month = 1 + id % 12, birth_day = 1 + id % 28, "
                "birth_year = 1950 + id % 60"
            )
        )
        if database.dialect == "postgresql":  # the rows were made with ids of their own, which the sequence knows not
            connection.execute(text("SELECT setval(pg_get_serial_sequence('event', 'id'), max(id)) FROM event"))
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")


Measure = Callable[[str, Path, argparse.Namespace], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20, help="purchases a second")
    parser.add_argument("--warm", type=float, default=20, help="seconds of purchases before those that count")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    options = parser.parse_args()
    tell("join", measured, options)


def tell(bench: str, measured: Measure, options: argparse.Namespace) -> None:
    """Measure it on each database that is wanted; the ratio is that of the worst p99 to a second."""
    figures = {}
    for kind in ["sqlite", "postgresql"] if options.database == "both" else [options.database]:
        print(kind, flush=True)
        with tempfile.TemporaryDirectory(prefix="karibu-bench-") as folder, places(kind, Path(folder)) as place:
            figures[kind] = measured(place("bench", None), Path(folder), options)
        print(f"  {figures[kind]}", flush=True)
    worst = max(found["p99_ms"] for found in figures.values())
    print(json.dumps({"bench": bench, "figures": figures, "ratio": round(worst / 1000, 2)}))


if __name__ == "__main__":
    main()
