"""Whenever names are merged, before, between or after the events that come under them: counts, profile and segments are
those of a customer who had one name from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from engine.runtime.identity import Who, known
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile
from engine.store import tables as t
from engine.store.database import Database
from tests.engine.shop import Shop

SEGMENTS = """
buyers: {when: 'times("purchase") >= 2'}
lately: {when: 'did("purchase", within=3d)'}
quiet: {when: 'elapsed("closed") > 1d'}
gold: {when: 'customer.tier == "gold" and total("purchase", "total") > 1'}
happy: {when: 'tagged("happy")'}
"""
MERGED = "customer_merged"
NAMES = ("a", "b", "anonymous:c", "email:d")
FACTS = ("name", "birthday", "address", "tier", "vip", "tag")


@dataclass(frozen=True)
class Happens:
    """Something under one of the names: an event (hours ago, worth), a fact (said alone or with an event, hours ago),
    or a merge with another of them."""

    name: int
    event: str | None = None
    hours: int = 0
    worth: int = 0
    fact: str | None = None
    into: int | None = None


names = st.integers(0, len(NAMES) - 1)
happenings = st.one_of(
    st.builds(Happens, names, st.sampled_from(["purchase", "closed"]), st.integers(0, 100), st.integers(0, 900)),
    st.builds(Happens, names, st.sampled_from([None, "closed"]), st.integers(0, 100), fact=st.sampled_from(FACTS)),
    st.builds(Happens, names, into=names),
    st.sampled_from([12, 30]),  # time passes, and the engine looks
)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/segments.yaml").write_text(SEGMENTS)
    return Shop.of(tmp_path, database, {})


@settings(max_examples=40)
@given(story=st.lists(happenings, min_size=3, max_size=25))
def test_merged_at_any_moment_they_are_as_one_from_the_start(shop: Shop, story: list[Happens | int]) -> None:
    shop.keys += 1
    n = shop.keys
    many, one = [f"{name}-{n}" for name in NAMES], f"one-{n}"
    for happening in story:
        if isinstance(happening, int):
            shop.clock.advance_to(shop.clock.now() + timedelta(hours=happening))
            shop.runtime.tick()
        else:
            play(shop, happening, many, one)
    for name in many[1:]:
        shop.runtime.people().merge(name, many[0])
    play(shop, Happens(0, "closed"), many, one)
    shop.runtime.tick()
    assert seen(shop, one) == seen(shop, many[0])
    with shop.runtime.database.read() as connection:
        assert len(set(known(connection, many).values())) == 1


def play(shop: Shop, one: Happens, many: list[str], twin: str) -> None:
    """To one of the names, and to the customer who has but one."""
    people, name = shop.runtime.people(), many[one.name]
    if one.into is not None:
        people.merge(name, many[one.into])
        return
    at = shop.clock.now() - timedelta(hours=one.hours)
    profile = None if one.fact is None else said(one.fact, at)
    if one.event is not None:
        shop.keys += 1
        what = {"total": one.worth} if one.event == "purchase" else {}
        shop.runtime.ingest(
            [Incoming(who, one.event, f"{shop.keys}-{who == twin}", at, what, profile) for who in (name, twin)]
        )
    elif profile is not None:
        for who in (name, twin):
            people.describe(who, replace(profile, at=at))


def said(fact: str, at: datetime) -> Profile:
    """What is said of a fact at this moment: another word at another moment, and sometimes that it is gone. (Of two
    words of one moment the winner's stays, which is a rule of its own.)"""
    gone, word = at.hour % 5 == 0, f"{at:%m-%d %H}"
    if fact == "name":
        return Profile({"first_name": None if gone else word, "last_name": "Odhiambo"})
    if fact == "birthday":
        year = None if gone else 1900 + at.hour
        return Profile({"birth_month": at.month, "birth_day": at.day, "birth_year": year})
    if fact == "address":
        return Profile(dict.fromkeys(("phone", "phone_hash"), None if gone else word))
    if fact == "tag":
        return Profile(tags=("happy",))
    return Profile({}, {fact: None if gone else at.hour % 2 == 0 if fact == "vip" else ("gold", word)[at.hour % 2]})


def seen(shop: Shop, name: str) -> dict[str, Any]:
    """What conditions and templates can see of a customer."""
    own = {"id", "external_id", "bucket", "created_at", "updated_at"}
    with shop.runtime.database.read() as connection:
        row_id = known(connection, [name])[name]
        person = connection.execute(select(t.customer).where(t.customer.c.id == row_id)).one()._mapping
        tallies = connection.execute(select(t.tally).where(t.tally.c.customer_id == row_id, t.tally.c.name != MERGED))
        member = t.segment_member.c
        inside = select(member.segment).where(member.customer_id == row_id, member.left_at.is_(None))
        tags = select(t.customer_tag.c.tag).where(t.customer_tag.c.customer_id == row_id)
        happened = select(t.event.c.name, t.event.c.occurred_at, t.event.c.properties["total"].as_string())
        events = connection.execute(happened.where(t.event.c.customer_id == row_id, t.event.c.name != MERGED))
        return {
            "profile": {column: value for column, value in person.items() if column not in own},
            "tallies": sorted(tuple(row)[1:] for row in tallies),
            "segments": sorted(connection.scalars(inside)),
            "tags": sorted(connection.scalars(tags)),
            "events": sorted(map(repr, events.all())),
        }


def test_the_names_of_one_person_are_introduced_in_any_order(shop: Shop) -> None:
    """A sign-in before, between and after what the browser did."""
    for n, order in enumerate(("IVB", "VIB", "VBI", "IBV", "BVI", "BIV")):
        amina, browser = f"amina-{n}", f"x-{n}"
        for step in order:
            if step == "I":
                shop.runtime.introduce([Who(amina, browser)])
            else:
                who = amina if step == "B" else f"anonymous:{browser}"
                shop.keys += 1
                shop.runtime.ingest([Incoming(who, "closed", f"k{shop.keys}", shop.clock.now())])
        with shop.runtime.database.read() as connection:
            both = known(connection, [amina, f"anonymous:{browser}"])
            assert both[amina] == both[f"anonymous:{browser}"], order
        assert seen(shop, amina)["tallies"][0][1] == 2, order


MAIL, OTHER, PHONE = "m", "o", "p"
ONE_PERSON = {
    "a guest": [
        Who(email_hash=MAIL),
        Who(anonymous_id="x", email_hash=MAIL),
        Who(phone_hash=PHONE),
        Who(email_hash=MAIL, phone_hash=PHONE),
    ],
    "a customer": [
        Who("amina", email_hash=MAIL),
        Who(anonymous_id="x", email_hash=MAIL),
        Who(email_hash=MAIL),
        Who(anonymous_id="x", phone_hash=PHONE),
    ],
}


@pytest.mark.parametrize("whom", ONE_PERSON)
def test_who_is_told_by_any_names_is_one_customer_in_any_order(shop: Shop, whom: str) -> None:
    for n, order in enumerate(permutations(ONE_PERSON[whom])):
        mine = [_of(n, one) for one in order]
        comes(shop, mine)
        assert len(lead_to(shop, mine)) == 1, order
        assert [row[1] for row in seen(shop, mine[0].name)["tallies"]] == [4], order


def test_what_is_told_at_once_is_one_customer_too(shop: Shop) -> None:
    for n, order in enumerate(permutations(ONE_PERSON["a guest"])):
        mine = [_of(n, one) for one in order]
        shop.runtime.introduce(mine)
        shop.runtime.ingest([closed(shop, one) for one in mine])
        assert len(lead_to(shop, mine)) == 1, order


def test_of_a_family_with_one_address_each_stays_who_they_are(shop: Shop) -> None:
    family = [Who("amina", email_hash=MAIL), Who("baraka", email_hash=MAIL), Who(anonymous_id="x", email_hash=MAIL)]
    for n, order in enumerate(permutations([*family, Who("baraka", "x")])):
        mine = [_of(n, one) for one in order]
        comes(shop, mine)
        assert len(lead_to(shop, mine)) == 2, order
        assert not shop.runtime.strangers(mine[:-1] if order[-1].external_id else []), order


def test_a_phone_makes_nobody_one_who_has_another_address(shop: Shop) -> None:
    guests = [Who(email_hash=MAIL, phone_hash=PHONE), Who(email_hash=OTHER, phone_hash=PHONE)]
    for n, order in enumerate(permutations([*guests, Who(phone_hash=PHONE)])):
        mine = [_of(n, one) for one in order]
        comes(shop, mine)
        assert len(lead_to(shop, mine)) == 2, order
        assert not shop.runtime.strangers(mine), order


def test_a_page_makes_nobody_one_without_an_id(shop: Shop) -> None:
    told = Who(anonymous_id="x", email_hash=MAIL)
    comes(shop, [Who("amina", email_hash=MAIL), Who(anonymous_id="x")])
    assert not shop.runtime.strangers([replace(told, page=True)])
    assert shop.runtime.introduce([replace(told, page=True)]) == 0
    assert shop.runtime.introduce([told]) == 1
    assert not shop.runtime.strangers([told])


def test_of_two_without_an_id_who_was_seen_first_stays_and_the_merge_is_an_event(shop: Shop) -> None:
    comes(shop, [Who(email_hash=MAIL), Who(anonymous_id="x"), Who(anonymous_id="x", email_hash=MAIL)])
    assert shop.rows("SELECT external_id FROM customer") == [(f"email:{MAIL}",)]
    assert shop.rows(f"SELECT key FROM event WHERE name = '{MERGED}'") == [("merge:anonymous:x",)]


def _of(n: int | str, who: Who) -> Who:
    """The same of another person."""
    told = (who.external_id, who.anonymous_id, who.email_hash, who.phone_hash)
    own, anonymous, mail, phone = (value and f"{value}-{n}" for value in told)
    return Who(own, anonymous, mail, phone)


def comes(shop: Shop, whos: Sequence[Who]) -> None:
    """An event of each, one after the other, as they come through the door."""
    for who in whos:
        shop.runtime.introduce([who])
        shop.runtime.ingest([closed(shop, who)])


def closed(shop: Shop, who: Who) -> Incoming:
    shop.keys += 1
    hashes = {"email_hash": who.email_hash, "phone_hash": who.phone_hash}
    told = {name: value for name, value in hashes.items() if value}
    told |= {name.removesuffix("_hash"): value for name, value in told.items()}
    return Incoming(who.name, "closed", f"k{shop.keys}", shop.clock.now(), profile=Profile(told) if told else None)


def lead_to(shop: Shop, whos: Sequence[Who]) -> set[int]:
    """The customers to whom all their names lead."""
    with shop.runtime.database.read() as connection:
        names = {name for who in whos for name in who.names}
        found = known(connection, names)
    assert found.keys() == names
    return set(found.values())
