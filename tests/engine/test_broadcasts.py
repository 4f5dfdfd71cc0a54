"""A broadcast goes to a slice first, and to no address twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from engine.channels.base import Accepted, Refused
from engine.runtime import broadcasts, pausing
from engine.runtime.advance import StepReport, move_step
from engine.runtime.delivery import Delivery
from engine.runtime.feedback import Feedback, take
from engine.runtime.references import reference
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from tests.engine.shop import START, Shop

NEWS = """enter: {schedule: "0 10 * * *", again: always}
canary: {share: 10%, for: 30m, stop_at: 10%}
steps: [{send: email/hello}, {wait: 9d}, {send: email/again}]
"""
PEOPLE = 60


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasts, "MANY", 40)


def shop_of(tmp_path: Path, database: Database, people: int = PEOPLE, journey: str = NEWS) -> Shop:
    """A shop on the morning of a broadcast."""
    shop = Shop.of(tmp_path, database, {"news": journey})
    for n in range(people):
        shop.happens(f"c{n}", "closed")
    return shop


def at_ten(shop: Shop) -> None:
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.settle()


def held_for(database: Database) -> list[str]:
    with database.read() as connection:
        return [pause.why for pause in pausing.pauses(connection).values()]


def test_the_first_slice_goes_and_the_rest_when_it_has_come_to_no_harm(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database)
    at_ten(shop)
    assert len(shop.sink.sent) == 6
    assert not shop.runtime.work()  # nothing spins while the rest waits
    with database.read() as connection:
        seen = broadcasts.watched(connection)
    assert list(seen.values()) == [broadcasts.Watched(PEOPLE - 6, shop.clock.now() + timedelta(minutes=30))]
    shop.later(minutes=29)
    assert len(shop.sink.sent) == 6
    shop.later(minutes=1)
    assert len(shop.sink.sent) == PEOPLE == len({one.to for one in shop.sink.sent})
    assert not held_for(database)
    with database.read() as connection:
        assert not broadcasts.watched(connection)


@pytest.mark.parametrize("harm", ["bounced", "complained", "refused"])
def test_a_slice_that_comes_to_harm_pauses_the_journey_until_somebody_decides(
    database: Database, tmp_path: Path, harm: str
) -> None:
    shop = shop_of(tmp_path, database)
    if harm == "refused":
        shop.sink.answers = {f"c{n}@shop.example": Refused("unknown address") for n in range(PEOPLE)}
    at_ten(shop)
    assert len(shop.sink.sent) == 6
    if harm != "refused":
        refs = [reference(*row) for row in shop.rows("SELECT enrolment_id, visit, route FROM message ORDER BY id")]
        with database.write() as connection:
            take(connection, [Feedback(refs[0], harm, shop.clock.now(), {})], shop.clock.now())  # type: ignore[arg-type]
    shop.later(hours=9)
    assert len(shop.sink.sent) == 6
    assert len(held_for(database)) == 1 and "resume sends the rest" in held_for(database)[0]
    shop.sink.answers = {}
    with database.write() as connection:
        assert pausing.resume(connection, "news")
    shop.settle()
    assert len(shop.sink.sent) == PEOPLE
    assert not held_for(database)


def test_few_go_at_once(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, people=40)
    at_ten(shop)
    assert len(shop.sink.sent) == 40


def test_a_journey_of_an_event_is_no_broadcast(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, journey="enter: {event: closed}\nsteps: [{send: email/hello}]\n")
    shop.settle()
    assert len(shop.sink.sent) == PEOPLE


def test_the_next_day_is_another_broadcast_with_a_slice_of_its_own(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, journey=NEWS.replace(", {wait: 9d}, {send: email/again}", ""))
    at_ten(shop)
    shop.later(minutes=30)
    assert len(shop.sink.sent) == PEOPLE
    shop.clock.advance_to(START + timedelta(hours=25))
    shop.settle()
    assert len(shop.sink.sent) == PEOPLE + 6
    shop.later(minutes=30)
    assert len(shop.sink.sent) == 2 * PEOPLE


def test_an_address_that_two_customers_have_gets_a_broadcast_once(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, people=6)
    with database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE customer SET email = 'both@shop.example', email_hash = 'hash-both' WHERE external_id IN ('c1', 'c4')"
        )
    at_ten(shop)
    assert len(shop.sink.to("both@shop.example")) == 1
    assert shop.rows("SELECT count(*) FROM message WHERE reason = 'same_address'") == [(1,)]
    assert shop.rows("SELECT count(*) FROM enrolment WHERE state = 'waiting'") == [(6,)]  # they go on all the same
    shop.later(days=10)  # the second step, and the last morning's first: the others were missed
    visits = [ref.partition("-")[2] for ref in shop.sink.to("both@shop.example")]
    assert sorted(visits) == ["1", "1", "3"]


def test_a_message_that_is_tried_again_is_not_its_own_double(database: Database, tmp_path: Path) -> None:
    shop = shop_of(tmp_path, database, people=1)
    shop.sink.answers["c0@shop.example"] = Refused("busy", retry_after=timedelta(minutes=1))
    at_ten(shop)
    shop.sink.answers["c0@shop.example"] = Accepted("sink")
    shop.later(minutes=2)
    assert shop.rows("SELECT state, reason FROM message") == [("accepted", None)]


@pytest.mark.postgres
def test_of_two_engines_one_sends_to_an_address(postgres_url: str, tmp_path: Path) -> None:
    first, second = Database(postgres_url), Database(postgres_url)
    shop = shop_of(tmp_path, first, people=30)
    beside = shop.beside(second)
    with first.write() as connection:
        connection.exec_driver_sql("UPDATE customer SET email = 'x' || mod(id, 5) || '@shop.example'")
        connection.exec_driver_sql("UPDATE customer SET email_hash = 'h' || mod(id, 5)")
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.runtime.tick()
    threads = [Thread(target=one.runtime.advance, args=(f"engine-{n}",)) for n, one in enumerate((shop, beside))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.to for one in shop.sink.sent) == [f"x{n}@shop.example" for n in range(5)]
    first.dispose()
    second.dispose()


def test_an_address_that_was_skipped_is_free_for_who_else_has_it(database: Database, tmp_path: Path) -> None:
    gate = 'quiet_hours: {from: "21:00", to: "08:00", on_violation: skip}\n'
    shop = Shop.of(tmp_path, database, {"news": NEWS}, gate=gate)
    for name in ("amina", "baraka"):
        shop.happens(name, "closed")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE customer SET email = 'both@shop.example', email_hash = 'both'")
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.runtime.tick()
    (program,) = shop.runtime.programs().values()
    move_step(database, program, "send_1", shop.clock.now(), "p")
    delivery = Delivery(
        database, program, "send_1", shop.clock, shop.runtime.post, "p", StepReport("send_1"), batch=lambda: 2
    )
    claimed, _ = delivery.claim()
    assert len(claimed) == 2
    with database.write() as connection:  # meanwhile she is said to live where it is night
        ensure_zones(connection, ["America/New_York"])
        connection.exec_driver_sql("UPDATE customer SET timezone = 'America/New_York' WHERE external_id = 'amina'")
    delivery.dispatch(claimed)
    assert [one.to for one in shop.sink.sent] == ["both@shop.example"]
    assert shop.rows("SELECT state, reason FROM message ORDER BY id") == [
        ("stopped", "quiet_hours"),
        ("accepted", None),
    ]


def test_a_slice_of_which_nothing_went_out_says_nothing_and_the_next_is_watched(
    database: Database, tmp_path: Path
) -> None:
    shop = shop_of(tmp_path, database)
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.runtime.tick()
    (program,) = shop.runtime.programs().values()
    move_step(database, program, "send_1", shop.clock.now(), "p")
    with database.write() as connection:  # the first six say no when their messages are in the queue
        connection.exec_driver_sql(
            "DELETE FROM consent WHERE customer_id IN (SELECT id FROM customer ORDER BY id LIMIT 6)"
        )
    shop.settle()
    shop.settle()
    assert len(shop.sink.sent) == 5, "a tenth of the 54 that are left"
    shop.later(minutes=30)
    assert len(shop.sink.sent) == 54


def test_a_slice_that_is_held_keeps_nobody_waiting(database: Database, tmp_path: Path) -> None:
    gate = 'quiet_hours: {from: "21:00", to: "08:00"}\n'
    shop = Shop.of(tmp_path, database, {"news": NEWS}, gate=gate)
    for n in range(PEOPLE):
        shop.happens(f"c{n}", "closed")
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.runtime.tick()
    (program,) = shop.runtime.programs().values()
    move_step(database, program, "send_1", shop.clock.now(), "p")
    with database.write() as connection:  # where the first six live night has come meanwhile
        ensure_zones(connection, ["America/New_York"])
        first = "SELECT id FROM customer ORDER BY id LIMIT 6"
        connection.exec_driver_sql(f"UPDATE customer SET timezone = 'America/New_York' WHERE id IN ({first})")
    shop.settle()
    shop.settle()
    assert len(shop.sink.sent) == 5
    assert not shop.runtime.work()
    shop.later(minutes=30)
    assert len(shop.sink.sent) == 54
    shop.later(hours=6)
    assert len(shop.sink.sent) == 60
