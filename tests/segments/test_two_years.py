"""Two years of a shop, looked at every week or two: whatever happened in between, members are those whom judging everybody
anew would name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from engine.language.expression import Names, parse_condition
from engine.runtime.ingest import Incoming
from engine.runtime.profile import Profile
from engine.segments.people import everybody
from engine.store.database import Database
from engine.store.tables import segment_member
from engine.store.types import micros
from tests.engine.shop import Shop, person

SEGMENTS = {
    "lately": 'did("purchase", within=7d)',
    "silent": 'not did("purchase", within=60d)',
    "often": 'times("purchase", within=90d) >= 3',
    "spent": 'total("purchase", "total", within=365d) > 50',
    "dear": 'did("purchase", within=30d, where=event.total > 20)',
    "regulars": 'times("purchase") >= 4',
    "lapsed": 'elapsed("purchase") > 90d',
    "closed-lately": 'elapsed("closed") <= 36h or customer.tier == "gold"',
    "newcomers": "customer.created > now - 30d",
    "began": 'now - first("purchase") >= 100d',
    "trial-over": "customer.trial < now",
    "trial-ends": "customer.trial + 10d > now",
    "renewed": "customer.renewal < now",
    "renews": "days_until(customer.renewal) <= 7 and customer.renewal is set",
    "birthday": "days_until(customer.birthday) <= 3",
    "grown-up": "age(customer.birthday) >= 18",
    "happy": 'tagged("happy")',
    "told": 'consented("email", "offers")',
    "gold": 'customer.tier == "gold"',
    "lost-gold": 'in_segment("gold") and in_segment("lapsed")',
    "others": 'not in_segment("lost-gold") and (in_segment("regulars") or in_segment("newcomers"))',
}
ZONES = [None, "Africa/Nairobi", "America/New_York", "Pacific/Kiritimati", "Europe/Berlin"]
WEEKS, SEED = 104, 1
EVERY = {"sqlite": 1, "postgresql": 2}
"""Weeks between two looks."""


def happen(shop: Shop, chance: Random, names: list[str]) -> None:
    """Something at some moment of the week that has gone by, now and then of long ago or ahead of time."""
    now, who = shop.clock.now(), chance.choice(names)
    hours = chance.choice([-1, -20, -100, -167, -24 * 80, -24 * 200, 50])
    at = now + timedelta(hours=hours)
    match chance.choice(["purchase", "purchase", "purchase", "closed", "profile", "tag", "untag", "merge", "new"]):
        case "new":
            names.append(f"late-{len(names)}")
            zone = {"timezone": chance.choice(ZONES), "birth_month": chance.randint(1, 12), "birth_day": 28}
            columns = {**person(names[-1]).columns, **zone, "birth_year": chance.choice([2008, 2009, None])}
            shop.runtime.people().describe(names[-1], Profile(columns=columns, consents=person(who).consents))
        case "profile":
            day = (now + timedelta(days=chance.randint(-10, 90))).date().isoformat()
            moment = micros(now + timedelta(hours=chance.randint(-200, 2_000)))
            facts = {"tier": chance.choice(["gold", None]), "renewal": day, "trial": chance.choice([moment, None])}
            shop.runtime.people().describe(who, Profile({}, facts))
        case "tag":
            shop.runtime.people().describe(who, Profile(tags=("happy",)))
        case "untag":
            shop.runtime.people().describe(who, Profile(untags=("happy",)))
        case "merge":
            if chance.random() < 0.3 and len(names) > 8:
                names.remove(who)
                shop.runtime.people().merge(who, chance.choice(names))
        case event:
            shop.keys += 1
            total = {"total": chance.choice([100, 2_500, 4_000])} if event == "purchase" else {}
            shop.runtime.ingest([Incoming(who, event, f"k{shop.keys}", at, total)])


def wrong(shop: Shop) -> list[tuple[str, set[int], set[int]]]:
    """Segments whose members aren't those that judging everybody names: (name, too many, too few)."""
    vocabulary, now = shop.runtime.content.vocabulary, shop.clock.now()
    found = []
    with shop.runtime.database.read() as connection:
        member = segment_member.c
        for name, condition in SEGMENTS.items():
            here = select(member.customer_id).where(member.segment == name, member.left_at.is_(None))
            there = set(connection.scalars(here))
            typed = parse_condition(condition, Names(), vocabulary)
            anew = set(connection.scalars(everybody(typed, now, vocabulary.timezone)))
            if there != anew:
                found.append((name, there - anew, anew - there))
    return found


@pytest.mark.slow
def test_after_two_years_of_weekly_looks_members_are_those_that_judging_everybody_names(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "workflows").mkdir()
    lines = [
        f"{name}: '{condition}'\n" if '"' in condition else f"{name}: {condition}\n"
        for name, condition in SEGMENTS.items()
    ]
    (tmp_path / "workflows/segments.yaml").write_text("".join(lines))
    shop, chance = Shop.of(tmp_path, database, {}), Random(SEED)
    names = [f"c{n}" for n in range(12)]
    for name in names:
        shop.happens(name, "closed")
    compared = 0
    before = len(shop.rows("SELECT * FROM segment_member"))
    every = EVERY[database.dialect]
    for week in range(0, WEEKS, every):
        for _ in range(chance.randint(0, 4 * every)):
            happen(shop, chance, names)
        shop.clock.advance_to(shop.clock.now() + timedelta(days=7 * every, minutes=chance.randint(-300, 300)))
        if chance.random() < 0.3:
            happen(shop, chance, names)  # in the moment of the look
        shop.runtime.tick()
        assert not wrong(shop), f"week {week}, seed {SEED}"
        compared += len(SEGMENTS)
    moved = shop.rows("SELECT sum(joins), count(DISTINCT segment) FROM segment_member WHERE joins > 0")[0]
    print(
        f"{database.dialect}: {WEEKS // every} looks in {WEEKS} weeks (seed {SEED}), {len(names)} customers and {before} members at first, "
        f"{moved[0]} joins in {moved[1]} segments, {compared} comparisons, differences 0"
    )
    assert moved[0] > 100 and moved[1] == len(SEGMENTS)
