"""Attacks on the way in: every trigger on both databases, those at the door, and journeys that do something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.builtins import registry
from engine.language.content import load
from engine.runtime.ingest import Incoming, ingest
from engine.runtime.profile import Profile
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from tests.engine.shop import Shop, person

WAIT = "steps:\n  - wait: 5d\n"
BUYERS = 'buyers: did("purchase")\n'


def segments(root: Path, text: str) -> None:
    (root / "workflows").mkdir(exist_ok=True)
    (root / "workflows/segments.yaml").write_text(text)


def test_who_joins_a_segment_enters(database: Database, tmp_path: Path) -> None:
    segments(tmp_path, BUYERS)
    shop = Shop.of(tmp_path, database, {"hi": "enter: {segment: buyers}\n" + WAIT})
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    assert shop.rows("SELECT step FROM enrolment") == [("wait_1",)]


def test_who_is_in_a_segment_enters_with_the_journey_that_says_so(database: Database, tmp_path: Path) -> None:
    segments(tmp_path, BUYERS)
    shop = Shop.of(tmp_path, database, {"hi": "enter: {segment: buyers, members: now}\n" + WAIT}, publish=False)
    shop.happens("amina", "purchase", total=1)
    shop.runtime.publish()
    assert shop.rows("SELECT cause FROM enrolment") == [("join:0",)]


def test_who_is_named_by_a_schedule_enters(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": 'enter: {schedule: "0 10 * * *"}\n' + WAIT})
    shop.happens("amina", "purchase", total=1)
    shop.later(hours=1)
    assert shop.rows("SELECT step FROM enrolment") == [("wait_1",)]


def test_whose_birthday_it_is_enters(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {date: customer.renewal, repeat: once}\n" + WAIT})
    shop.happens("amina", "purchase", total=1)
    with database.write() as connection:
        connection.exec_driver_sql("""UPDATE customer SET attributes = '{"renewal": "2026-03-03"}'""")
    shop.later(days=1, hours=1)
    assert shop.rows("SELECT step FROM enrolment") == [("wait_1",)]


GOLD = 'enter: {event: purchase, where: event.total > 1000000, key: entry.order_id, grace: 1h, audience: customer.tier == "gold"}\n'


def test_who_is_started_waits_at_the_door_for_the_grace_and_no_longer(database: Database, tmp_path: Path) -> None:
    journeys = {"first": "enter: {event: purchase}\nsteps:\n  - start: second\n  - wait: 9d\n", "second": GOLD + WAIT}
    shop = Shop.of(tmp_path, database, journeys)
    shop.happens("amina", "purchase", total=1, order_id="o1")
    shop.settle()
    assert shop.rows("SELECT reason FROM candidate") == [("grace",)]
    shop.later(minutes=59)
    assert shop.rows("SELECT count(*) FROM candidate") == [(1,)]
    shop.later(minutes=1)
    assert shop.rows("SELECT count(*) FROM candidate") == [(0,)]
    assert shop.rows("SELECT journey, reason FROM refusal") == [("second", "audience")]


def test_who_is_started_and_becomes_one_of_the_audience_in_time_enters(database: Database, tmp_path: Path) -> None:
    journeys = {"first": "enter: {event: purchase}\nsteps:\n  - start: second\n  - wait: 9d\n", "second": GOLD + WAIT}
    shop = Shop.of(tmp_path, database, journeys)
    shop.happens("amina", "purchase", total=1, order_id="o1")
    shop.settle()
    with database.write() as connection:
        connection.exec_driver_sql("""UPDATE customer SET attributes = '{"tier": "gold"}'""")
    shop.later(minutes=1)
    assert shop.rows("SELECT journey, key FROM enrolment WHERE journey = 'second'") == [("second", "o1")]
    assert shop.rows("SELECT count(*) FROM candidate") == [(0,)]


def test_a_journey_that_stops_itself_ends_the_twins_and_moves_nobody_who_has_ended(
    database: Database, tmp_path: Path
) -> None:
    steps = "steps:\n  - wait: 1h\n  - stop: hi\n  - send: email/hello\n"
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase, again: always}\n" + steps})
    shop.happens("amina", "purchase", total=1)
    shop.later(minutes=30)
    shop.happens("amina", "purchase", total=1)
    shop.later(minutes=30)
    assert shop.rows("SELECT outcome FROM enrolment ORDER BY id") == [("finished",), ("stopped",)]
    assert len(shop.sink.sent) == 1


def test_many_journeys_with_many_steps_are_asked_for_work(database: Database, tmp_path: Path) -> None:
    steps = "".join(f"  - wait: {n + 1}m\n" for n in range(60))
    shop = Shop.of(tmp_path, database, {f"j{n}": "enter: {event: purchase}\nsteps:\n" + steps for n in range(9)})
    shop.happens("amina", "purchase", total=1)
    assert len(shop.runtime.work()) == 9


def test_who_joins_while_a_journey_is_broken_enters_when_it_is_mended_and_harms_nobody(
    database: Database, tmp_path: Path
) -> None:
    segments(tmp_path, BUYERS)
    broken = 'enter: {segment: buyers, audience: customer.tier == "gold"}\nexit: [{when: customer.tier == "lost"}]\n'
    journeys = {"broken": broken + WAIT, "sound": "enter: {segment: buyers}\n" + WAIT}
    shop = Shop.of(tmp_path, database, journeys)
    without = engine_that_knows_no_tier(shop, tmp_path)
    shop.happens("amina", "purchase", total=1)
    with database.write() as connection:
        connection.exec_driver_sql("""UPDATE customer SET attributes = '{"tier": "gold"}'""")
    assert without.tick().failed.keys() == {"broken"}
    assert shop.rows("SELECT journey FROM enrolment") == [("sound",)]
    shop.later(minutes=1)
    assert shop.rows("SELECT journey FROM enrolment ORDER BY id") == [("sound",), ("broken",)]


def engine_that_knows_no_tier(shop: Shop, root: Path) -> Runtime:
    """Another engine whose project.yaml has lost the attribute that a published journey asks for."""
    project = root / "workflows/project.yaml"
    project.write_text(project.read_text().replace("tier: text, ", ""))
    (root / "workflows/broken.yaml").unlink()
    runtime = shop.runtime
    return Runtime(runtime.database, load(root, registry()), registry(), runtime.clock, runtime.post)


def test_who_enters_a_version_while_it_is_retired_is_moved_all_the_same(database: Database, tmp_path: Path) -> None:
    steps = "enter: {event: purchase}\nsteps:\n  - wait: 1h\n  - send: email/hello\n"
    shop = Shop.of(tmp_path, database, {"hi": steps})
    before = list(shop.runtime.programs().values())
    newer = Shop.of(tmp_path, database, {"hi": steps + "  - wait: 2h\n"})
    newer.runtime.programs()
    coming = Incoming("amina", "purchase", "1", shop.clock.now(), {"total": 1}, person("amina"))
    with database.write() as connection:  # it had read what is published a moment ago
        ingest(connection, before, {}, [coming], shop.clock.now())
    newer.later(hours=1)
    assert [message.to for message in newer.sink.sent] == ["amina@shop.example"]


@pytest.mark.parametrize(("score", "key"), [(17.0, "17"), (17.5, "17.5"), (2.0**53, "9007199254740992"), (1e30, None)])
def test_a_number_of_any_size_may_be_a_key(database: Database, tmp_path: Path, score: float, key: str | None) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase, key: customer.score}\n" + WAIT})
    for n in range(2):
        scored = Profile(attributes={"score": score})
        coming = Incoming("amina", "purchase", str(n), shop.clock.now(), {"total": 1}, scored)
        assert shop.runtime.ingest([coming]).parked == 0
    ((found,),) = shop.rows("SELECT key FROM enrolment")
    assert found == key or float(found) == score


def test_an_amount_too_large_to_be_one_fails_no_event(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase}\n" + WAIT})
    for _ in range(3):
        assert shop.happens("amina", "purchase", total=2**62).accepted == 1
    assert shop.rows("SELECT count, total FROM tally") == [(3, 0)]
