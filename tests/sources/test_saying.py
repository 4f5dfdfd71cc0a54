"""From what a source said to what the engine takes: nothing is lost on the way, whatever was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.builtins import registry
from engine.language.content import load
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Door
from engine.runtime.kept import keep
from engine.runtime.runtime import Runtime
from engine.store.database import Database
from engine.web.saying import hear
from engine.web.who import earlier
from tests.scenarios.shop import PROJECT
from tests.sources.conftest import NOW
from tests.sources.samples import NAMES, sample
from tests.sources.test_every_source import low, payloads, source_of
from triggers.sources.base import Agreed, Told, Untold, Who


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shop")
    (made / "workflows").mkdir()
    (made / "workflows/project.yaml").write_text(PROJECT)
    return made


@pytest.fixture
def door(root: Path) -> Door:
    content = load(root, registry())
    return Door(content.project, content.vocabulary, "a secret")


def resolve(keys: Sequence[str]) -> str | None:
    return "amina" if "order-17" in keys else None


@pytest.mark.parametrize(
    ("who", "found"),
    [
        (Who("17", "a@b.example", "+254712345678", "anon", ("order-17",)), "17"),
        (Who(None, "a@b.example", None, "anon", ("order-17",)), "amina"),
        (Who(None, "a@b.example", "+254712345678", "anon"), "anonymous:anon"),
        (Who(None, " A@B.example ", "+254712345678"), "email:"),
        (Who(None, None, "+254712345678"), "phone:"),
        (Who(of=("order-18",)), None),
        (Who(), None),
    ],
)
def test_who_it_is_is_decided_in_one_place(who: Who, found: str | None, door: Door) -> None:
    heard = hear([Told(who, "ping", "k", NOW)], "s", (), door, NOW, resolve)
    if found is None:
        assert [one.reason for one in heard.kept] == ["nobody knows whose it is"]
    else:
        ((event, _),) = heard.events
        hashes = {"email:": ("email", "a@b.example"), "phone:": ("phone", "+254712345678")}
        assert event.customer == found + (door.address_hash(*hashes[found]) if found in hashes else "")


def test_who_is_told_by_more_than_one_name_is_introduced(door: Door) -> None:
    heard = hear([Told(Who("17", None, None, "anon"), "ping", "k", NOW)], "s", (), door, NOW, resolve)
    assert [one.names for one in heard.whos.values()] == [("17", "anonymous:anon")]


def test_an_entry_of_a_list_loses_what_nobody_declared_and_an_amount_keeps_its_currency(door: Door) -> None:
    items = [{"sku": "A", "qty": 1, "colour": "red"}, "nonsense"]
    told = Told(Who("a"), "purchase", "k", NOW, {"total": "10.00", "items": items, "note": 5}, currency="usd")
    ((event, _),) = hear([told], "s", (), door, NOW, resolve).events
    assert event.properties == {
        "total": "10.00 USD",
        "items": [{"sku": "A", "qty": 1}, "nonsense"],
        "note": 5,
        "currency": "USD",
    }
    ours = Told(Who("a"), "purchase", "k", NOW, {"total": "10.00"}, currency="kes")
    ((event, _),) = hear([ours], "s", (), door, NOW, resolve).events
    assert event.properties == {"total": 1000}


def test_an_attribute_in_another_currency_is_no_amount_of_the_brands(door: Door) -> None:
    told = Told(Who("a"), "ping", "k", NOW, profile={"spent": "10.00", "city": "Voi"}, currency="usd")
    for one, spent in ((told, "10.00 USD"), (replace(told, currency="kes"), 1000)):
        ((event, _),) = hear([one], "s", (), door, NOW, resolve).events
        assert event.profile is not None and event.profile.attributes == {"spent": spent, "city": "Voi"}


def test_a_yes_from_the_future_was_said_now(door: Door) -> None:
    late = Agreed("email", "off", datetime(2030, 1, 1, tzinfo=UTC))
    ((event, _),) = hear(
        [Told(Who("a"), "ping", "k", NOW, agreed=(late,))], "s", ("offers",), door, NOW, resolve
    ).events
    assert event.profile is not None
    ((said),) = event.profile.consents
    assert (said.channel, said.topic, said.state, said.source, said.at) == ("email", "offers", "off", "s", NOW)


def test_a_yes_to_what_wants_to_be_confirmed_is_pending_unless_the_shop_has_had_it_confirmed(door: Door) -> None:
    topics = {name: topic.model_copy(update={"double_opt_in": True}) for name, topic in door.project.topics.items()}
    strict = replace(door, project=door.project.model_copy(update={"topics": topics}))
    for said, state in (
        (Agreed("email", "on"), "pending"),
        (Agreed("email", "on", None, True), "on"),
        (Agreed("sms", "off"), "off"),
    ):
        told = Told(Who("a"), "ping", "k", NOW, agreed=(said,))
        ((event, _),) = hear([told], "s", ("offers",), strict, NOW, resolve).events
        assert event.profile is not None and [one.state for one in event.profile.consents] == [state]


def test_a_key_of_any_length_names_one_event(door: Door) -> None:
    long = [Told(Who("a"), "ping", "k" * n, NOW) for n in (200, 201, 202, 201)]
    keys = [event.key for event, _ in hear(long, "s", (), door, NOW, resolve).events]
    assert len(set(keys)) == 3 and keys[1] == keys[3] and max(map(len, keys)) <= 200


def test_what_has_a_fault_is_kept_with_it(door: Door) -> None:
    said: list[Told | Untold] = [
        Told(Who("a" * 300), "ping", "k", NOW),
        Told(Who("a"), "ping", "k\n", NOW),
        Untold("t", "why", {"a": 1}, "n"),
    ]
    heard = hear(said, "s", (), door, NOW, resolve)
    assert not heard.events
    assert [one.reason.partition(":")[0] for one in heard.kept] == ["customer.id", "key", "why"]
    assert json.loads(heard.kept[2].body) == {"a": 1}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_sent_the_database_takes_it_as_an_event_or_keeps_it(
    name: str, data: st.DataObject, database: Database, root: Path, door: Door
) -> None:
    one = sample(name)
    payload: Any = data.draw(payloads(one.payload))
    said = source_of(one).read(low(one.headers), payload)
    runtime = Runtime(database, load(root, registry()), registry(), VirtualClock(NOW), None)  # type: ignore[arg-type]
    with database.read() as connection:
        heard = hear(said, name, ("offers",), door, NOW, lambda keys: earlier(connection, name, keys))
    assert len(heard.events) + len(heard.kept) == len(said)
    with database.write() as connection:
        keep(connection, name, heard.kept, NOW)
    if heard.events:
        runtime.ingest([event for event, _ in heard.events])
