"""Membership over time: what is brought up to date in small steps equals judging everybody anew, at every moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, func, insert, select, update

from engine.language.expression import Vocabulary
from engine.segments import membership
from engine.segments.definition import CircularSegmentsError, defined
from engine.segments.membership import Changes, refresh, whole_because
from engine.segments.people import everybody
from engine.segments.survey import prepare
from engine.store import tables as t
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.scratch import insert_ignore, insert_into
from engine.store.types import micros

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
ZONES = ["Africa/Nairobi", "America/New_York", "Pacific/Kiritimati"]
VOCABULARY = Vocabulary.plain(
    {"tier": "text", "renewal": "date", "seen": "instant"},
    {"purchase": {"value": "total", "properties": {"total": "money"}}, "visit": {}},
    segments=[*"abcdefghijklmnopqrstuvwxyz"],
    currency="KES",
    timezone="Africa/Nairobi",
)
CONDITIONS = [
    'did("purchase", within=3d)',
    'not did("purchase", within=2d)',
    'times("purchase", within=3d) >= 2',
    'total("purchase", "total", within=3d) > 50',
    'times("purchase") >= 2 and not did("purchase", within=2d) and customer.country == "KE"',
    'did("purchase", within=2d, where=event.total > 50)',
    'elapsed("purchase") > 2d',
    'elapsed("visit") <= 36h or customer.tier == "gold"',
    'last("purchase") < now - 2d',
    'now - first("purchase") >= 3d',
    "customer.created < now - 5d",
    "customer.seen + 1d > now",
    "customer.renewal < now",
    "days_until(customer.renewal) == 1",
    "days_until(customer.birthday) <= 1",
    "age(customer.birthday) >= 18",
    'tagged("x")',
    'consented("email", "transactional") and customer.renewal == now',
]
USING = [
    'in_segment("a")',
    'not in_segment("a") and customer.country == "KE"',
    'in_segment("b") or elapsed("visit") > 1d',
]


@pytest.fixture(autouse=True)
def _hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "BEAT", timedelta(hours=1))


def content(conditions: dict[str, str], vocabulary: Vocabulary = VOCABULARY) -> Any:
    return SimpleNamespace(
        vocabulary=vocabulary, segments={name: SimpleNamespace(when=when) for name, when in conditions.items()}
    )


@dataclass(frozen=True)
class Happening:
    """Something that is done to the base: an event (perhaps late, perhaps ahead of time), a profile, a tag."""

    what: str
    customer: int
    hours: int = 0
    value: Any = None


def customers(c: Connection, number: int) -> None:
    at = micros(START)
    c.execute(
        insert(t.customer),
        [
            {
                "id": n,
                "external_id": f"c{n}",
                "country": "KE" if n % 2 else "TZ",
                "timezone": [None, *ZONES][n % 4],
                "birth_month": 3,
                "birth_day": n,
                "birth_year": 2008,
                "attributes": {"renewal": f"2026-03-0{n}", "seen": at + n * 3_600_000_000},
                "bucket": n,
                "created_at": at - n * 86_400_000_000,
                "updated_at": at,
            }
            for n in range(1, number + 1)
        ],
    )


def happen(c: Connection, one: Happening, now: datetime) -> None:
    """As the doors do it: the fact, its counts, and the mark that the customer was touched."""
    match one.what:
        case "purchase" | "visit":
            at = micros(now + timedelta(hours=one.hours))
            key = {"source": "t", "key": f"{c.scalar(select(func.count()).select_from(t.event))}"}
            row = {**key, "customer_id": one.customer, "name": one.what, "occurred_at": at, "received_at": micros(now)}
            c.execute(insert(t.event), {**row, "properties": {"total": one.value}})
            tally = {"customer_id": one.customer, "name": one.what, "count": 1, "total": one.value}
            add = insert_into(c, t.tally).values({**tally, "first_at": at, "last_at": at})
            old, new = t.tally.c, add.excluded
            least, most = ("min", "max") if c.dialect.name == "sqlite" else ("least", "greatest")
            c.execute(
                add.on_conflict_do_update(
                    index_elements=["customer_id", "name"],
                    set_={
                        "count": old.count + 1,
                        "total": old.total + new.total,
                        "first_at": getattr(func, least)(old.first_at, new.first_at),
                        "last_at": getattr(func, most)(old.last_at, new.last_at),
                    },
                )
            )
        case "profile":
            known = {"tier": one.value, "renewal": "2026-03-04", "seen": micros(now)}
            c.execute(update(t.customer).where(t.customer.c.id == one.customer).values(attributes=known, country="KE"))
        case "tag":
            c.execute(insert_ignore(c, t.customer_tag), {"customer_id": one.customer, "tag": "x"})
        case "untag":
            c.execute(delete(t.customer_tag).where(t.customer_tag.c.customer_id == one.customer))
    c.execute(insert_ignore(c, t.touched), {"customer_id": one.customer})


def members(c: Connection, segment: str) -> set[int]:
    m = t.segment_member.c
    return set(c.scalars(select(m.customer_id).where(m.segment == segment, m.left_at.is_(None))))


class Undo(Exception):
    """Ends a write without keeping it."""


HAPPENINGS = st.builds(
    Happening,
    what=st.sampled_from(["purchase", "purchase", "visit", "profile", "tag", "untag"]),
    customer=st.integers(1, 5),
    hours=st.sampled_from([0, 0, -1, -30, -47, -48, -72, 5, 60]),
    value=st.sampled_from([100, 4999, 5001]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 60, 3600, 12 * 3600, 86400, 3 * 86400]), st.lists(HAPPENINGS, max_size=3)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(
    steps=STEPS,
    conditions=st.lists(st.sampled_from(CONDITIONS), min_size=2, max_size=4),
    using=st.lists(st.sampled_from(USING), max_size=2),
)
def test_small_steps_end_where_judging_everybody_ends(
    database: Database, steps: list[tuple[int, list[Happening]]], conditions: list[str], using: list[str]
) -> None:
    named = {**dict(zip("abcd", conditions, strict=False)), **dict(zip("yz", using, strict=False))}
    project, now = content(named), START
    before: dict[str, set[int]] = {}
    with pytest.raises(Undo), database.write() as c:
        ensure_zones(c, ZONES)
        customers(c, 5)
        refresh(c, project, now)
        for seconds, happenings in steps:
            now += timedelta(seconds=seconds)
            for one in happenings:
                happen(c, one, now)
            before = {name: members(c, name) for name in named}
            changes = refresh(c, project, now)
            for segment in defined(named, VOCABULARY):
                anew = set(c.scalars(everybody(segment.typed, now, VOCABULARY.timezone)))
                there = members(c, segment.name)
                assert there == anew, (segment.name, named[segment.name], now)
                assert changes.joined[segment.name] == len(there - before[segment.name])
                assert changes.left[segment.name] == len(before[segment.name] - there)
            assert c.scalar(select(func.count()).select_from(t.touched)) == 0
        raise Undo


def joins(c: Connection, segment: str) -> dict[int, int]:
    m = t.segment_member.c
    rows = c.execute(select(m.customer_id, m.joins).where(m.segment == segment, m.left_at.is_(None)))
    return {row.customer_id: row.joins for row in rows}


def test_the_first_filling_enters_nobody_and_each_later_join_counts(database: Database) -> None:
    project, day = content({"a": 'tagged("x")'}), timedelta(days=1)
    with database.write() as c:
        customers(c, 3)
        happen(c, Happening("tag", 1), START)
        assert refresh(c, project, START) == Changes(filled={"a": 1}, left={"a": 0}, judged={"a": None})
        assert joins(c, "a") == {1: 0}
        happen(c, Happening("tag", 2), START)
        happen(c, Happening("untag", 1), START)
        assert refresh(c, project, START + day) == Changes(joined={"a": 1}, left={"a": 1}, judged={"a": 2})
        assert joins(c, "a") == {2: 1}
        happen(c, Happening("tag", 1), START)
        refresh(c, project, START + 2 * day)
        assert joins(c, "a") == {1: 1, 2: 1}
        row = c.execute(select(t.segment_member).where(t.segment_member.c.customer_id == 1)).one()
        assert (row.joined_at, row.left_at) == (START + 2 * day, None)


def test_a_new_definition_is_filled_and_enters_nobody(database: Database) -> None:
    with database.write() as c:
        customers(c, 3)
        refresh(c, content({"a": 'customer.country == "KE"', "b": 'in_segment("a")'}), START)
        changes = refresh(c, content({"a": 'customer.country == "TZ"', "b": 'in_segment("a")'}), START)
        assert (changes.filled, changes.left) == ({"a": 1, "b": 1}, {"a": 2, "b": 2})
        assert joins(c, "a") == joins(c, "b") == {2: 0}


def test_a_segment_that_is_no_longer_defined_loses_everybody(database: Database) -> None:
    with database.write() as c:
        customers(c, 3)
        refresh(c, content({"a": "true", "b": "true"}), START)
        refresh(c, content({"b": "true"}), START + timedelta(days=1))
        assert (members(c, "a"), members(c, "b")) == (set(), {1, 2, 3})
        assert refresh(c, content({"a": "true", "b": "true"}), START + timedelta(days=2)).filled == {"a": 3}


def test_a_look_at_an_earlier_moment_changes_nothing(database: Database) -> None:
    with database.write() as c:
        customers(c, 1)
        project = content({"a": 'tagged("x")'})
        refresh(c, project, START)
        happen(c, Happening("tag", 1), START)
        assert refresh(c, project, START - timedelta(hours=1)) == Changes()
        assert refresh(c, project, START).joined == {"a": 1}


def test_a_multiple_of_the_usual_gap_is_judged_whole_on_the_beat_and_at_once_for_the_touched(
    database: Database,
) -> None:
    project = content({"a": 'elapsed("visit") > 2 * usual_gap("visit")'})
    assert whole_because(membership.segments_of(project)[0]) == "usual_gap"
    with database.write() as c:
        customers(c, 2)
        for hours in (-40, -30, -20, -10):
            for customer in (1, 2):
                happen(c, Happening("visit", customer, hours, 0), START)
        refresh(c, project, START)
        quiet = START + timedelta(hours=10, minutes=30)  # 20 hours and a half after the last visit
        assert refresh(c, project, START + timedelta(hours=9, minutes=59)).joined == {"a": 0}
        happen(c, Happening("tag", 1), quiet)
        assert refresh(c, project, quiet).joined == {"a": 1}
        assert members(c, "a") == {1}
        refresh(c, project, START + timedelta(hours=10, minutes=59))
        assert members(c, "a") == {1, 2}
        assert c.scalar(select(t.rhythm.c.gap)) == 10 * 3_600_000_000


LONGING = ['elapsed("purchase") > 2 * usual_gap("purchase")', 'in_segment("a") and tagged("x")']


@settings(max_examples=25)
@given(steps=STEPS, conditions=st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=2))
def test_preparing_outside_the_transaction_changes_nothing(
    steps: list[tuple[int, list[Happening]]], conditions: list[str]
) -> None:
    project = content({**dict(zip("bc", conditions, strict=False)), "a": LONGING[0], "z": LONGING[1]})
    alone, prepared = Database.memory(), Database.memory()
    for database in (alone, prepared):
        with database.write() as c:
            ensure_zones(c, ZONES)
            customers(c, 5)
    now, alike = START, {"a", "b", "c", "z"}
    for seconds, happenings in steps:
        now += timedelta(seconds=seconds)
        suspects = prepare(prepared, project, now)
        for database in (alone, prepared):
            with database.write() as c:
                for one in happenings:
                    happen(c, one, now)  # between the look and the refresh
                refresh(c, project, now, suspects=suspects if database is prepared else None)
        rows, gaps = [], []
        for database in (alone, prepared):
            with database.read() as c:
                m = t.segment_member.c
                here = select(m.segment, m.customer_id).where(m.left_at.is_(None))
                rows.append(sorted(map(tuple, c.execute(here))))
                gaps.append(c.scalar(select(t.rhythm.c.gap)))
        if gaps[0] != gaps[1]:  # the shop's first rhythm came up between the two: the next whole look measures it
            alike -= {"a", "z"}  # who go by it
        mine, theirs = ([one for one in found if one[0] in alike] for found in rows)
        assert mine == theirs


def test_suspects_are_of_use_only_while_nobody_else_has_looked() -> None:
    database, project = Database.memory(), content({"a": LONGING[0]})
    with database.write() as c:
        customers(c, 3)
        for hours in (-40, -30, -20, -10):
            for customer in (1, 2, 3):
                happen(c, Happening("purchase", customer, hours, 0), START)
    assert prepare(database, project, START) == {}
    with database.read() as c:
        assert c.execute(select(t.segment_state.c.seen_at)).scalar_one() == START
    with database.write() as c:
        assert refresh(c, project, START).judged == {"a": 3}
    later = START + timedelta(hours=12)
    suspects = prepare(database, project, later)
    assert suspects["a"].ids == (1, 2, 3)
    with database.write() as c:
        assert refresh(c, project, later, suspects=suspects) == Changes({"a": 3}, {}, {"a": 0}, {"a": 3})
    with database.write() as c:
        assert refresh(c, project, later + timedelta(hours=2), suspects=suspects).judged == {"a": None}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_who_time_turns_can_be_told(condition: str) -> None:
    (segment,) = defined({"a": condition}, VOCABULARY)
    assert whole_because(segment) is None


def test_a_digest_changes_with_the_meaning_only() -> None:
    def digest(text: str, vocabulary: Vocabulary = VOCABULARY) -> str:
        return defined({"a": text}, vocabulary)[0].digest

    assert digest('customer.country == "KE"') == digest('(customer.country   == "KE")')
    assert digest('customer.country == "KE"') != digest('customer.country == "TZ"')
    euros = Vocabulary.plain({}, {"purchase": {"properties": {"total": "money"}}}, currency="JPY")
    assert digest('total("purchase", "total") > 5') != digest('total("purchase", "total") > 5', euros)


def test_segments_that_use_each_other_are_refused() -> None:
    with pytest.raises(CircularSegmentsError, match="a → b → a"):
        defined({"a": 'in_segment("b")', "b": 'in_segment("a")'}, VOCABULARY)
