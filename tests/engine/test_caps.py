"""Caps: the last slot goes to one, to whom it belongs, and comes back when nothing was sent."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from engine.channels.base import InDoubt, Refused
from engine.runtime import doubts
from engine.runtime.advance import move_step
from engine.runtime.explain import explain
from engine.runtime.references import reference
from engine.store.database import Database
from tests.conftest import Postgres
from tests.engine.shop import Shop
from tests.engine.test_interleavings import Interleaved, every_moment, two_engines

ENTER = "enter: {event: purchase, again: always}\n"
SEND = ENTER + "steps:\n  - send: email/hello\n  - wait: 30d\n"
ONE = "caps: [{topic: offers, at_most: 1, per: 7d}]\n"
TAKEN = "SELECT cap, n, enrolment_id FROM cap_slot WHERE until > 0 ORDER BY n"


@pytest.mark.postgres
@pytest.mark.slow
def test_two_journeys_on_two_connections_send_the_last_one_once(postgres: Postgres, tmp_path: Path) -> None:
    gate = "caps: [{topic: offers, at_most: 2, per: 7d}, {channel: email, at_most: 1, per: calendar day}]\n"

    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, {"a": SEND, "b": SEND}, gate) as (one, other):
            one.happens("amina", "purchase")
            a, b = (one.runtime.programs()[work.version_id] for work in one.runtime.work())
            now = one.clock.now()
            meeting = Interleaved(one, n, lambda: move_step(other.runtime.database, b, "send_1", now, "q"))
            statements = meeting.run(lambda: move_step(one.runtime.database, a, "send_1", now, "p"))
            assert len(one.rows("SELECT 1 FROM message")) == 1
            taken = one.rows("SELECT cap, n FROM cap_slot WHERE until > 0 ORDER BY cap")
            assert taken == [("channel email per calendar day", 0), ("topic offers per 1w", 0)]
            one.settle()
            assert len(one.sink.sent) == 1
            reasons = one.rows("SELECT outcome, reason FROM decision WHERE step = 'send_1' ORDER BY outcome")
            assert reasons == [("not_sent", "capped"), ("sent", None)]
            return statements

    every_moment(run)


def test_of_two_journeys_due_at_once_the_one_of_higher_priority_sends(database: Database, tmp_path: Path) -> None:
    journeys = {"first": "priority: 10\n" + SEND, "second": "priority: 90\n" + SEND, "third": SEND}
    shop = Shop.of(tmp_path, database, journeys, gate=ONE)
    shop.happens("amina", "purchase")
    shop.settle()
    sent = "SELECT e.journey FROM message m JOIN enrolment e ON e.id = m.enrolment_id WHERE m.state = 'accepted'"
    assert shop.rows(sent) == [("second",)]
    assert sorted(message.labels["journey"] for message in shop.sink.sent) == ["second"]


def test_what_is_refused_gives_its_slot_back_and_what_is_in_doubt_keeps_it(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=ONE)
    shop.sink.answers["amina@shop.example"] = Refused("bad")
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows(TAKEN) == []
    shop.sink.answers["amina@shop.example"] = InDoubt("timeout")
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows(TAKEN) == [("topic offers per 1w", 0, 2)]
    shop.happens("amina", "purchase")
    shop.settle()
    reasons = shop.rows("SELECT outcome, reason FROM decision WHERE kind = 'moves' ORDER BY enrolment_id")
    assert reasons == [("not_sent", "bad"), ("in_doubt", "timeout"), ("not_sent", "capped")]
    with database.write() as connection:
        assert doubts.resolve(connection, reference(2, 1, "primary"), "not-sent", "the log says so", shop.clock.now())
    assert shop.rows(TAKEN) == []
    shop.sink.answers.clear()
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows(TAKEN) == [("topic offers per 1w", 0, 4)]


def test_a_restart_between_the_slot_and_the_message_takes_no_second_one(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=ONE)
    shop.happens("amina", "purchase")
    (work,) = shop.runtime.work()
    program = shop.runtime.programs()[work.version_id]
    move_step(database, program, "send_1", shop.clock.now(), "p")
    before = shop.rows(TAKEN)
    again = shop.beside(database)
    again.runtime.recover(alone=True)
    again.settle()
    assert len(again.sink.sent) == 1
    assert again.rows(TAKEN) == before == [("topic offers per 1w", 0, 1)]


def test_one_customer_twice_in_a_cohort_takes_two_slots_and_the_third_is_capped(
    database: Database, tmp_path: Path
) -> None:
    gate = "caps: [{topic: offers, at_most: 2, per: 7d}, {at_most: 5, per: calendar month}]\n"
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=gate)
    for name in ("amina", "amina", "amina", "baraka"):
        shop.happens(name, "purchase")
    shop.settle()
    assert sorted(message.to for message in shop.sink.sent) == ["amina@shop.example"] * 2 + ["baraka@shop.example"]
    slots = "SELECT cap, n, enrolment_id FROM cap_slot WHERE until > 0 ORDER BY cap, customer_id, n"
    month, week = "per calendar month", "topic offers per 1w"
    assert shop.rows(slots) == [(cap, n, of) for cap in (month, week) for n, of in ((0, 1), (1, 2), (0, 4))]


def test_a_slot_whose_time_is_over_is_taken_again_and_the_table_does_not_grow(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate="caps: [{topic: offers, at_most: 2, per: 1d}]\n")
    for _ in range(7):
        shop.happens("amina", "purchase")
        shop.later(hours=8)
    # At 0 and 8 there was room, at 16 not; at 24 the first was over, at 32 the second; at 48 again.
    rows = shop.rows("SELECT reason FROM decision WHERE step = 'send_1' AND kind = 'moves' ORDER BY enrolment_id")
    assert [reason for (reason,) in rows] == [None, None, "capped", None, None, "capped", None]
    assert len(shop.rows("SELECT n FROM cap_slot")) == 2


def test_a_message_that_was_held_up_counts_from_when_it_goes(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate="caps: [{topic: offers, at_most: 1, per: 1d}]\n")
    shop.happens("amina", "purchase")
    (work,) = shop.runtime.work()
    move_step(database, shop.runtime.programs()[work.version_id], "send_1", shop.clock.now(), "p")
    shop.later(hours=23)  # nobody delivered till now
    assert len(shop.sink.sent) == 1
    shop.later(hours=2)
    shop.happens("amina", "purchase")
    shop.settle()
    assert len(shop.sink.sent) == 1
    assert "send_1 not_sent capped" in shop.decisions("amina")


def test_more_room_and_less_count_what_was_sent_before(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate="caps: [{topic: offers, at_most: 3, per: 7d}]\n")
    for _ in range(2):
        shop.happens("amina", "purchase")
        shop.later(hours=1)
    for at_most, sent in ((2, 2), (1, 2), (3, 3), (4, 4)):
        (tmp_path / f"{at_most}{sent}").mkdir()
        changed = Shop.of(
            tmp_path / f"{at_most}{sent}",
            database,
            {"hi": SEND},
            gate=f"caps: [{{topic: offers, at_most: {at_most}, per: 7d}}]\n",
        )
        changed.clock.advance_to(shop.clock.now())
        changed.keys = 100 * at_most + sent
        changed.happens("amina", "purchase")
        changed.settle()
        assert changed.rows("SELECT count(*) FROM message WHERE state = 'accepted'") == [(sent,)]


def test_what_two_customers_had_counts_when_they_are_one(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate="caps: [{topic: offers, at_most: 3, per: 7d}]\n")
    for name in ("amina", "amina", "asha", "asha"):
        shop.happens(name, "purchase")
        shop.settle()
    shop.runtime.people().merge("asha", "amina")
    assert shop.rows(TAKEN) == [("topic offers per 1w", n, of) for n, of in ((0, 1), (1, 2), (2, 3), (3, 4))]
    shop.happens("asha", "purchase")
    shop.settle()
    assert len(shop.sink.sent) == 4
    assert shop.rows("SELECT count(DISTINCT customer_id) FROM cap_slot") == [(1,)]


def test_explain_tells_of_caps_in_words(database: Database, tmp_path: Path) -> None:
    gate = "caps: [{channel: email, at_most: 1, per: 3d, when_capped: defer 1d}]\n"
    shop = Shop.of(tmp_path, database, {"hi": ENTER + "steps: [{send: email/hello}, {send: email/again}]\n"}, gate=gate)
    shop.happens("amina", "purchase")
    shop.settle()
    with database.read() as connection:
        told = explain(connection, shop.runtime.content, shop.runtime.registry, "amina", shop.clock.now(), ["hi"])
    (way,) = told.stories[0].ways
    held = "they have had as many such messages as a cap lets them have"
    assert way.lines[-1].words == f"the message is held, until 2026-03-03 09:00: {held}"
    assert way.state == f"stands at send_2: its message is held until 2026-03-03 09:00, as {held}"
    shop.clock.advance_to(shop.clock.now() + timedelta(days=1))
    shop.settle()
    assert len(shop.sink.sent) == 1
    assert shop.rows("SELECT state, reason, attempts FROM message WHERE step = 'send_2'") == [("queued", "capped", 0)]
