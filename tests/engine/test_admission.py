"""A whole audience is let in chunk by chunk: nobody twice and nobody lost, whatever happens between two chunks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import event as hooks
from sqlalchemy import text

from engine.runtime import tick
from engine.runtime.ingest import Incoming
from engine.runtime.pace import Pace
from engine.runtime.profile import Profile
from engine.store.database import Database
from tests.engine.shop import Shop

WAIT = "steps:\n  - wait: 5d\n"
DAILY = 'enter: {schedule: "0 10 * * *"}\n' + WAIT
HOUR = timedelta(hours=1)
SIZE = 20
ENTERED_BY_VERSION = (
    "SELECT v.number, count(*) FROM enrolment e JOIN journey_version v ON v.id = e.version_id GROUP BY 1 ORDER BY 1"
)


class Small(Pace):
    """Chunks that a test can count."""

    ENTRIES = LARGE = 6


def shop_of(root: Path, database: Database, journey: str, *, publish: bool = True) -> Shop:
    (root / "workflows").mkdir(exist_ok=True)
    (root / "workflows/segments.yaml").write_text('buyers: did("purchase")\n')
    shop = Shop.of(root, database, {"hi": journey}, publish=publish)
    shop.runtime.pace = Small(database.dialect)
    return shop


def come(shop: Shop, size: int = SIZE, event: str = "closed") -> None:
    """So many customers are known."""
    now = shop.clock.now()
    shop.runtime.ingest([Incoming(f"c{n:03}", event, f"{event} {n}", now, {}) for n in range(size)])


def entered(shop: Shop) -> list[str]:
    rows = shop.rows("SELECT c.external_id FROM enrolment e JOIN customer c ON c.id = e.customer_id ORDER BY c.id")
    return [name for (name,) in rows]


def everybody(size: int = SIZE) -> list[str]:
    return [f"c{n:03}" for n in range(size)]


def under_way(shop: Shop) -> bool:
    found = shop.rows("SELECT value FROM mark WHERE name = 'entering:hi'")
    return any('"after"' in str(value) or "'after'" in str(value) for (value,) in found)


@contextmanager
def at_commit(database: Database, do: Callable[[int], object]) -> Iterator[None]:
    """Call do(n) before the n-th commit of a transaction that may write."""
    n = 0

    def commit(connection: Any) -> None:
        nonlocal n
        if "IMMEDIATE" in connection.get_execution_options()["karibu_begin"]:
            n += 1
            do(n)

    hooks.listen(database._writer, "commit", commit)
    try:
        yield
    finally:
        hooks.remove(database._writer, "commit", commit)


def interrupt(shop: Shop, chunks: int) -> None:
    """Tick, and fail after so many chunks: the claim of the fire is the first commit."""

    def fail(n: int) -> None:
        if n == chunks + 2:
            raise ConnectionError

    with at_commit(shop.runtime.database, fail):
        assert shop.runtime.tick().failed == {"hi": "ConnectionError"}
    assert len(entered(shop)) == chunks * Small.ENTRIES


def test_an_audience_enters_in_chunks_each_its_own_commit(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, DAILY)
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    other, found = shop.beside(Database(str(database.url.render_as_string(hide_password=False)))), []
    with at_commit(database, lambda _: found.append(len(entered(other)))):
        assert shop.runtime.tick().entered == {"hi": SIZE}
    other.runtime.database.dispose()
    assert {0, 6, 12, 18} <= set(found)
    assert entered(shop) == everybody()
    assert shop.rows("SELECT DISTINCT cause FROM enrolment") == [("schedule:2026-03-02T10:00",)]
    assert not under_way(shop)


@pytest.mark.parametrize(
    "enter",
    ['{schedule: "0 10 * * *"}', "{date: customer.renewal, repeat: once}", "{segment: buyers, members: now}"],
    ids=["schedule", "date", "members"],
)
def test_an_engine_killed_at_any_commit_of_an_admission_loses_nobody_and_lets_nobody_in_twice(
    database: Database, tmp_path: Path, enter: str
) -> None:
    journey = f"enter: {enter}\n{WAIT}"
    by_publish = "members" in enter
    url = database.url.render_as_string(hide_password=False)
    shop = shop_of(tmp_path, database, journey, publish=not by_publish)
    come(shop, event="purchase" if by_publish else "closed")
    with database.write() as connection:
        connection.execute(text("""UPDATE customer SET attributes = '{"renewal": "2026-03-03"}'"""))
    now = shop.clock.now() + timedelta(days=1, hours=1)
    database.dispose()  # a child has connections of its own

    def engine(commit: int) -> None:
        mine = Database(url)
        child = shop_of(tmp_path, mine, journey, publish=False)
        child.clock.advance_to(now)

        def kill(n: int) -> None:
            if n == commit:
                os.kill(os.getpid(), signal.SIGKILL)

        with at_commit(mine, kill):
            if by_publish:
                child.runtime.publish()
            child.runtime.tick()

    killed, first = 0, 3 if by_publish and database.dialect == "sqlite" else 2  # there a publish is told beforehand
    # One and the same database all along: each engine takes up what the last one left, and dies one commit later.
    while status_of(lambda: engine(first + killed % 2)) == -signal.SIGKILL:
        killed += 1
        assert entered(shop) == everybody()[: len(entered(shop))]
        if killed > 12:
            break
    assert 3 <= killed <= 12
    assert status_of(lambda: engine(0)) == 0
    assert entered(shop) == everybody()
    assert not under_way(shop)


def status_of(do: Callable[[], None]) -> int:
    """How a process of its own ended that did this: 0, or the signal that killed it as a negative number."""
    if (child := os.fork()) == 0:
        try:
            do()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


LIMITED = 'enter: {schedule: "0 10 * * *", limit: {at_most: 10, per: day, over: OVER}}\n' + WAIT


@pytest.mark.parametrize("over", ["wait", "skip"])
def test_a_limit_holds_exactly_across_chunks(database: Database, tmp_path: Path, over: str) -> None:
    shop = shop_of(tmp_path, database, LIMITED.replace("OVER", over))
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    shop.runtime.tick()
    assert entered(shop) == everybody()[:10]
    assert shop.rows("SELECT used FROM entry_quota") == [(10,)]
    table = "candidate" if over == "wait" else "refusal"
    assert shop.rows(f"SELECT count(*), min(reason) FROM {table}") == [(10, "limit")]


@pytest.mark.postgres
@pytest.mark.parametrize("journey", [DAILY, LIMITED.replace("OVER", "wait")], ids=["all", "limit"])
def test_two_engines_let_an_audience_in_together(postgres_url: str, tmp_path: Path, journey: str) -> None:
    databases = [Database(postgres_url) for _ in range(2)]
    shop = shop_of(tmp_path, databases[0], journey)
    shops = [shop, shop.beside(databases[1])]
    shops[1].runtime.pace = Small("postgresql")
    come(shop, 60)
    together = Barrier(2)
    failed: list[str] = []

    def run(mine: Shop) -> None:
        try:
            for _ in range(3):
                together.wait(60)
                failed.extend(mine.runtime.tick().failed)
        except BaseException as error:
            failed.append(repr(error))
            together.abort()

    shop.clock.advance_to(shop.clock.now() + HOUR)
    threads = [Thread(target=run, args=(one,)) for one in shops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    most = 60 if journey == DAILY else 10
    assert entered(shop) == everybody(60)[:most]
    assert shop.rows("SELECT count(*) FROM candidate") == [(60 - most,)]
    assert not under_way(shop)
    for database in databases:
        database.dispose()


def test_who_has_not_been_let_in_when_a_mistake_is_mended_enters_the_version_without_it(
    database: Database, tmp_path: Path
) -> None:
    shop = shop_of(tmp_path, database, DAILY)
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    interrupt(shop, 1)
    shop_of(tmp_path, database, DAILY.replace("5d", "6d"))
    shop.runtime.tick()
    assert shop.rows(ENTERED_BY_VERSION) == [(1, 6), (2, SIZE - 6)]


def test_who_was_named_by_a_fire_enters_its_version_though_the_next_one_goes_off_at_another_time(
    database: Database, tmp_path: Path
) -> None:
    shop = shop_of(tmp_path, database, DAILY)
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    interrupt(shop, 1)
    for time in ("11", "12"):  # twice, so that the one that fired isn't the last but one any more
        newer = shop_of(tmp_path, database, DAILY.replace("10", time))
    newer.clock.advance_to(shop.clock.now())
    newer.runtime.tick()
    assert shop.rows(ENTERED_BY_VERSION) == [(1, SIZE)]


def test_a_stopped_journey_lets_nobody_more_in_until_it_is_published_again(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, DAILY)
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    interrupt(shop, 1)
    with database.write() as connection:
        connection.execute(text("UPDATE journey_version SET state = 'stopped'"))
    shop.runtime.tick()
    assert len(entered(shop)) == 6
    shop.runtime.publish()
    shop.runtime.tick()
    assert entered(shop) == everybody()


def test_who_comes_after_a_fire_is_not_let_in_by_it(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, DAILY)
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    interrupt(shop, 1)
    come(shop, SIZE + 3)
    shop.runtime.tick()
    assert entered(shop) == everybody()


def test_what_happened_to_somebody_between_two_chunks_ends_the_journey_that_they_enter_by_the_second(
    database: Database, tmp_path: Path
) -> None:
    shop = shop_of(tmp_path, database, DAILY.replace("steps", "exit: [{event: shipped}]\nsteps"))
    come(shop)
    shop.clock.advance_to(shop.clock.now() + HOUR)
    interrupt(shop, 1)
    shop.happens("c001", "shipped")
    shop.happens("c009", "shipped")
    shop.runtime.tick()
    assert entered(shop) == everybody()
    left = "SELECT c.external_id FROM enrolment e JOIN customer c ON c.id = e.customer_id WHERE e.outcome = 'exited'"
    assert sorted(shop.rows(left)) == [("c001",), ("c009",)]


def test_many_who_join_a_segment_at_once_are_let_in_by_the_next_looks(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "FEW", 5)
    shop = shop_of(tmp_path, database, "enter: {segment: buyers}\n" + WAIT)
    come(shop, event="purchase")
    shop.runtime.tick()
    assert entered(shop) == everybody()
    assert shop.rows("SELECT DISTINCT cause FROM enrolment") == [("join:1",)]
    assert shop.rows("SELECT count(*) FROM candidate") == [(0,)]


def test_whose_date_arrives_late_enters_at_the_next_look(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, "enter: {date: customer.renewal, repeat: once, late: 7d}\n" + WAIT)
    come(shop, 3)
    shop.later(days=3)
    said = Profile(attributes={"renewal": "2026-03-04"})
    shop.runtime.ingest([Incoming("c001", "closed", "late", shop.clock.now(), {}, said)])
    shop.runtime.tick()
    assert entered(shop) == ["c001"]
    shop.runtime.tick()
    assert shop.rows("SELECT count(*) FROM candidate") == [(0,)]


def test_who_becomes_somebody_whose_turn_has_gone_by_is_let_in_all_the_same(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, "enter: {date: customer.renewal, repeat: once}\n" + WAIT)
    come(shop)
    shop.runtime.tick()  # today's fire, which names nobody
    with database.write() as connection:
        some = "external_id <= 'c006' OR external_id = 'c010'"
        dated = f"""UPDATE customer SET attributes = '{{"renewal": "2026-03-03"}}' WHERE {some}"""
        connection.execute(text(dated.replace("OR", "AND external_id <> 'c002' OR")))
    shop.clock.advance_to(shop.clock.now() + timedelta(days=1, hours=1))
    interrupt(shop, 1)
    assert "c002" not in entered(shop)
    shop.runtime.people().merge("c010", "c002")
    shop.runtime.tick()
    assert entered(shop) == everybody(7)
