"""Two customers become one: what they did, said and were told is kept, and what would clash is settled and told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, null, select, update
from sqlmodel import SQLModel

from engine.channels.base import Refused
from engine.imports.bulk import write
from engine.imports.rows import Person
from engine.runtime import matching
from engine.runtime.byhand import stop_customer
from engine.runtime.customers import Told
from engine.runtime.explain import explain
from engine.runtime.feedback import opt_out
from engine.runtime.identity import Who, known
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Consented, Profile
from engine.store import tables as t
from engine.store.database import Database
from tests.engine.shop import START, Shop, person

WAITS = {"hi": "enter: {event: purchase}\nsteps:\n  - wait: 3d\n  - send: email/hello\n"}


def anonymous(shop: Shop, name: str, event: str, **properties: object) -> None:
    """An event of somebody who is known by a browser only."""
    shop.keys += 1
    key = f"k{shop.keys}"
    shop.runtime.ingest([Incoming(f"anonymous:{name}", event, key, shop.clock.now(), properties)])


def merge(shop: Shop, loser: str, winner: str) -> Told:
    return shop.runtime.people().merge(loser, winner)


def customers(shop: Shop) -> list[str]:
    return [name for (name,) in shop.rows("SELECT external_id FROM customer ORDER BY external_id")]


def test_what_both_did_is_one_customers(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, WAITS)
    shop.happens("amina", "closed")
    shop.later(hours=1)
    anonymous(shop, "x", "closed")
    anonymous(shop, "x", "purchase", total=300)
    assert merge(shop, "anonymous:x", "amina").merged == 1
    assert customers(shop) == ["amina"]
    counts = "SELECT name, count, total FROM tally WHERE name <> 'customer_merged' ORDER BY name"
    assert shop.rows(counts) == [("closed", 2, 0), ("purchase", 1, 300)]
    with database.read() as connection:
        first, last = connection.execute(
            select(t.tally.c.first_at, t.tally.c.last_at).where(t.tally.c.name == "closed")
        ).one()
    assert (first, last) == (START, START + timedelta(hours=1))
    told = shop.rows("SELECT source, key, name, count(*) FROM event WHERE name = 'customer_merged' GROUP BY 1, 2, 3")
    assert told == [("karibu", "merge:anonymous:x", "customer_merged", 1)]
    assert len(shop.rows("SELECT 1 FROM event e JOIN customer c ON c.id = e.customer_id")) == 4
    assert shop.rows("SELECT e.state FROM enrolment e JOIN customer c ON c.id = e.customer_id") == [("ready",)]


def test_what_comes_later_under_the_old_id_is_the_winners(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    for name in ("amina", "amina-old", "amina-older"):
        shop.happens(name, "purchase", total=100)
    merge(shop, "amina-older", "amina-old")
    merge(shop, "amina-old", "amina")
    shop.happens("amina-older", "purchase", total=10)
    shop.happens("amina-old", "purchase", total=1)
    assert customers(shop) == ["amina"]
    assert shop.rows("SELECT count, total FROM tally WHERE name = 'purchase'") == [(5, 311)]


def test_merging_again_or_the_other_way_round_changes_nothing(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, WAITS)
    shop.happens("amina", "purchase", total=100)
    shop.happens("asha", "purchase", total=100)
    merge(shop, "asha", "amina")
    tables = [name for name in SQLModel.metadata.tables if name != "touched"]
    before = {name: sorted(map(repr, shop.rows(f"SELECT * FROM {name}"))) for name in tables}
    for loser, winner in (("asha", "amina"), ("amina", "asha"), ("amina", "amina")):
        told = merge(shop, loser, winner)
        assert (told.customer, told.merged, told.created) == ("amina", 0, False)
    assert {name: sorted(map(repr, shop.rows(f"SELECT * FROM {name}"))) for name in tables} == before


def test_an_id_nobody_has_heard_of_becomes_another_name(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    assert merge(shop, "asha", "amina") == Told("amina", created=True)
    shop.happens("asha", "purchase", total=7)
    assert customers(shop) == ["amina"]


def test_of_words_of_one_moment_the_winners_stays_and_its_gaps_are_filled(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()
    people.describe(
        "amina", Profile({"first_name": "Amina", "country": "KE", "birth_month": 3, "birth_day": 8}, {"tier": "gold"})
    )
    people.describe(
        "asha",
        Profile(
            {"first_name": "Asha", "last_name": "Odhiambo", "email": "asha@shop.example", "email_hash": "h"}
            | {"birth_month": 4, "birth_day": 9, "birth_year": 1990},
            {"tier": "blue", "vip": True},
            tags=("old",),
        ),
    )
    merge(shop, "asha", "amina")
    with database.read() as connection:
        row = connection.execute(select(t.customer)).one()
    assert (row.external_id, row.first_name, row.last_name, row.country) == ("amina", "Amina", "Odhiambo", "KE")
    assert (row.email, row.email_hash) == ("asha@shop.example", "h")
    assert (row.birth_month, row.birth_day, row.birth_year) == (3, 8, None)  # a birthday is one value
    assert row.attributes == {"tier": "gold", "vip": True}
    assert shop.rows("SELECT tag FROM customer_tag") == [("old",)]


def test_of_two_words_of_different_moments_the_newer_holds(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()

    def says(name: str, hours: int, profile: Profile) -> None:
        people.describe(name, replace(profile, at=START + timedelta(hours=hours)))

    def birthday(month: int, day: int, year: int | None) -> dict[str, int | None]:
        return {"birth_month": month, "birth_day": day, "birth_year": year}

    says("amina", 1, Profile({"first_name": "Amina", "country": None, **birthday(3, 8, 1990)}, {"tier": "gold"}))
    says("amina", 3, Profile({"last_name": "Odhiambo", "locale": None}, {"vip": None}))
    says("asha", 2, Profile({"first_name": "Asha", "last_name": "Otieno", "locale": "sw"}, {"vip": True, "tier": None}))
    says("asha", 2, Profile({"country": "KE", **birthday(4, 9, None)}))
    shop.later(days=1)
    merge(shop, "asha", "amina")
    with database.read() as connection:
        row = connection.execute(select(t.customer)).one()
    assert (row.first_name, row.last_name, row.locale, row.country) == ("Asha", "Odhiambo", None, "KE")
    assert (row.birth_month, row.birth_day, row.birth_year) == (4, 9, None)
    assert row.attributes == {}
    # What is said of them from now on is held against the newer word, whoever said it.
    says("amina", 1, Profile({"first_name": "Amina"}, {"tier": "gold", "vip": True}))
    says("asha", 2, Profile({"last_name": "Otieno"}))
    with database.read() as connection:
        again = connection.execute(select(t.customer)).one()
    assert (again.first_name, again.last_name, again.attributes) == ("Asha", "Odhiambo", {})
    assert again.said_at == row.said_at


def test_a_word_without_a_moment_counts_as_older_and_a_customer_is_one_since_the_earlier_day(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()
    words = {"first_name": "Amina", "last_name": None, "country": "KE", "locale": "sw"}
    people.describe("amina", Profile(words, {"tier": "gold", "vip": True}))
    shop.later(days=1)
    people.describe("asha", Profile({"first_name": "Asha", "last_name": "Odhiambo"}, {"tier": "blue", "born": 5}))
    with database.write() as connection:  # as they were before anybody wrote the moments down
        connection.execute(update(t.customer).where(t.customer.c.external_id == "amina").values(said_at=null()))
        later = {"country": None, "locale": "en", "attributes": {"tier": "blue", "vip": False, "born": 5}}
        at = {"first_name": 1, "attributes.tier": 1}
        connection.execute(update(t.customer).where(t.customer.c.external_id == "asha").values(said_at=at, **later))
    merge(shop, "asha", "amina")
    with database.read() as connection:
        row = connection.execute(select(t.customer)).one()
    assert (row.first_name, row.last_name, row.country, row.locale) == ("Asha", "Odhiambo", "KE", "sw")
    assert row.attributes == {"tier": "blue", "vip": True, "born": 5}
    assert (row.created_at, row.said_at) == (START, at)


def test_names_of_one_customer_in_one_batch_are_one_since_the_first_event(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()
    people.merge("asha", "amina")
    people.merge("anonymous:x", "amina")
    ago = {"anonymous:x": 2, "asha": 9, "amina": 5}
    events = [Incoming(who, "closed", who, START - timedelta(hours=hours)) for who, hours in ago.items()]
    shop.runtime.ingest(events)
    assert customers(shop) == ["amina"]
    with database.read() as connection:
        assert connection.scalar(select(t.customer.c.created_at)) == START - timedelta(hours=9)


def test_of_two_words_about_a_topic_the_strictest_holds(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()

    def says(name: str, *words: tuple[str, str, int]) -> None:
        said = (
            Consented("email", topic, state, source=f"{name}", at=START - timedelta(days=1) + timedelta(hours=at))
            for topic, state, at in words
        )
        people.describe(name, Profile(consents=tuple(said)))

    says("amina", ("both", "on", 1), ("older no", "on", 5), ("newer no", "off", 5), ("newest", "off", 1))
    says(
        "asha",
        ("both", "on", 2),
        ("older no", "off", 1),
        ("newer no", "on", 1),
        ("newest", "off", 2),
        ("hers", "on", 3),
    )
    merge(shop, "asha", "amina")
    assert shop.rows("SELECT topic, state, source FROM consent ORDER BY topic") == [
        ("both", "on", "asha"),
        ("hers", "on", "asha"),
        ("newer no", "off", "amina"),
        ("newest", "off", "asha"),
        ("older no", "off", "asha"),
    ]


def test_the_link_in_a_mail_to_the_old_id_still_unsubscribes(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    shop.happens("amina", "closed")
    shop.happens("asha", "closed")
    merge(shop, "asha", "amina")
    with database.write() as connection:
        assert opt_out(connection, "asha", "email", "offers", START + timedelta(days=1), "link")
    assert shop.rows("SELECT topic, state FROM consent") == [("offers", "off")]


def test_the_later_hush_holds(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    for name in ("amina", "asha"):
        shop.happens(name, "closed")
    with database.write() as connection:
        shop_ids = known(connection, ["amina", "asha"])
        rows = [("amina", "offers", 1), ("asha", "offers", 2), ("amina", "news", 4), ("asha", "news", 3)]
        connection.execute(
            insert(t.hush),
            [
                {"customer_id": shop_ids[name], "topic": topic, "until": START + timedelta(days=n)}
                for name, topic, n in rows
            ],
        )
    merge(shop, "asha", "amina")
    with database.read() as connection:
        until = dict(connection.execute(select(t.hush.c.topic, t.hush.c.until)).all())
    assert until == {"offers": START + timedelta(days=2), "news": START + timedelta(days=4)}


def test_of_two_in_the_same_journey_the_older_goes_on_and_the_younger_says_why(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, WAITS)
    shop.happens("asha", "purchase", total=1)
    shop.later(hours=5)
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    merge(shop, "asha", "amina")
    rows = shop.rows("SELECT state, outcome FROM enrolment ORDER BY entered_at")
    assert rows == [("waiting", None), ("ended", "merged")]
    assert shop.decisions("amina") == [
        "entered event:1",
        "wait_1 wait",
        "entered event:2",
        "wait_1 wait",
        "wait_1 merged merged",
    ]
    with database.read() as connection:
        told = explain(connection, shop.runtime.content, shop.runtime.registry, "asha", shop.clock.now(), ["hi"])
    assert told.customer == "amina"
    _, younger = told.stories[0].ways
    assert younger.lines[-1].words == (
        "ended at wait_1: two customers turned out to be one, and their older way through this journey counts"
    )
    shop.later(days=3)
    assert [message.to for message in shop.sink.sent] == ["amina@shop.example"]  # once, to the winner's address
    assert shop.rows("SELECT outcome FROM enrolment ORDER BY entered_at") == [("finished",), ("merged",)]


def test_ways_that_may_run_side_by_side_both_go_on(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {"hi": "enter: {event: purchase, again: always}\nsteps:\n  - wait: 1d\n"})
    shop.happens("asha", "purchase", total=1)
    shop.happens("amina", "purchase", total=1)
    shop.settle()
    merge(shop, "asha", "amina")
    shop.later(days=2)
    assert shop.rows("SELECT outcome FROM enrolment") == [("finished",), ("finished",)]


def test_ways_with_different_keys_both_go_on(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(
        tmp_path,
        database,
        {"hi": "enter: {event: purchase, key: entry.order_id, again: after exit}\nsteps:\n  - wait: 1d\n"},
    )
    shop.happens("asha", "purchase", order_id="17")
    shop.happens("amina", "purchase", order_id="18")
    merge(shop, "asha", "amina")
    shop.later(days=2)
    assert shop.rows("SELECT key, outcome FROM enrolment ORDER BY key") == [("17", "finished"), ("18", "finished")]


def test_a_message_that_waits_to_be_sent_to_the_younger_is_not_sent(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(
        tmp_path, database, {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 9d\n"}
    )
    shop.sink.answers["asha@shop.example"] = Refused("busy", timedelta(hours=1))
    for name in ("amina", "asha"):
        shop.happens(name, "purchase", total=1)
        shop.later(seconds=1)
    merge(shop, "asha", "amina")
    shop.later(hours=2)
    states = "SELECT m.state, m.reason FROM message m JOIN customer c ON c.id = m.customer_id ORDER BY m.id"
    assert shop.rows(states) == [("accepted", None), ("stopped", "left_journey")]
    assert [message.to for message in shop.sink.sent] == ["amina@shop.example", "asha@shop.example"]  # refused, then


SCHEDULED = {"hi": "enter: {schedule: 30 9 * * mon}\nsteps:\n  - wait: 5d\n"}


def test_of_two_that_one_cause_let_in_the_older_counts_and_none_is_let_in_again(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, SCHEDULED)
    shop.happens("asha", "closed")
    shop.happens("amina", "closed")
    shop.later(hours=1)
    assert len(shop.rows("SELECT 1 FROM enrolment WHERE state <> 'ended'")) == 2
    merge(shop, "asha", "amina")
    rows = shop.rows("SELECT outcome, cause FROM enrolment ORDER BY id")
    assert [outcome for outcome, _ in rows] == [None, "merged"]
    assert rows[1][1].startswith(rows[0][1] + "#")
    shop.settle()
    assert len(shop.rows("SELECT 1 FROM enrolment")) == 2
    with database.read() as connection:
        told = explain(connection, shop.runtime.content, shop.runtime.registry, "amina", shop.clock.now(), ["hi"])
    first, second = told.stories[0].ways
    assert first.lines[0].words == second.lines[0].words  # the cause is still told as it was


def test_of_one_cause_the_younger_ends_though_the_older_has_ended(database: Database, tmp_path: Path) -> None:
    """One customer from the start would have entered once."""
    shop = Shop.of(tmp_path, database, SCHEDULED)
    shop.happens("asha", "closed")
    shop.happens("amina", "closed")
    shop.later(hours=1)
    with database.write() as connection:
        assert stop_customer(connection, "hi", known(connection, ["asha"])["asha"], shop.clock.now()) == 1
    merge(shop, "asha", "amina")
    assert shop.rows("SELECT outcome FROM enrolment ORDER BY id") == [("stopped",), ("merged",)]


def test_refusals_and_places_at_the_door_that_clash_keep_the_older(database: Database, tmp_path: Path) -> None:
    body = 'enter:\n  event: purchase\n  audience: customer.tier == "gold"\n  grace: 2d\nsteps:\n  - wait: 1d\n'
    shop = Shop.of(tmp_path, database, {"hi": body, "no": body.replace("  grace: 2d\n", "")})
    for name in ("asha", "amina"):
        shop.happens(name, "purchase", total=1)
        shop.later(minutes=5)
    assert len(shop.rows("SELECT 1 FROM candidate")) == len(shop.rows("SELECT 1 FROM refusal")) == 2
    with database.write() as connection:  # the same cause for both, as a schedule has
        for table in (t.candidate, t.refusal):
            connection.execute(table.update().values(cause="schedule:1"))
    merge(shop, "asha", "amina")
    since = shop.rows("SELECT since FROM candidate"), shop.rows("SELECT at FROM refusal")
    assert len(since[0]) == len(since[1]) == 1
    shop.runtime.people().describe("asha", Profile({}, {"tier": "gold"}))
    shop.settle()
    assert shop.rows("SELECT journey, state FROM enrolment") == [("hi", "waiting")]


def test_a_purchase_under_the_other_name_ends_the_wait_the_journey_and_reaches_the_goal(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(
        tmp_path,
        database,
        {
            "basket": "enter: {event: closed}\nexit: [{event: purchase}]\nsteps:\n  - wait: 1d\n  - send: email/hello\n",
            "listen": "enter: {event: closed}\ngoal: {event: purchase, within: 9d, value: event.total}\nsteps:\n"
            "  - wait_for: {event: purchase, within: 5d}\n    then: [{exit: bought}]\n    else: [{exit: lost}]\n",
        },
    )
    shop.happens("amina", "purchase", total=1)  # before they came in: that one doesn't count
    shop.later(minutes=1)
    anonymous(shop, "x", "closed")
    shop.later(hours=1)
    shop.happens("amina", "purchase", total=250)
    shop.later(hours=1)
    told = merge(shop, "anonymous:x", "amina")
    assert len(told.wakes) == 1
    shop.settle()
    assert shop.rows("SELECT journey, outcome FROM enrolment ORDER BY journey") == [
        ("basket", "exited"),
        ("listen", "bought"),
    ]
    assert shop.rows("SELECT value FROM goal_reached") == [(250,)]
    assert shop.sink.sent == []


def test_a_journey_that_fails_to_hear_the_other_costs_nobody_the_merge(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("a journey's own fault")

    shop = Shop.of(
        tmp_path, database, {"hi": "enter: {event: closed}\nexit: [{event: purchase}]\nsteps:\n  - wait: 1d\n"}
    )
    anonymous(shop, "x", "closed")
    shop.happens("amina", "purchase", total=1)
    with monkeypatch.context() as patched:
        patched.setattr(matching, "exit_by_event", broken)
        merge(shop, "anonymous:x", "amina")
    assert customers(shop) == ["amina"]
    assert shop.rows("SELECT journey, error FROM parked") == [("hi", "ArithmeticError")]
    shop.later(minutes=10)
    assert shop.rows("SELECT outcome FROM enrolment") == [("exited",)]


def test_somebody_who_signs_in_is_who_they_were(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    anonymous(shop, "x", "closed")
    people = shop.runtime.people()
    told = people.introduce(Who("amina", "x"))
    assert (told.customer, told.created, told.merged) == ("amina", True, 1)
    anonymous(shop, "x", "closed")
    assert customers(shop) == ["amina"]
    assert people.introduce(Who("amina", "x")) == Told("amina")


def test_a_browser_that_comes_after_its_customer_is_theirs(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    shop.happens("amina", "closed")
    assert shop.runtime.people().introduce(Who("amina", "y")).merged == 0
    anonymous(shop, "y", "closed")
    assert customers(shop) == ["amina"]


def test_two_who_share_a_device_are_never_made_one(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()
    anonymous(shop, "x", "closed")
    people.introduce(Who("amina", "x"))
    assert people.introduce(Who("baraka", "x")) == Told("baraka", created=True)
    anonymous(shop, "x", "purchase")
    whose = "SELECT c.external_id FROM event e JOIN customer c ON c.id = e.customer_id WHERE e.name = '{}'"
    assert shop.rows(whose.format("closed")) == [("amina",)]
    assert shop.rows(whose.format("purchase")) == [("baraka",)]


def test_who_is_known_by_an_address_only_becomes_who_signs_in_with_it(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    by_mail = Who(email_hash="hash-amina").name
    shop.keys = 50
    shop.runtime.ingest([Incoming(by_mail, "closed", "k0", START, {}, person("amina"))])
    assert customers(shop) == ["email:hash-amina"]
    assert shop.runtime.people().introduce(Who("amina", email_hash="hash-amina")).merged == 1
    shop.runtime.ingest([Incoming(by_mail, "closed", "k1", START, {})])
    assert customers(shop) == ["amina"]
    assert shop.rows("SELECT count FROM tally WHERE name = 'closed'") == [(2,)]


def test_an_address_that_two_have_means_who_was_seen_first(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    people = shop.runtime.people()
    for name in ("zuri", "amina"):
        people.describe(name, Profile({"email": "us@shop.example", "email_hash": "ours"}))
    shop.runtime.ingest([Incoming("email:ours", "closed", "k", START, {})])
    assert shop.rows("SELECT c.external_id FROM event e JOIN customer c ON c.id = e.customer_id") == [("zuri",)]
    assert people.introduce(Who("amina", email_hash="ours")) == Told("amina")  # and merges nobody
    assert customers(shop) == ["amina", "zuri"]


def test_a_profile_set_from_outside_ends_a_journey_at_once(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(
        tmp_path, database, {"hi": "enter: {event: purchase}\nexit: [{when: customer.vip}]\nsteps:\n  - wait: 1d\n"}
    )
    shop.happens("amina", "purchase", total=1)
    shop.runtime.people().describe("amina", Profile({}, {"vip": True}))
    assert shop.rows("SELECT outcome FROM enrolment") == [("exited",)]


def test_a_file_that_names_the_old_id_means_the_winner(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    shop.happens("amina", "closed")
    shop.happens("asha", "closed")
    merge(shop, "asha", "amina")
    with database.write() as connection:
        rows = [Person(name, Profile({"country": "TZ"}, tags=(name,)), None) for name in ("asha", "amina", "new")]
        assert write(connection, rows, START, START) == 1
    assert customers(shop) == ["amina", "new"]
    assert shop.rows("SELECT tag FROM customer_tag ORDER BY tag") == [("amina",), ("asha",), ("new",)]


def test_a_goal_is_reached_by_what_was_bought_under_the_other_name_though_the_journey_is_over(
    database: Database, tmp_path: Path
) -> None:
    body = "enter: {event: closed}\ngoal: {event: purchase, within: 3d}\nsteps:\n  - tag: seen\n"
    shop = Shop.of(tmp_path, database, {"hi": body})
    for name in ("soon", "late"):
        anonymous(shop, name, "closed")
    shop.later(days=1)
    shop.happens("soon", "purchase", total=1)
    shop.later(days=1)
    merge(shop, "anonymous:soon", "soon")
    shop.later(days=2)
    shop.happens("late", "purchase", total=1)
    merge(shop, "anonymous:late", "late")
    assert len(shop.rows("SELECT 1 FROM goal_reached")) == 1
