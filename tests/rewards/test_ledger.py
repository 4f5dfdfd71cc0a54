"""The ledger of points beside a plain Python one, on both databases: whatever happens in whatever order, what customers
can spend, what is pending, their tier, and the sum of the lines are the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from engine.language.expression import parse
from engine.language.vocabulary import Names
from engine.runtime.ingest import Incoming
from engine.runtime.points import balance
from engine.runtime.stage import empty
from engine.segments import sql
from engine.segments.frame import Frame
from engine.store.database import Database
from engine.store.tables import customer, points_entry, points_lot
from tests.engine.shop import Shop, person
from tests.rewards.giving import REWARDS, giving, stock

KINDS = {"plain": (0, None), "soon": (0, 5), "later": (2, 3)}
"""Gifts: days until they can be spent, and then days until they expire."""

WHO = ("amina", "baraka", "chidi")
ORDERS = ("A", "B")
PROJECT = REWARDS.replace(
    "events:\n",
    "events:\n" + "".join(f"  {kind}: {{properties: {{n: number, order_id: text}}}}\n" for kind in KINDS),
)


def _journey(kind: str) -> str:
    pending, expires = KINDS[kind]
    more = (f", pending: {pending}d" if pending else "") + (f", expires: {expires}d" if expires else "")
    return f"enter: {{event: {kind}, again: always}}\nsteps:\n  - points: {{give: entry.n{more}}}\n"


def open_shop(root: Path, database: Database) -> Shop:
    return Shop.of(root, database, {kind: _journey(kind) for kind in KINDS}, more={"workflows/project.yaml": PROJECT})


@dataclass
class Lot:
    """What was given at once."""

    points: int
    remaining: int
    active: datetime
    expires: datetime | None
    order: str
    expired: int = 0
    taken: bool = False

    def good(self, now: datetime) -> bool:
        return self.active <= now and (self.expires is None or self.expires > now)


@dataclass
class Ledger:
    """One customer's points, said a second time and without a database. `lots` in the order in which they were given."""

    lots: list[tuple[int, Lot]] = field(default_factory=list)

    def spend(self, number: int, now: datetime) -> None:
        open_ = [(lot.expires is None, lot.expires or now, n, lot) for n, lot in self.lots if lot.good(now)]
        for *_, lot in sorted(open_, key=lambda one: one[:3]):
            part = min(lot.remaining, number)
            lot.remaining -= part
            number -= part

    def take_back(self, order: str, now: datetime) -> None:
        lots = [lot for _, lot in self.lots if lot.order == order and not lot.taken]
        owed = sum(lot.points - lot.remaining - lot.expired for lot in lots)
        for lot in lots:
            lot.remaining, lot.taken = 0, True
        self.spend(owed, now)

    def expire(self, now: datetime) -> None:
        for _, lot in self.lots:
            if lot.expires is not None and lot.expires <= now:
                lot.expired, lot.remaining = lot.expired + lot.remaining, 0

    def balance(self, now: datetime) -> tuple[int, int]:
        good = sum(lot.remaining for _, lot in self.lots if lot.good(now))
        return good, sum(lot.remaining for _, lot in self.lots if lot.active > now)

    def tier(self, now: datetime) -> str | None:
        earned = sum(lot.points for _, lot in self.lots if lot.active <= now and not lot.taken)
        return "gold" if earned >= 2000 else "silver" if earned >= 500 else None


Action = tuple[Any, ...]
who = st.sampled_from(WHO)
orders = st.sampled_from(ORDERS)
actions: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("give"), who, st.sampled_from(sorted(KINDS)), st.integers(0, 1200), orders),
    st.tuples(st.just("spend"), who, st.one_of(st.integers(-5, 1500), st.floats(0, 50))),
    st.tuples(st.just("refund"), who, orders),
    st.tuples(st.just("later"), st.sampled_from([0.5, 1.0, 2.0, 5.0])),
    st.tuples(st.just("unseen"), st.sampled_from([1.0, 3.0, 5.0])),
    st.tuples(st.just("again"), st.integers(0, 100)),
    st.tuples(st.just("merge"), who, who),
)


class Both:
    """The shop, and the plain ledgers beside it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ledgers = {name: Ledger() for name in WHO}
        self.name_of = {name: name for name in WHO}  # who was merged is called by the name of who stayed
        self.said: list[Incoming] = []
        self.gifts = 0
        for name in WHO:
            shop.happens(name, "shipped")

    @property
    def now(self) -> datetime:
        return self.shop.clock.now()

    def does(self, action: Action) -> None:
        getattr(self, action[0])(*action[1:])
        self.shop.settle()
        for ledger in self.ledgers.values():
            ledger.expire(self.now)

    def tell(self, name: str, event: str, properties: dict[str, Any]) -> None:
        one = Incoming(name, event, f"e{len(self.said)}", self.now, properties, person(name))
        self.said.append(one)
        self.shop.runtime.ingest([one])

    def give(self, name: str, kind: str, number: int, order: str) -> None:
        self.tell(name, kind, {"n": number, "order_id": order})
        if number >= 1:
            pending, expires = KINDS[kind]
            active = self.now + timedelta(days=pending)
            ends = None if expires is None else active + timedelta(days=expires)
            self.gifts += 1
            self.ledgers[self.name_of[name]].lots.append((self.gifts, Lot(number, number, active, ends, order)))

    def spend(self, name: str, number: float) -> None:
        self.tell(name, "spends", {"points": number})
        self.ledgers[self.name_of[name]].spend(max(0, int(number)), self.now)

    def refund(self, name: str, order: str) -> None:
        self.tell(name, "refunded", {"order_id": order})
        self.ledgers[self.name_of[name]].take_back(order, self.now)

    def later(self, days: float) -> None:
        self.shop.clock.advance_to(self.now + timedelta(days=days))

    def unseen(self, days: float) -> None:
        """Time passes, and the next event comes before anybody has looked at the clock."""
        self.later(days)
        self.tell("amina", "spends", {"points": 7})
        self.ledgers[self.name_of["amina"]].spend(7, self.now)

    def again(self, number: int) -> None:
        """An event is sent a second time."""
        if self.said:
            receipt = self.shop.runtime.ingest([self.said[number % len(self.said)]])
            assert receipt.accepted == 0

    def merge(self, loser: str, winner: str) -> None:
        one, other = self.name_of[loser], self.name_of[winner]
        self.shop.runtime.people().merge(loser, winner)
        if one != other:
            lost = self.ledgers.pop(one)
            self.ledgers[other].lots = sorted([*self.ledgers[other].lots, *lost.lots], key=lambda lot: lot[0])
            self.name_of = {name: other if called == one else called for name, called in self.name_of.items()}

    def agree(self) -> None:
        """The database says what the plain ledgers say."""
        vocabulary = self.shop.runtime.content.vocabulary
        asked = sql.value(parse("points()", Names(), vocabulary), Frame(customer=customer, now=self.now))
        with self.shop.runtime.database.read() as connection:
            for name, ledger in self.ledgers.items():
                row = connection.execute(
                    select(customer.c.id, customer.c.attributes, asked).where(customer.c.external_id == name)
                ).one()
                expected = ledger.balance(self.now)
                assert balance(connection, row[0], self.now) == expected, name
                assert row[2] == expected[0], name
                assert row[1].get("tier") == ledger.tier(self.now), name
                lines = select(func.coalesce(func.sum(points_entry.c.points), 0)).where(
                    points_entry.c.customer_id == row[0]
                )
                remains = select(func.coalesce(func.sum(points_lot.c.remaining), 0)).where(
                    points_lot.c.customer_id == row[0]
                )
                assert connection.scalar(lines) == connection.scalar(remains)
                kept = select(points_lot.c.remaining).where(points_lot.c.customer_id == row[0])
                ours = [lot.remaining for _, lot in ledger.lots]
                assert list(connection.scalars(kept.order_by(points_lot.c.id))) == ours, name


@settings(max_examples=25)
@given(happenings=st.lists(actions, min_size=1, max_size=14))
def test_the_ledger_is_a_plain_one(happenings: Sequence[Action], database: Database, tmp_path: Path) -> None:
    empty(database)
    both = Both(open_shop(tmp_path, database))
    for action in happenings:
        both.does(action)
        both.agree()


def at_once(work: Sequence[Any]) -> None:
    """Call all of these at the same time, as far as that can be."""
    gate = Barrier(len(work))

    def begin(one: Any) -> None:
        gate.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(begin, one) for one in work]:
            done.result()


@pytest.mark.postgres
def test_eight_who_spend_at_once_spend_what_there_is_and_no_more(postgres_database: Database, tmp_path: Path) -> None:
    shop = open_shop(tmp_path, postgres_database)
    shop.happens("amina", "plain", n=100, order_id="A")
    shop.happens("amina", "soon", n=50, order_id="B")
    shop.settle()
    others = [shop.beside(postgres_database) for _ in range(8)]

    def spends(n: int, engine: Shop) -> None:
        for m in range(3):
            engine.happens("amina", "spends", key=f"s{n}-{m}", points=9)

    at_once([lambda n=n, engine=engine: spends(n, engine) for n, engine in enumerate(others)])
    taken = [-int(row[0]) for row in shop.rows("SELECT points FROM points_entry WHERE kind = 'spent'")]
    assert len(taken) == 24 and sum(taken) == 150
    assert sorted(taken) == [0] * 7 + [6] + [9] * 16
    assert shop.rows("SELECT sum(remaining) FROM points_lot") == [(0,)]


@pytest.mark.postgres
def test_gifts_spending_and_refunds_beside_each_other_lose_no_point(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = open_shop(tmp_path, postgres_database)
    shop.happens("amina", "shipped")
    others = [shop.beside(postgres_database) for _ in range(6)]

    def gives(n: int, engine: Shop) -> None:
        for m in range(5):
            engine.happens("amina", "plain", key=f"g{n}-{m}", n=10, order_id=f"{n}-{m}")
            engine.runtime.advance()

    def spends(n: int, engine: Shop) -> None:
        for m in range(10):
            engine.happens("amina", "spends", key=f"s{n}-{m}", points=3)

    def refunds(n: int, engine: Shop) -> None:
        for m in range(5):
            engine.happens("amina", "refunded", key=f"r{n}-{m}", order_id=f"{n % 2}-{m}")
            engine.runtime.tick()

    kinds = (gives, gives, spends, spends, refunds, refunds)
    at_once([lambda n=n, do=do: do(n, others[n]) for n, do in enumerate(kinds)])
    shop.settle()
    assert shop.rows("SELECT count(*), sum(points) FROM points_entry WHERE kind = 'given'") == [(10, 100)]
    (lines,), (remains,) = (
        shop.rows("SELECT sum(points) FROM points_entry"),
        shop.rows("SELECT sum(remaining) FROM points_lot"),
    )
    assert lines == remains
    assert shop.rows("SELECT count(*) FROM points_lot WHERE remaining < 0 OR remaining > points") == [(0,)]
    twice = "SELECT lot_id FROM points_entry WHERE kind = 'taken_back' AND lot_id IS NOT NULL GROUP BY lot_id HAVING count(*) > 1"
    assert shop.rows(twice) == []


def test_points_are_given_once_whatever_runs_twice(database: Database, tmp_path: Path) -> None:
    shop = open_shop(tmp_path, database)
    shop.happens("amina", "plain", n=100, order_id="A")
    other = shop.beside(database)
    (work,) = shop.runtime.work()
    moves = [lambda engine=engine: engine.runtime.move(work.version_id, "points_1", "p") for engine in (shop, other)]
    at_once([*moves, *moves])
    shop.settle()
    assert shop.rows("SELECT points FROM points_lot") == [(100,)]
    assert shop.rows("SELECT kind, points FROM points_entry") == [("given", 100)]


def test_a_refund_of_what_was_spent_is_taken_from_what_else_there_is(database: Database, tmp_path: Path) -> None:
    shop = open_shop(tmp_path, database)
    shop.happens("amina", "soon", n=100, order_id="A")
    shop.settle()
    shop.happens("amina", "spends", points=80)
    shop.happens("amina", "plain", n=30, order_id="B")
    shop.settle()
    for key in ("one", "other"):  # told twice, under two keys
        shop.happens("amina", "refunded", key=key, order_id="A")
    assert shop.rows("SELECT sum(remaining) FROM points_lot") == [(0,)]
    lines = shop.rows("SELECT kind, points, asked FROM points_entry ORDER BY id")
    assert lines == [
        ("given", 100, None),
        ("spent", -80, 80),
        ("given", 30, None),
        ("taken_back", -20, 100),
        ("taken_back", -30, 80),
    ]


def test_what_a_page_says_moves_no_points_and_uses_up_no_code(database: Database, tmp_path: Path) -> None:
    shop = open_shop(tmp_path, database)
    stock(shop, "few", "F-1")
    shop.happens("amina", "plain", n=100, order_id="A")
    shop.settle()
    told: dict[str, dict[str, Any]] = {
        "spends": {"points": 50},
        "refunded": {"order_id": "A"},
        "purchase": {"coupon": "F-1"},
        "plain": {"n": 900},
    }
    for event, properties in told.items():
        shop.runtime.ingest([Incoming("amina", event, event, shop.clock.now(), properties, source="api:page")])
    shop.settle()
    assert shop.rows("SELECT points, remaining FROM points_lot") == [(100, 100)]
    assert shop.rows("SELECT state FROM coupon") == [("available",)]
    assert "points_1 nothing page" in shop.decisions("amina")


@pytest.mark.parametrize(("source", "given"), [("api", "given"), ("api:page", "nothing page")])
def test_who_waited_for_a_page_gets_no_points_for_it(
    database: Database, tmp_path: Path, source: str, given: str
) -> None:
    steps = "  - wait_for: {event: closed, within: 2d}\n    then: [{points: 50}]\n    else: []\n"
    shop = giving(tmp_path, database, steps, enter="enter: {event: purchase}\n")
    shop.happens("amina", "purchase")
    shop.settle()
    shop.runtime.ingest([Incoming("amina", "closed", "c", shop.clock.now(), {}, source=source)])
    shop.settle()
    assert f"points_1 {given}" in shop.decisions("amina")


@pytest.mark.parametrize("number", [float("1e300"), -1e300, 2**60, True, "100", None])
def test_a_number_of_points_that_is_none_spends_nothing(database: Database, tmp_path: Path, number: Any) -> None:
    shop = open_shop(tmp_path, database)
    shop.happens("amina", "plain", n=100, order_id="A")
    shop.settle()
    shop.happens("amina", "spends", points=number)
    assert shop.rows("SELECT sum(remaining) FROM points_lot") == [(100,)]
