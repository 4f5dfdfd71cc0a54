"""When PostgreSQL ends a transaction of the engine because it and another wait for each other, it is done again.

The other side is a connection that holds one row, waits until the engine waits for it, and then wants what the engine
holds. It never looks for deadlocks itself, so it is always the engine that PostgreSQL ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import text

from engine.runtime.advance import move_step
from engine.runtime.delivery import deliver
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.engine.test_interleavings import SEND, becomes_a_vip

pytestmark = pytest.mark.postgres

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
SEGMENTS = "SELECT pg_advisory_xact_lock(hashtext('karibu.segments'))"


@contextmanager
def in_the_way(url: str, holds: str, wants: str, patience: float = 60) -> Iterator[None]:
    """Somebody who has done `holds`, and does `wants` as soon as anybody waits."""
    database = Database(url)
    holding = Event()
    crossed: list[bool] = []

    def stand() -> None:
        with database.write() as connection:
            connection.execute(text("SET LOCAL deadlock_timeout = '10min'"))
            connection.execute(text(holds))
            holding.set()
            end = time.monotonic() + patience
            while not connection.scalar(text(WAITING)):
                if time.monotonic() > end:
                    return
                time.sleep(0.01)
            connection.execute(text(wants))
            crossed.append(True)

    thread = Thread(target=stand)
    thread.start()
    try:
        assert holding.wait(patience)
        yield
    finally:
        thread.join(patience)
        database.dispose()
    assert crossed, "the two have waited for each other"


def test_a_move_is_done_again(postgres_database: Database, postgres_url: str, tmp_path: Path) -> None:
    body = "enter: {event: purchase}\nsteps:\n  - update: {customer.tier: gold}\n  - wait: 1d\n"
    shop = Shop.of(tmp_path, postgres_database, {"hi": body})
    shop.happens("amina", "purchase")
    (work,) = shop.runtime.work()
    with in_the_way(postgres_url, "SELECT 1 FROM customer FOR UPDATE", "SELECT 1 FROM enrolment FOR UPDATE"):
        shop.runtime.move(work.version_id, "update_1", "p")
    shop.settle()
    assert shop.rows("SELECT step FROM enrolment") == [("wait_1",)]
    assert shop.rows("SELECT attributes FROM customer") == [({"tier": "gold"},)]


def test_the_record_of_what_was_sent_is_written_again(
    postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, postgres_database, SEND)
    shop.happens("amina", "purchase")
    (work,) = shop.runtime.work()
    runtime = shop.runtime
    program = runtime.programs()[work.version_id]
    move_step(runtime.database, program, "send_1", shop.clock.now(), "p")
    with in_the_way(postgres_url, "SELECT 1 FROM enrolment FOR UPDATE", "SELECT 1 FROM message FOR UPDATE"):
        report = deliver(runtime.database, program, "send_1", shop.clock, runtime.post, "p", runtime.pace)
    assert (report.sent, len(shop.sink.sent)) == (1, 1)
    assert shop.rows("SELECT state FROM message") == [("accepted",)]
    assert shop.rows("SELECT step FROM enrolment") == [("wait_1",)]


def test_a_look_at_the_clock_is_done_again(postgres_database: Database, postgres_url: str, tmp_path: Path) -> None:
    leaves = {"hi": "enter: {event: purchase}\nexit: [{when: customer.vip}]\nsteps:\n  - wait: 30d\n"}
    shop = Shop.of(tmp_path, postgres_database, leaves)
    shop.happens("amina", "purchase")
    shop.settle()
    becomes_a_vip(shop, "amina")
    with in_the_way(postgres_url, "SELECT 1 FROM enrolment FOR UPDATE", SEGMENTS):
        assert shop.runtime.tick().failed == {}
    assert shop.rows("SELECT state, outcome FROM enrolment") == [("ended", "exited")]
