"""Quiet hours through the whole engine: nothing leaves in them, and what was held passes the whole gate again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from sqlalchemy import text

from engine.channels.base import Refused
from engine.language.gate import QuietHours
from engine.runtime.advance import StepReport, move_step
from engine.runtime.delivery import Delivery
from engine.runtime.ingest import Incoming
from engine.runtime.letters import Letter
from engine.store import zones
from engine.store.database import Database
from tests.engine.shop import Shop, person
from tests.promises import figures

SEED = 20260329
ENTER = "enter: {event: purchase, again: always}\n"
SEND = ENTER + "steps:\n  - send: email/hello\n  - wait: 30d\n"
NIGHT = 'quiet_hours: {from: "21:00", to: "08:00", spread: 30m}\n'
NAIROBI_NIGHT = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)  # 21:00 there
MORNING = datetime(2026, 3, 3, 5, 0, tzinfo=UTC)


def at(shop: Shop, moment: datetime) -> None:
    shop.clock.advance_to(moment)
    shop.settle()


def test_nothing_leaves_in_anybodys_quiet_hours_while_the_clocks_change(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=NIGHT)
    chance = Random(SEED)
    alike = sorted({zones.periods(zone): zone for zone in sorted(zones.names())}.values())
    homes = {f"c{n}": zone for n, zone in enumerate(alike)}
    begin = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    came: dict[int, list[Incoming]] = {}
    for name, zone in homes.items():
        someone = person(name)
        someone = replace(someone, columns={**someone.columns, "timezone": zone})
        for n in range(2):
            look = chance.randrange(96)
            came.setdefault(look, []).append(Incoming(name, "purchase", f"{name}{n}", begin, {"total": 1}, someone))
    for look in range(96 + 36):
        shop.clock.advance_to(begin + look * timedelta(minutes=20))
        shop.runtime.ingest(came.get(look, []))
        shop.runtime.advance()
    quiet = QuietHours.model_validate({"from": time(21), "to": time(8)})
    violations = []
    for message in shop.sink.sent:
        wall = message.at.astimezone(ZoneInfo(homes[message.to.partition("@")[0]]))
        if quiet.within(wall.time()):
            violations.append((message.to, wall))
    figures(
        "nothing leaves in anybody's quiet hours",
        messages=len(shop.sink.sent),
        zones=len(homes),
        violations=len(violations),
        seed=SEED,
    )
    assert violations == []
    done = shop.rows("SELECT state, reason, count(*) FROM message GROUP BY state, reason ORDER BY state")
    assert [row[:2] for row in done] == [("accepted", None), ("stopped", "duplicate")]
    assert sum(row[2] for row in done) == 2 * len(homes)


def test_what_was_held_goes_out_spread_over_a_while(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=NIGHT)
    at(shop, NAIROBI_NIGHT)
    for n in range(60):
        shop.happens(f"c{n}", "purchase")
    shop.settle()
    assert shop.sink.sent == []
    assert shop.rows("SELECT DISTINCT state, reason FROM message") == [("queued", "quiet_hours")]
    assert shop.rows("SELECT DISTINCT kind, outcome, reason FROM decision WHERE step = 'send_1'") == [
        ("stays", "held", "quiet_hours")
    ]
    sent = []
    for minute in range(32):
        at(shop, MORNING + timedelta(minutes=minute))
        sent.append(len(shop.sink.sent))
    assert sent[-1] == 60
    assert max(after - before for before, after in zip([0, *sent], sent, strict=False)) < 15
    assert sent[14] > 15


def test_a_message_that_was_claimed_in_time_and_comes_too_late_is_held_after_all(
    database: Database, tmp_path: Path
) -> None:
    gate = NIGHT + "caps: [{topic: offers, at_most: 1, per: 7d}]\n"
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=gate)
    shop.clock.advance_to(NAIROBI_NIGHT - timedelta(seconds=1))
    shop.happens("amina", "purchase")
    delivery, claimed = claimed_for(shop)
    assert len(claimed) == 1
    shop.clock.advance_to(NAIROBI_NIGHT)
    delivery.dispatch(claimed)
    assert shop.sink.sent == []
    assert shop.rows("SELECT state, reason, attempts FROM message") == [("queued", "quiet_hours", 0)]
    assert shop.rows("SELECT 1 FROM cap_slot WHERE until > 0") == []
    at(shop, MORNING + timedelta(minutes=30))
    assert len(shop.sink.sent) == 1
    assert len(shop.rows("SELECT 1 FROM cap_slot WHERE until > 0")) == 1


def before_night(tmp_path: Path, database: Database, people: int) -> Shop:
    """A second before the quiet hours so many have bought."""
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=NIGHT)
    shop.clock.advance_to(NAIROBI_NIGHT - timedelta(seconds=1))
    for n in range(people):
        shop.happens(f"c{n}", "purchase")
    return shop


def claimed_for(shop: Shop) -> tuple[Delivery, list[Letter]]:
    """What a look claims at the step, with who sends it."""
    (program,) = shop.runtime.programs().values()
    move_step(shop.runtime.database, program, "send_1", shop.clock.now(), "p")
    report = StepReport("send_1")
    delivery = Delivery(shop.runtime.database, program, "send_1", shop.clock, shop.runtime.post, "p", report)
    return delivery, delivery.claim()[0]


def test_a_crowd_that_comes_too_late_is_held_together(database: Database, tmp_path: Path) -> None:
    shop = before_night(tmp_path, database, 20)
    delivery, claimed = claimed_for(shop)
    assert len(claimed) == 20
    shop.clock.advance_to(NAIROBI_NIGHT)
    delivery.dispatch(claimed)
    assert shop.sink.sent == []
    assert shop.rows("SELECT DISTINCT state, reason, attempts FROM message") == [("queued", "quiet_hours", 0)]
    assert len({due for (due,) in shop.rows("SELECT due_at FROM message")}) > 1  # the morning's spread
    assert shop.rows("SELECT outcome, count(*) FROM decision WHERE step = 'send_1' GROUP BY outcome") == [("held", 20)]


def test_what_another_engine_has_taken_over_is_not_said_to_be_held(database: Database, tmp_path: Path) -> None:
    shop = before_night(tmp_path, database, 2)
    delivery, claimed = claimed_for(shop)
    with database.write() as connection:
        connection.execute(text("UPDATE message SET fence = fence + 1 WHERE id = (SELECT min(id) FROM message)"))
    shop.clock.advance_to(NAIROBI_NIGHT)
    delivery.dispatch(claimed)
    assert shop.rows("SELECT state, reason FROM message ORDER BY id") == [("claimed", None), ("queued", "quiet_hours")]
    assert len(shop.rows("SELECT 1 FROM decision WHERE outcome = 'held'")) == 1


def test_in_the_morning_the_journey_of_higher_priority_has_the_slot(database: Database, tmp_path: Path) -> None:
    gate = NIGHT + "caps: [{topic: offers, at_most: 1, per: calendar day}]\n"
    again = SEND.replace("email/hello", "email/again")
    shop = Shop.of(tmp_path, database, {"a": "priority: 10\n" + SEND, "b": "priority: 90\n" + again}, gate=gate)
    at(shop, NAIROBI_NIGHT)
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows("SELECT 1 FROM cap_slot") == []
    low = next(program for program in shop.runtime.programs().values() if program.name == "a")
    for minute in range(31):
        shop.clock.advance_to(MORNING + timedelta(minutes=minute))
        shop.runtime.move(low.version_id, "send_1", "p")  # this journey comes first at each look
        shop.settle()
    assert [message.labels["journey"] for message in shop.sink.sent] == ["b"]
    assert "send_1 not_sent capped" in shop.decisions("amina")


def test_a_duplicate_is_known_across_versions_and_restarts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path / "one", database, {"hi": SEND}, gate=NIGHT)
    at(shop, NAIROBI_NIGHT)
    shop.happens("amina", "purchase")
    shop.settle()
    newer = Shop.of(tmp_path / "two", database, {"hi": SEND + "  - wait: 1d\n"}, gate=NIGHT)
    newer.keys = 100
    newer.clock.advance_to(shop.clock.now())
    newer.happens("amina", "purchase")
    newer.settle()
    at(newer, MORNING + timedelta(minutes=30))
    assert len(newer.sink.sent) == 1
    rows = newer.rows("SELECT state, reason, version_id FROM message ORDER BY state")
    assert [row[:2] for row in rows] == [("accepted", None), ("stopped", "duplicate")]
    assert newer.rows("SELECT DISTINCT step, state FROM enrolment") == [("wait_1", "waiting")]


def test_a_message_that_was_let_go_and_refused_for_now_is_not_held_any_more(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": SEND}, gate=NIGHT)
    at(shop, NAIROBI_NIGHT)
    shop.happens("amina", "purchase")
    shop.settle()
    shop.sink.answers["amina@shop.example"] = Refused("busy", retry_after=timedelta(minutes=5))
    at(shop, MORNING + timedelta(minutes=31))
    assert shop.rows("SELECT state, reason FROM message") == [("queued", None)]
