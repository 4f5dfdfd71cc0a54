"""The send gate over a cohort with five caps and a long past, against hand-written SQL that does the same.

    make bench-gate                             100,000 customers, 10 million past messages, both databases
    make bench-gate ARGS="--cohort 20000 --past 500000 --database postgresql"

Timed: everybody who is due at a `send` is judged (consent, address, suppression, five caps), the slots of those who may
are taken, messages queued, and the others moved on, decisions written. Twice as many customers are due: the engine has
one half, the hand-written SQL the other (so neither finds pages that the other has just written), in the same chunks,
each its own commit, on the same tables in the same minute. `--plans` prints how each database answers the statement
that reads the slots.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import event as listen
from sqlalchemy import text

from bench.cohort import MAIL, NOW, PROJECT, places
from engine.builtins import registry
from engine.channels.base import Sender
from engine.language.content import load
from engine.rendering.renderer import Renderer
from engine.runtime.advance import move_step
from engine.runtime.clock import VirtualClock
from engine.runtime.pace import Pace
from engine.runtime.post import Post
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.store.types import micros

CAPS = """
caps:
  - {topic: offers, at_most: 3, per: 7d}
  - {channel: email, at_most: 2, per: 1d}
  - {at_most: 6, per: 30d}
  - {journey: bench, at_most: 2, per: 14d}
  - {topic: offers, channel: email, at_most: 4, per: 21d}
"""
JOURNEY = "journey: {name}\ntopic: offers\nenter: {{manual: true}}\nsteps: [{{send: email/a}}, {{wait: 1d}}]\n"
DAY = 86_400_000_000
NOW_US = micros(NOW)
CHUNK = Pace.LARGE
PART = 1_000_000
"""Rows made in one statement."""


def numbers(kind: str, low: int, high: int) -> str:
    if kind == "postgresql":
        return f"(SELECT generate_series({low}::bigint, {high}) AS i) AS numbers"
    series = f"WITH RECURSIVE n(i) AS (SELECT {low} UNION ALL SELECT i + 1 FROM n WHERE i < {high}) SELECT i FROM n"
    return f"({series}) AS numbers"


def parts(size: int) -> Iterator[tuple[int, int]]:
    for low in range(1, size + 1, PART):
        yield low, min(low + PART - 1, size)


def fill(database: Database, caps: list[tuple[str, int, int]], cohort: int, past: int, version: int) -> None:
    """The past: ten messages each, the slots they took, and a cohort that stands at the send, spread over all of them.

    Of a cap's slots a customer has had from none to all, half of them so long ago that they are free again."""
    kind = database.dialect
    people = max(past // 10, 2 * cohort)
    apart = people // (2 * cohort)
    false = "0" if kind == "sqlite" else "false"
    for low, high in parts(past):
        with database.write() as c:
            c.execute(
                text(
                    "INSERT INTO message (enrolment_id, visit, route, customer_id, version_id, step, channel, "
                    "template, topic, state, queued_at, due_at, settled_at, fence, attempts) SELECT -i, 1, 'primary', "
                    f"1 + i % {people}, 0, 'send_1', 'email', 'email/a', 'offers', 'accepted', {NOW_US} - i, "
                    f"{NOW_US} - i, {NOW_US} - i, 1, 1 FROM {numbers(kind, low, high)}"
                )
            )
    for low, high in parts(people):
        with database.write() as c:
            wanted = " UNION ALL ".join(
                f"SELECT i AS who, '{key}' AS cap, {n} AS n, {per} AS per, i * 48271 / {n + 1} % 1009 AS chance "
                f"FROM {numbers(kind, low, high)} WHERE i * 16807 % 2147483647 % {at_most + 1} > {n}"
                for key, at_most, per in caps
                for n in range(at_most)
            )
            c.execute(
                text(
                    "INSERT INTO cap_slot (customer_id, cap, n, enrolment_id, visit, taken_at, until) "
                    f"SELECT who, cap, n, -who, 1, {NOW_US} - per * chance / 500, {NOW_US} + per - per * chance / 500 "
                    f"FROM ({wanted}) AS wanted ORDER BY who, cap, n"
                )
            )
    with database.write() as c:
        everybody = numbers(kind, 1, 2 * cohort)
        who = f"(i * {apart})"
        c.execute(
            text(
                "INSERT INTO customer (id, external_id, email, email_hash, first_name, country, attributes, bucket, "
                f"created_at, updated_at) SELECT {who}, 'c' || i, 'c' || i || '@shop.example', 'h' || i, 'Amina', "
                f"'KE', '{{}}', i, {NOW_US}, {NOW_US} FROM {everybody}"
            )
        )
        c.execute(
            text(
                "INSERT INTO consent (customer_id, channel, topic, state, at, source) "
                f"SELECT {who}, 'email', 'offers', 'on', {NOW_US}, 'bench' FROM {everybody}"
            )
        )
        c.execute(
            text(
                "INSERT INTO enrolment (id, journey, version_id, customer_id, key, cause, side_by_side, state, step, "
                "visit, due_at, entered_at, moved_at) "
                f"SELECT i, 'bench', CASE WHEN i <= {cohort} THEN {version} ELSE -1 END, "
                f"{who}, '', 'bench', {false}, 'ready', 'send_1', 1, {NOW_US}, {NOW_US}, {NOW_US} FROM {everybody}"
            )
        )
        c.execute(text("ANALYZE" if kind == "postgresql" else "PRAGMA optimize = 0x10002"))
    if kind == "postgresql":
        with database._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(text("VACUUM ANALYZE"))
            c.execute(text("CHECKPOINT"))


def by_hand(database: Database, caps: list[tuple[str, int, int]]) -> int:
    """What a careful engineer would type for this one step: judge with the slots counted beside, then five inserts of
    slots, the messages, the decisions and the moves. The free slot of each cap is found in the same look."""
    kind = database.dialect
    columns = ", ".join(f"n_{n} INTEGER" for n in range(len(caps)))
    on_commit = "" if kind == "sqlite" else " ON COMMIT DELETE ROWS"
    keys = ", ".join(f"'{key}'" for key, _, _ in caps)
    lock = "" if kind == "sqlite" else " FOR UPDATE OF e"
    chosen = ", ".join(
        f"CASE WHEN count(CASE WHEN s.cap = '{key}' AND s.until > {NOW_US} THEN 1 END) < {at_most} THEN "
        f"coalesce(min(CASE WHEN s.cap = '{key}' AND s.until <= {NOW_US} THEN s.n END), "
        f"count(CASE WHEN s.cap = '{key}' THEN 1 END)) END"
        for key, at_most, _ in caps
    )
    stop = f"""CASE WHEN EXISTS (SELECT 1 FROM hush WHERE hush.customer_id = c.id AND hush.topic = 'offers'
            AND hush.until > {NOW_US}) THEN 'hushed'
        WHEN NOT EXISTS (SELECT 1 FROM consent WHERE consent.customer_id = c.id AND consent.channel = 'email'
            AND consent.topic = 'offers' AND consent.state = 'on') THEN 'no_consent'
        WHEN c.email IS NULL THEN 'no_address' WHEN c.email_hash IS NULL THEN 'bad_address'
        WHEN EXISTS (SELECT 1 FROM suppression WHERE suppression.channel = 'email'
            AND suppression.address_hash = c.email_hash) THEN 'suppressed' END"""
    full = " OR ".join(f"n_{n} IS NULL" for n in range(len(caps)))
    may = f"reason IS NULL AND NOT ({full})"
    why = "coalesce(reason, 'capped')"
    done = 0
    while True:
        with database.write() as c:
            c.exec_driver_sql(
                "CREATE TEMPORARY TABLE IF NOT EXISTS hand (id BIGINT PRIMARY KEY, who BIGINT, visit INTEGER, "
                f"reason TEXT, {columns}){on_commit}"
            )
            c.exec_driver_sql("DELETE FROM hand")
            size = c.exec_driver_sql(
                f"""INSERT INTO hand SELECT j.id, j.customer_id, j.visit, j.stop, {chosen}
                FROM (SELECT e.id, e.customer_id, e.visit, {stop} AS stop FROM enrolment e
                    JOIN customer c ON c.id = e.customer_id
                    WHERE e.version_id = -1 AND e.step = 'send_1' AND e.state <> 'ended' AND e.due_at <= {NOW_US}
                    LIMIT {CHUNK}{lock}) AS j
                LEFT JOIN cap_slot s ON s.customer_id = j.customer_id AND s.cap IN ({keys})
                GROUP BY j.id, j.customer_id, j.visit, j.stop"""
            ).rowcount
            if not size:
                return done
            for n, (key, _, per) in enumerate(caps):
                c.exec_driver_sql(
                    f"""INSERT INTO cap_slot SELECT who, '{key}', n_{n}, id, visit, {NOW_US}, {NOW_US + per} FROM hand
                    WHERE {may} ORDER BY who ON CONFLICT (customer_id, cap, n) DO UPDATE SET
                    enrolment_id = excluded.enrolment_id, visit = excluded.visit, taken_at = excluded.taken_at,
                    until = excluded.until WHERE cap_slot.until <= {NOW_US}"""
                )
            c.exec_driver_sql(
                f"""INSERT INTO message (enrolment_id, visit, route, customer_id, version_id, step, channel, template,
                topic, state, queued_at, due_at, fence, attempts) SELECT id, visit, 'primary', who, -1, 'send_1',
                'email', 'email/a', 'offers', 'queued', {NOW_US}, {NOW_US}, 0, 0 FROM hand WHERE {may}
                ON CONFLICT DO NOTHING"""
            )
            c.exec_driver_sql(
                f"""UPDATE enrolment SET state = 'standing', due_at = NULL, pass_id = 'hand'
                FROM hand WHERE hand.id = enrolment.id AND hand.visit = enrolment.visit AND {may}"""
            )
            c.exec_driver_sql(
                f"""INSERT INTO decision (enrolment_id, visit, kind, step, outcome, reason, at, event_id, detail)
                SELECT id, visit, 'moves', 'send_1', 'not_sent', {why}, {NOW_US}, NULL, NULL FROM hand
                WHERE NOT ({may}) ON CONFLICT DO NOTHING"""
            )
            c.exec_driver_sql(
                f"""UPDATE enrolment SET step = 'wait_1', visit = enrolment.visit + 1, moved_at = {NOW_US},
                due_at = {NOW_US}, pass_id = 'hand', state = 'ready'
                FROM hand WHERE hand.id = enrolment.id AND hand.visit = enrolment.visit AND NOT ({may})"""
            )
            done += size


def counts(database: Database, low: int, high: int) -> dict[str, int]:
    """What one half of the customers got."""
    half = f"enrolment_id BETWEEN {low} AND {high}"
    asked = {
        "messages": f"SELECT count(*) FROM message WHERE {half} AND state = 'queued'",
        "slots": f"SELECT count(*) FROM cap_slot WHERE {half}",
        "capped": f"SELECT count(*) FROM decision WHERE {half} AND reason = 'capped'",
    }
    with database.read() as c:
        return {name: c.execute(text(statement)).scalar_one() for name, statement in asked.items()}


def run(database: Database, root: Path, cohort: int, past: int, plans: bool) -> dict[str, float]:
    for name, body in (
        ("workflows/project.yaml", PROJECT + CAPS),
        ("workflows/bench.yaml", JOURNEY.format(name="bench")),
        ("templates/email/a.mjml", MAIL),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(body)
    content = load(root, registry())
    post = Post({}, Renderer(root, content.project), Sender("Duka"), lambda subscription: "")
    runtime = Runtime(database, content, registry(), VirtualClock(NOW), post)
    runtime.publish()
    (program,) = runtime.programs().values()
    caps = [
        (cap.key, cap.at_most, round(cap.per.length.total_seconds() * 1e6))
        for cap in content.project.caps
        if cap.per.length is not None
    ]
    begun = time.perf_counter()
    fill(database, caps, cohort, past, program.version_id)
    print(f"  filled in {time.perf_counter() - begun:.0f} s", flush=True)
    with database.read() as c:  # both find the tables in memory
        for table, column in (("cap_slot", "n"), ("customer", "bucket"), ("consent", "at"), ("enrolment", "visit")):
            c.execute(text(f"SELECT max({column}) FROM {table}"))
    if plans:
        told(database)
    begun = time.perf_counter()
    assert by_hand(database, caps) == cohort
    hand = time.perf_counter() - begun
    begun = time.perf_counter()
    report = move_step(database, program, "send_1", NOW, "bench")
    ours = time.perf_counter() - begun
    assert report.came == cohort
    one, other = counts(database, 1, cohort), counts(database, cohort + 1, 2 * cohort)
    apart = abs(one["messages"] - other["messages"]) / cohort
    assert one["messages"] + one["capped"] == other["messages"] + other["capped"] == cohort
    assert one["slots"] == len(caps) * one["messages"]
    assert other["slots"] == len(caps) * other["messages"]
    assert apart < 0.05, (one, other)
    return {"seconds": ours, "yardstick": hand, "ratio": ours / hand, "per_second": cohort / ours, **one}


def told(database: Database) -> None:
    """Print the plan of the statement that reads the slots, once, when it comes."""
    seen: set[str] = set()

    @listen.listens_for(database._writer, "before_cursor_execute")
    def explain(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if not statement.startswith("INSERT INTO chosen_") or seen:
            return
        seen.add(statement)
        prefix = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN (COSTS OFF) "
        cursor.execute(prefix + statement, parameters)  # type: ignore[attr-defined]
        for row in cursor.fetchall():  # type: ignore[attr-defined]
            print("    " + str(row[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cohort", type=int, default=100_000)
    parser.add_argument("--past", type=int, default=10_000_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--plans", action="store_true")
    asked = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for kind in ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]:
        with tempfile.TemporaryDirectory() as folder, places(kind, Path(folder)) as place:
            database = Database(place("gate", None))
            database.migrate()
            one = run(database, Path(folder) / "shop", asked.cohort, asked.past, asked.plans)
            database.dispose()
        figures[kind] = {name: round(value, 3) for name, value in one.items()}
        print(f"{kind}: {asked.cohort:,} customers in {one['seconds']:.2f} s, {one['ratio']:.2f} x by hand", flush=True)
    worst = max(one["ratio"] for one in figures.values())
    shown = {"bench": "gate", "cohort": asked.cohort, "past": asked.past, "caps": 5, "figures": figures}
    print(json.dumps({**shown, "ratio": round(worst, 2)}))


if __name__ == "__main__":
    main()
