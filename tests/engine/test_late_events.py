"""Events that come late, twice or in any order: the customers end the same, and decisions that were taken stand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from engine.runtime.door import Door, Problems
from engine.runtime.explain import explain
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile, Writer
from engine.store.database import Database
from engine.store.tables import consent, customer, customer_tag, event, segment_member, tally
from tests.engine.shop import START, Shop
from tests.promises import figures

SEGMENTS = """
gold: {title: Gold, when: 'customer.tier == "gold"'}
buyers: {title: Buyers, when: 'times("purchase", within=30d) >= 2 and total("purchase", "total") > 5'}
old: {title: Old, when: 'customer.created < now - 20d'}
mailable: {title: Mailable, when: 'did("closed") or customer.score > 2'}
"""
SEED = 20261125
NAMES = ("amina", "baraka", "chiku")

_profiles = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from([None, "a@shop.example", "b@shop.example", "not an address"]),
        "first_name": st.sampled_from([None, "Amina", "Asha"]),
        "birthday": st.sampled_from([None, "1990-03-08", "05-01"]),
        "timezone": st.sampled_from([None, "Africa/Nairobi", "Europe/Berlin"]),
        "tier": st.sampled_from([None, "gold", "silver", 7]),
        "score": st.sampled_from([None, 1, 2.5, "many"]),
        "consent": st.dictionaries(st.sampled_from(["email/offers", "sms/news"]), st.booleans(), max_size=2),
        "tags": st.lists(st.sampled_from(["vip", "new"]), max_size=2, unique=True),
        "created": st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-02-20T00:00:00+00:00"]),
    },
)
_events = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["purchase", "shipped", "closed"]),
        st.integers(0, 20),  # a day may hold several: two words of one moment must not depend on who came first
        st.sampled_from([None, 5, 40, "much"]),
        _profiles,
    ),
    min_size=2,
    max_size=12,
)


def incoming(door: Door, told: Sequence[tuple[str, str, int, Any, dict[str, Any]]]) -> list[Incoming]:
    return [
        Incoming(
            who,
            name,
            f"k{n}",
            START - timedelta(days=days),
            door.properties(name, {"total": total}, Problems()),
            door.profile(profile, Problems()),
        )
        for n, (who, name, days, total, profile) in enumerate(told)
    ]


def known(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is kept of customers, without the ids and the moments of its arrival."""
    facts = [one for one in customer.c if one.name not in ("id", "updated_at", "said_at")]
    ours = customer.c.external_id
    asked = {
        "profiles": select(*facts),
        "consents": select(ours, *(c for c in consent.c if c.name != "customer_id")).join(customer),
        "tags": select(ours, customer_tag.c.tag).join(customer),
        "counts": select(ours, *(c for c in tally.c if c.name != "customer_id")).join(
            customer, customer.c.id == tally.c.customer_id
        ),
        "events": select(ours, event.c.key, event.c.name, event.c.occurred_at, event.c.properties).join(
            customer, customer.c.id == event.c.customer_id
        ),
        "segments": select(ours, segment_member.c.segment)
        .join(customer, customer.c.id == segment_member.c.customer_id)
        .where(segment_member.c.left_at.is_(None)),
    }
    with database.read() as connection:
        return {name: sorted((tuple(row) for row in connection.execute(one)), key=repr) for name, one in asked.items()}


def lived(root: Path, batches: Sequence[Sequence[Incoming]]) -> dict[str, list[tuple[Any, ...]]]:
    """What is known when these batches came one after the other, a second apart, the engine working in between."""
    database = Database.memory()
    try:
        shop = Shop.of(root, database, {"thanks": "enter: {event: purchase}\nsteps: [{wait: 1d}, {exit: done}]\n"})
        for batch in batches:
            shop.runtime.ingest(batch)
            shop.later(seconds=1)
        shop.clock.advance_to(START + timedelta(minutes=5))
        shop.settle()
        return known(database)
    finally:
        database.dispose()


@pytest.fixture(scope="module")
def shop_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    (root / "workflows").mkdir()
    (root / "workflows/segments.yaml").write_text(SEGMENTS)
    return root


@pytest.fixture(scope="module")
def door(shop_root: Path) -> Door:
    database = Database.memory()
    content = Shop.of(shop_root, database, {}, publish=False).runtime.content
    database.dispose()
    return Door(content.project, content.vocabulary, "a secret of the tests")


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(told=_events, data=st.data())
def test_in_any_order_and_any_batches_the_customers_are_the_same(
    shop_root: Path, door: Door, told: list[Any], data: st.DataObject
) -> None:
    events = incoming(door, told)
    in_order = lived(shop_root, [[one] for one in sorted(events, key=lambda one: one.occurred_at)])
    shuffled = data.draw(st.permutations(events))
    again = [*shuffled, *data.draw(st.lists(st.sampled_from(events), max_size=3))]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(again)), max_size=4)))
    batches = [again[a:b] for a, b in zip([0, *cuts], [*cuts, len(again)], strict=True) if a < b]
    assert lived(shop_root, batches) == in_order


@pytest.mark.slow
def test_late_and_shuffled_events_of_many_customers_leave_no_difference(
    shop_root: Path, door: Door, database: Database
) -> None:
    chance = random.Random(SEED)
    told = []
    for n in range(2_000):
        profile = {
            "first_name": chance.choice(["Amina", "Asha", None]),
            "tier": chance.choice(["gold", "silver", None]),
            "consent": {"email/offers": chance.random() < 0.5},
            "email": f"{n}@shop.example",
        }
        some = dict(chance.sample(sorted(profile.items()), 2))
        name = chance.choice(["purchase", "closed"])
        told.append((f"c{chance.randrange(300)}", name, chance.randrange(60), chance.choice([5, None]), some))
    events = incoming(door, told)
    expected = lived(shop_root, [sorted(events, key=lambda one: one.occurred_at)])
    chance.shuffle(events)
    shop = Shop.of(shop_root, database, {"thanks": "enter: {event: purchase}\nsteps: [{wait: 1d}, {exit: done}]\n"})
    for start in range(0, len(events), 250):
        shop.runtime.ingest(events[start : start + 250])
        shop.later(seconds=1)
    shop.clock.advance_to(START + timedelta(minutes=5))
    shop.settle()
    found = known(database)
    differences = sum(found[name] != expected[name] for name in expected)
    figures(
        "late and out-of-order events leave no difference",
        events=len(events),
        customers=len(found["profiles"]),
        differences=differences,
        seed=SEED,
    )
    assert found == expected


def test_an_older_word_does_not_undo_a_newer_one_but_says_what_nobody_has_said(
    tmp_path: Path, database: Database
) -> None:
    shop = Shop.of(tmp_path, database, {})

    def says(key: str, days: int, **columns: Any) -> None:
        at = START - timedelta(days=days)
        shop.runtime.ingest([Incoming("amina", "closed", key, at, {}, Profile(columns))])

    says("1", 1, first_name="Amina")
    says("2", 3, first_name="Asha", country="KE")
    assert shop.rows("SELECT first_name, country FROM customer") == [("Amina", "KE")]
    says("3", 0, first_name=None)
    says("4", 2, first_name="Asha")
    assert shop.rows("SELECT first_name, country FROM customer") == [(None, "KE")]


def test_an_address_and_its_hash_are_one_fact(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {})
    for days, address in ((1, "new@shop.example"), (2, "old@shop.example")):
        profile = Profile({"email": address, "email_hash": f"hash of {address}"})
        shop.runtime.ingest([Incoming("amina", "closed", address, START - timedelta(days=days), {}, profile)])
    assert shop.rows("SELECT email, email_hash FROM customer") == [("new@shop.example", "hash of new@shop.example")]


def test_what_a_journey_has_set_stands_against_an_older_event(tmp_path: Path, database: Database) -> None:
    body = 'enter: {event: closed}\nsteps:\n  - update: {customer.tier: gold, customer.first_name: "Dear"}\n'
    shop = Shop.of(tmp_path, database, {"j": body})
    shop.runtime.ingest([Incoming("amina", "closed", "1", START, {})])
    shop.later(hours=1)
    late = Profile({"first_name": "Asha"}, {"tier": "silver", "score": 3})
    shop.runtime.ingest([Incoming("amina", "shipped", "2", START - timedelta(days=1), {}, late)])
    assert shop.rows("SELECT first_name FROM customer") == [("Dear",)]
    with database.read() as connection:
        assert connection.scalar(select(customer.c.attributes)) == {"tier": "gold", "score": 3}
    newer = replace(late, columns={"first_name": "Amina"})
    shop.later(minutes=1)
    shop.runtime.ingest([Incoming("amina", "shipped", "3", shop.clock.now(), {}, newer)])
    assert shop.rows("SELECT first_name FROM customer") == [("Amina",)]


def test_of_a_yes_and_a_no_of_one_moment_the_no_stands(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {})
    yes, no = (Profile(consents=(Consented("email", "offers", state),)) for state in ("on", "off"))
    for who, order in (("amina", (yes, no)), ("baraka", (no, yes))):
        for n, profile in enumerate(order):
            shop.runtime.ingest([Incoming(who, "closed", f"{who}{n}", START, {}, profile)])
    assert shop.rows("SELECT state FROM consent") == [("off",), ("off",)]


def test_a_customer_began_with_their_first_event_unless_somebody_says_otherwise(
    tmp_path: Path, database: Database
) -> None:
    shop = Shop.of(tmp_path, database, {})
    day = timedelta(days=1)

    def began() -> datetime:
        with database.read() as connection:
            found: datetime = connection.execute(select(customer.c.created_at)).scalar_one()
        return found

    shop.runtime.ingest([Incoming("amina", "closed", "1", START - day, {})])
    assert began() == START - day
    shop.runtime.ingest([Incoming("amina", "closed", "2", START - 9 * day, {})])
    assert began() == START - 9 * day
    told = Profile(created_at=START - 3 * day)
    shop.runtime.ingest([Incoming("amina", "closed", "3", START, {}, told)])
    shop.runtime.ingest([Incoming("amina", "closed", "4", START - 20 * day, {})])
    assert began() == START - 3 * day


def test_decisions_stand_when_what_came_before_them_comes_late(tmp_path: Path, database: Database) -> None:
    body = "enter: {event: purchase, where: 'customer.tier == \"gold\"'}\nsteps: [{wait: 2d}, {exit: done}]\n"
    shop = Shop.of(tmp_path, database, {"j": body})
    gold = Profile(attributes={"tier": "gold"})
    shop.runtime.ingest([Incoming("amina", "purchase", "1", START, {"total": 500}, gold)])
    shop.settle()
    before = shop.decisions("amina")
    assert before[0].startswith("entered")
    late = Profile(attributes={"tier": "silver"})
    shop.runtime.ingest([Incoming("amina", "closed", "2", START - timedelta(days=1), {}, late)])
    shop.settle()
    assert shop.decisions("amina") == before
    assert shop.rows("SELECT count(*) FROM enrolment WHERE state = 'ended'") == [(0,)]


JUDGES = """enter: {event: purchase, audience: 'customer.tier != "silver" and times("closed") < 2'}
steps:
  - branch:
      - if: times("purchase") >= 2 or customer.tier == "gold"
        then: [{send: email/again}]
      - else: []
    id: often
  - wait: 2d
"""


def test_what_came_late_does_not_change_what_is_explained_of_a_decision(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"j": JUDGES})
    day = timedelta(days=1)

    def told() -> list[tuple[str, dict[str, Any]]]:
        found = []
        with database.read() as connection:
            runtime = shop.runtime
            for who in ("amina", "baraka"):
                (story,) = explain(connection, runtime.content, runtime.registry, who, shop.clock.now()).stories
                lines = [line for way in story.ways for line in way.lines] + list(story.refused)
                found += [(line.words, dict(line.seen)) for line in lines]
        return found

    shop.happens("amina", "purchase", total=500)
    silver = Profile(attributes={"tier": "silver"}, at=START - 5 * day)
    shop.runtime.ingest([Incoming("baraka", "purchase", "b", START, {"total": 500}, silver)])
    shop.settle()
    before = told()
    assert [words for words, _ in before] == [
        "entered, because purchase came",
        'took else, since times("purchase") >= 2 was false: purchase came once, and customer.tier == "gold" was false: '
        "customer.tier was not set",
        "waits 2d, until 2026-03-04 09:00",
        'not let in when purchase came: customer.tier != "silver" was false: customer.tier was silver',
    ]
    gold = Profile(attributes={"tier": "gold"})
    for n, who in enumerate(("amina", "baraka")):
        shop.runtime.ingest([Incoming(who, "purchase", f"late{n}", START - day, {"total": 7}, gold)])
    shop.settle()
    assert shop.rows("SELECT DISTINCT count FROM tally WHERE name = 'purchase'") == [(2,)]
    assert all(row == before[n] for n, row in enumerate(told()[:3]))
    assert before[3] in told()


def test_the_profile_of_a_request_is_there_when_its_event_is_judged(tmp_path: Path, database: Database) -> None:
    body = "enter: {event: purchase, where: 'customer.tier == \"gold\"'}\nsteps: [{send: email/hello}]\n"
    shop = Shop.of(tmp_path, database, {"j": body})
    columns = {"email": "amina@shop.example", "email_hash": "h", "first_name": "Amina"}
    told = Profile(columns, {"tier": "gold"}, (Consented("email", "offers"),))
    shop.runtime.ingest([Incoming("amina", "purchase", "1", START, {"total": 500}, told)])
    shop.settle()
    assert len(shop.sink.to("amina@shop.example")) == 1


def test_two_words_written_together_end_as_if_apart(database: Database) -> None:
    with database.write() as connection:
        writer = Writer(connection, START)
        (row_id,) = writer.customers(["amina"]).values()
        for days, name, tier in ((1, "Amina", None), (2, "Asha", "gold"), (3, None, "silver")):
            said = Profile({"first_name": name}, {"tier": tier}, at=START - timedelta(days=days))
            writer.apply(row_id, said)
        writer.flush()
        found = connection.execute(select(customer.c.first_name, customer.c.attributes)).one()
    assert tuple(found) == ("Amina", {})


LEAVES = """enter: {event: purchase, again: always}
exit: [{event: closed}]
goal: {event: shipped, within: 7d}
steps:
  - wait: 30d
"""


def test_an_exit_that_was_taken_in_before_the_entry_it_follows_ends_the_journey(
    tmp_path: Path, database: Database
) -> None:
    shop = Shop.of(tmp_path, database, {"j": LEAVES})
    hour = timedelta(hours=1)
    shop.happens("amina", "closed", at=START - hour)
    shop.happens("amina", "purchase", at=START - 2 * hour)
    shop.happens("baraka", "closed", at=START - 2 * hour)
    shop.happens("baraka", "purchase", at=START - hour)
    shop.settle()
    assert shop.decisions("amina") == ["entered event:2", "wait_1 exited event:closed"]
    assert shop.decisions("baraka") == ["entered event:4", "wait_1 wait"]
    assert shop.rows("SELECT event_id FROM decision WHERE outcome = 'exited'") == [(1,)]


def test_a_goal_that_was_taken_in_before_the_entry_it_follows_counts(tmp_path: Path, database: Database) -> None:
    shop = Shop.of(tmp_path, database, {"j": LEAVES})
    for name, days in (("amina", 3), ("baraka", 9)):
        for ago in (days - 2, days - 1.5):
            shop.happens(name, "shipped", at=START - timedelta(days=ago))
        shop.happens(name, "purchase", at=START - timedelta(days=days))
    shop.happens("chidi", "shipped", at=START - timedelta(days=1))
    shop.happens("chidi", "purchase", at=START - timedelta(days=9))
    reached = "SELECT c.external_id, g.event_id FROM goal_reached g JOIN enrolment e ON e.id = g.enrolment_id"
    found = shop.rows(f"{reached} JOIN customer c ON c.id = e.customer_id ORDER BY 1")
    assert found == [("amina", 2), ("baraka", 5)]


def test_a_goal_from_before_a_restart_that_comes_late_is_the_ended_entrys(tmp_path: Path, database: Database) -> None:
    body = LEAVES.replace("again: always", "again: restart")
    shop = Shop.of(tmp_path, database, {"j": body})
    shop.happens("amina", "purchase", at=START - timedelta(days=4))
    shop.happens("amina", "purchase", at=START - timedelta(days=2))
    shop.happens("amina", "shipped", at=START - timedelta(days=1))
    shop.happens("amina", "shipped", at=START - timedelta(days=3))
    reached = "SELECT e.outcome, g.event_id FROM goal_reached g JOIN enrolment e ON e.id = g.enrolment_id ORDER BY 2"
    assert shop.rows(reached) == [(None, 3), ("restarted", 4)]


def test_of_an_exit_and_a_goal_that_are_there_already_the_first_counts(tmp_path: Path, database: Database) -> None:
    body = LEAVES.replace("within: 7d", "within: 7d, on_reach: exit")
    shop = Shop.of(tmp_path, database, {"j": body})
    for name, order in (("amina", ("closed", "shipped")), ("baraka", ("shipped", "closed"))):
        for n, event_name in enumerate(order):
            shop.happens(name, event_name, at=START - timedelta(days=2 - n))
        shop.happens(name, "purchase", at=START - timedelta(days=3))
    shop.settle()
    assert shop.decisions("amina")[1:] == ["wait_1 exited event:closed"]
    assert shop.decisions("baraka")[1:] == ["wait_1 goal event:shipped"]


def test_what_happened_during_one_entry_ends_no_other(tmp_path: Path, database: Database) -> None:
    """A `where` is judged when its event is taken in: a later entry of the same customer doesn't judge it anew."""
    body = LEAVES.replace("{event: closed}", "{event: closed, where: customer.vip}")
    shop = Shop.of(tmp_path, database, {"j": body})
    shop.happens("amina", "purchase", at=START - timedelta(days=3))
    shop.happens("amina", "closed", at=START - timedelta(days=1))
    shop.runtime.people().describe("amina", Profile(attributes={"vip": True}))
    shop.happens("amina", "purchase", at=START - timedelta(days=2))
    assert shop.rows("SELECT state, outcome FROM enrolment ORDER BY id") == [("ready", None), ("ended", "exited")]


def test_an_event_that_happened_after_the_look_at_the_clock_ends_the_journey_it_lets_in(
    tmp_path: Path, database: Database
) -> None:
    """The look takes a moment, and what comes meanwhile has a later time than it."""
    body = "enter: {schedule: 0 10 * * *}\nexit: [{event: closed}]\nsteps:\n  - wait: 30d\n"
    shop = Shop.of(tmp_path, database, {"j": body})
    shop.happens("amina", "shipped")
    shop.happens("baraka", "closed")
    shop.settle()
    shop.clock.advance_to(START + timedelta(hours=1))
    shop.happens("amina", "closed", at=shop.clock.now() + timedelta(seconds=1))
    shop.settle()
    assert shop.decisions("amina")[-1] == "wait_1 exited event:closed"
    assert shop.decisions("baraka")[-1] == "wait_1 wait"
