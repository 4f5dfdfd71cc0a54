"""Those at the door of a journey: who is judged when, who gets the room there is, and what it costs that many wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Connection, String, literal, null, select, text

from engine.runtime import tick, waiting
from engine.runtime.entry import enter
from engine.runtime.ingest import Incoming
from engine.runtime.matching import lock_customers
from engine.runtime.profile import Profile
from engine.store.database import Database
from engine.store.tables import customer
from tests.engine.shop import Shop
from tests.listening import before_statements, engines_of

WAIT = "steps:\n  - wait: 5d\n"
LIMITED = "enter: {event: purchase, limit: {at_most: 2, per: day, over: wait}}\n" + WAIT
GRACED = 'enter: {event: purchase, audience: customer.tier == "gold", grace: 1d}\n' + WAIT
DAY = timedelta(days=1)


def buy(shop: Shop, *names: str) -> None:
    now, shop.keys = shop.clock.now(), shop.keys + 1
    batch = [Incoming(name, "purchase", f"{name} {shop.keys}", now, {"total": 1}) for name in names]
    shop.runtime.ingest(batch)


def say(shop: Shop, name: str, **attributes: Any) -> None:
    """A fact of a customer changes."""
    now, shop.keys = shop.clock.now(), shop.keys + 1
    fact = Incoming(name, "closed", f"fact {shop.keys}", now, {}, Profile(attributes=attributes))
    shop.runtime.ingest([fact])


def entered(shop: Shop) -> list[str]:
    rows = shop.rows("SELECT c.external_id FROM enrolment e JOIN customer c ON c.id = e.customer_id ORDER BY e.id")
    return [name for (name,) in rows]


def at_the_door(shop: Shop) -> int:
    ((number,),) = shop.rows("SELECT count(*) FROM candidate")
    return int(number)


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What the database is asked."""
    asked: list[tuple[str, Any]] = []

    def before(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    with before_statements(before, *engines_of(database)):
        yield asked


def test_who_came_first_gets_the_room_first(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": LIMITED})
    names = ["amina", "baraka", "chanda", "daudi", "esi", "femi"]
    for name in names:
        say(shop, name)
    buy(shop, "esi", "femi")
    for name in ("daudi", "amina", "chanda", "baraka"):
        shop.clock.advance_to(shop.clock.now() + timedelta(minutes=1))
        buy(shop, name)
    shop.runtime.tick()
    assert (entered(shop), at_the_door(shop)) == (["esi", "femi"], 4)
    shop.clock.advance_to(shop.clock.now() + DAY)
    shop.runtime.tick()
    assert set(entered(shop)[2:]) == {"daudi", "amina"}
    shop.clock.advance_to(shop.clock.now() + DAY)
    shop.runtime.tick()
    assert (set(entered(shop)[4:]), at_the_door(shop)) == ({"chanda", "baraka"}, 0)
    assert shop.rows("SELECT used FROM entry_quota ORDER BY period") == [(2,), (2,), (2,)]


def test_who_may_not_enter_any_more_takes_up_no_room(database: Database, tmp_path: Path) -> None:
    journey = LIMITED.replace("limit:", "audience: not customer.vip, limit:")
    shop = Shop.of(tmp_path, database, {"hi": journey})
    names = [f"c{n}" for n in range(9)]
    for name in names:
        say(shop, name, vip=False)
        buy(shop, name)
    for name in names[2:7]:
        say(shop, name, vip=True)
    shop.clock.advance_to(shop.clock.now() + DAY)
    shop.runtime.tick()
    assert entered(shop) == ["c0", "c1", "c7", "c8"]
    assert shop.rows("SELECT reason, count(*) FROM refusal GROUP BY reason") == [("audience", 5)]
    assert at_the_door(shop) == 0


def test_a_look_asks_the_same_however_many_wait_and_writes_nothing_while_there_is_no_room(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, {"hi": LIMITED})
    buy(shop, *(f"c{n}" for n in range(10)))
    shop.runtime.tick()
    with statements(database) as few:
        shop.runtime.tick()
    buy(shop, *(f"d{n}" for n in range(200)))
    shop.runtime.tick()
    with statements(database) as many:
        shop.runtime.tick()
    assert len(many) == len(few)
    assert not [asked for asked, _ in many if "arriving" in asked or asked.startswith("UPDATE candidate")]


def test_a_changed_fact_lets_somebody_in_at_once_and_time_lets_in_the_others_in_turn(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WATCHED", 2)
    old = "customer.created < now - 22h"
    journey = GRACED.replace('customer.tier == "gold"', f'customer.tier == "gold" or {old}')
    shop = Shop.of(tmp_path, database, {"hi": journey})
    names = [f"c{n}" for n in range(7)]
    buy(shop, *names)
    shop.runtime.tick()
    assert at_the_door(shop) == 7
    say(shop, "c5", tier="gold")
    shop.runtime.tick()
    assert entered(shop) == ["c5"]
    shop.clock.advance_to(shop.clock.now() + timedelta(hours=23))
    for n in range(1, 4):
        shop.runtime.tick()
        assert len(entered(shop)) <= 1 + 2 * n
    for _ in range(3):
        shop.runtime.tick()
    assert (sorted(entered(shop)), at_the_door(shop)) == (names, 0)


@pytest.mark.postgres
def test_a_look_at_what_changed_does_not_wait_for_who_takes_events_in(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, postgres_database, {"hi": GRACED.replace("steps", "exit: [{event: closed}]\nsteps")})
    buy(shop, "amina")
    shop.runtime.tick()
    say(shop, "amina", tier="gold")
    taking_in = Database(postgres_database.url.render_as_string(hide_password=False))
    with taking_in.write() as other, postgres_database.write() as connection:
        lock_customers(other, select(customer.c.id))
        connection.execute(text("SET LOCAL lock_timeout = 100"))
        programs = list(shop.runtime.programs().values())
        assert tick.refresh(connection, shop.runtime.content, programs, shop.clock.now()).failed == {}
    taking_in.dispose()
    shop.runtime.tick()
    assert entered(shop) == ["amina"]


def test_a_grace_is_over_for_everybody_at_its_time(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WATCHED", 2)
    shop = Shop.of(tmp_path, database, {"hi": GRACED})
    buy(shop, *(f"c{n}" for n in range(7)))
    shop.clock.advance_to(shop.clock.now() + DAY)
    shop.runtime.tick()
    assert shop.rows("SELECT reason, count(*) FROM refusal GROUP BY reason") == [("audience", 7)]
    assert at_the_door(shop) == 0


def test_who_waits_for_two_causes_enters_for_the_older(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": LIMITED})
    buy(shop, "esi", "femi")
    buy(shop, "amina")
    shop.clock.advance_to(shop.clock.now() + timedelta(minutes=1))
    buy(shop, "amina")
    assert at_the_door(shop) == 2
    shop.clock.advance_to(shop.clock.now() + DAY)
    shop.runtime.tick()
    assert (entered(shop), at_the_door(shop)) == (["esi", "femi", "amina"], 0)
    assert shop.rows("SELECT reason FROM refusal") == [("again",)]
    assert shop.rows("SELECT used FROM entry_quota ORDER BY period") == [(2,), (1,)]


@pytest.mark.postgres
def test_who_is_let_in_by_another_engine_meanwhile_takes_up_no_room_twice(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, postgres_database, {"hi": LIMITED})
    say(shop, "amina")
    (program,) = shop.runtime.programs().values()
    begun = Signal()

    def let_in(connection: Connection, cause: str) -> dict[str, int]:
        who = select(
            customer.c.id.label("customer_id"), literal(cause, String).label("cause"), null().label("event_id")
        )
        return enter(connection, program, who, shop.clock.now()).refused

    refused: list[dict[str, int]] = []

    def beside() -> None:
        with postgres_database.write() as connection:
            begun.set()
            refused.append(let_in(connection, "second"))

    thread = Thread(target=beside)
    with postgres_database.write() as connection:
        let_in(connection, "first")
        thread.start()
        begun.wait(20)
        thread.join(0.3)  # it waits for this transaction, having seen nothing of it
    thread.join(20)
    assert refused == [{"again": 1}]
    assert shop.rows("SELECT used FROM entry_quota") == [(1,)]


def test_no_look_and_no_event_scans_who_waits_has_entered_or_is_known(
    sqlite_database: Database, tmp_path: Path
) -> None:
    journeys = {
        "limited": LIMITED,
        "graced": GRACED,
        "timed": 'enter: {schedule: "0 10 * * *"}\n' + WAIT,
        "old": "enter: {event: shipped}\n" + WAIT,
    }
    shop = Shop.of(tmp_path, sqlite_database, journeys)
    buy(shop, *(f"c{n}" for n in range(400)))
    with sqlite_database.write() as connection:
        connection.execute(text("UPDATE enrolment SET state = 'ended', outcome = 'finished', due_at = NULL"))
        connection.exec_driver_sql("ANALYZE")  # the plans of a database that knows how large its tables are
    shop.clock.advance_to(shop.clock.now() + timedelta(hours=1))
    shop.runtime._seen = None
    with statements(sqlite_database) as asked:
        say(shop, "c7", tier="gold")
        buy(shop, "new")
        shop.runtime.tick()
        shop.clock.advance_to(shop.clock.now() + DAY)
        shop.runtime.tick()
    scans = set()
    with sqlite_database.write() as connection:
        for statement, parameters in asked:
            if statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE")) and "segment" not in statement:
                many = isinstance(parameters, list)
                plan = connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters
                )
                scans |= {(row[3], statement) for row in plan if row[3].startswith("SCAN")}
    large = ("candidate", "enrolment", "customer", "event", "entry", "decision", "refusal")
    assert [(how, statement) for how, statement in scans if how.split()[1] in large] == []
