"""Laws 3 and 4 for merges, with two connections on PostgreSQL: whatever happens between any two statements, nobody and
nothing is lost, and nobody who has just sent a message has to pay for it.

All moments of a test are on one database, each with customers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from engine.runtime.identity import Who
from engine.runtime.profile import Profile
from engine.store.tables import POINTS_TO
from tests.conftest import Postgres
from tests.engine.shop import START, Shop
from tests.engine.test_interleavings import Interleaved, every_moment, two_engines

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

JOURNEY = {"hi": "enter: {event: purchase}\nexit: [{event: closed}]\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}

CAPPED = {"hi": "enter: {event: purchase, again: always}\nsteps: [{send: email/hello}]\n"}
CAP = "caps: [{topic: offers, at_most: 3, per: 7d}]\n"

Two = Callable[..., tuple[Shop, Shop]]


@pytest.fixture
def two(postgres: Postgres, tmp_path: Path) -> Iterator[Two]:
    """Two engines on one database that run these journeys."""
    opened = []

    def make(journeys: dict[str, str], gate: str = "") -> tuple[Shop, Shop]:
        opened.append(two_engines(postgres, tmp_path, journeys, gate))
        return opened[-1].__enter__()

    yield make
    for one in opened:
        one.__exit__(None, None, None)


def nothing_points_nowhere(shop: Shop) -> None:
    for table in SQLModel.metadata.tables.values():
        for column in table.c:
            target = column.info.get(POINTS_TO)
            if target is None:
                continue
            lost = f"SELECT count(*) FROM {table.name} t WHERE {column.name} IS NOT NULL AND NOT EXISTS"
            found = shop.rows(f"{lost} (SELECT 1 FROM {target} o WHERE o.id = t.{column.name})")
            assert found == [(0,)], f"{table.name}.{column.name}"


def theirs(shop: Shop, what: str, table: str, of: str, where: str = "true") -> list[tuple[object, ...]]:
    """Columns of the rows of one customer in a table."""
    joined = f"SELECT {what} FROM {table} t JOIN customer c ON c.id = t.customer_id"
    return shop.rows(f"{joined} WHERE c.external_id = '{of}' AND {where}")


def one_is_left(shop: Shop, n: int, name: str = "amina") -> str:
    """That of all customers of this moment this one is left; their external id."""
    assert shop.rows(f"SELECT external_id FROM customer WHERE external_id LIKE '%-{n}'") == [(f"{name}-{n}",)]
    nothing_points_nowhere(shop)
    return f"{name}-{n}"


def test_an_event_beside_a_merge_is_the_winners(two: Two) -> None:
    merger, shop = two(JOURNEY)

    def run(n: int) -> int:
        merger.happens(f"amina-{n}", "shipped")
        merger.happens(f"asha-{n}", "purchase", total=100)
        meeting = Interleaved(merger, n, lambda: shop.happens(f"asha-{n}", "purchase", total=10))
        statements = meeting.run(lambda: merger.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        amina = one_is_left(merger, n)
        assert theirs(merger, "count, total", "tally", amina, "name = 'purchase'") == [(2, 110)]
        assert theirs(merger, "state", "enrolment", amina) == [("ready",)]
        return statements

    every_moment(run)


def test_a_merge_beside_an_event_loses_neither(two: Two) -> None:
    taker, merger = two(JOURNEY)

    def run(n: int) -> int:
        taker.happens(f"amina-{n}", "purchase", total=100)
        taker.happens(f"anonymous:x-{n}", "shipped")
        meeting = Interleaved(taker, n, lambda: merger.runtime.people().merge(f"anonymous:x-{n}", f"amina-{n}"))
        statements = meeting.run(lambda: taker.happens(f"anonymous:x-{n}", "purchase", total=10))
        amina = one_is_left(taker, n)
        assert theirs(taker, "count, total", "tally", amina, "name = 'purchase'") == [(2, 110)]
        assert theirs(taker, "count(*)", "enrolment", amina, "state = 'ready'") == [(1,)]
        return statements

    every_moment(run)


@pytest.mark.parametrize("other", [("asha", "amina"), ("amina", "asha"), ("amina", "zuri"), ("zuri", "asha")])
def test_two_merges_at_once_come_to_one_customer(two: Two, other: tuple[str, str]) -> None:
    one, second = two(JOURNEY)

    def run(n: int) -> int:
        names = {"asha", "amina", *other}
        for name in sorted(names):
            one.happens(f"{name}-{n}", "purchase", total=1)
        meeting = Interleaved(one, n, lambda: second.runtime.people().merge(*(f"{name}-{n}" for name in other)))
        statements = meeting.run(lambda: one.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        ((left,),) = one.rows(f"SELECT external_id FROM customer WHERE external_id LIKE '%-{n}'")
        nothing_points_nowhere(one)
        assert theirs(one, "count", "tally", left, "name = 'purchase'") == [(len(names),)]
        assert theirs(one, "count", "tally", left, "name = 'customer_merged'") == [(len(names) - 1,)]
        assert theirs(one, "count(*)", "enrolment", left, "state = 'ready'") == [(1,)]
        return statements

    every_moment(run)


def test_a_merge_beside_a_delivery_lets_it_send_and_record(two: Two) -> None:
    mover, merger = two(JOURNEY)

    def run(n: int) -> int:
        mover.happens(f"amina-{n}", "shipped")
        mover.happens(f"asha-{n}", "purchase", total=100)
        (work,) = mover.runtime.work()
        meeting = Interleaved(mover, n, lambda: merger.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        statements = meeting.run(lambda: mover.runtime.move(work.version_id, "send_1", "p"))
        mover.settle()
        amina = one_is_left(mover, n)
        assert len(mover.sink.to(f"amina-{n}@shop.example") + mover.sink.to(f"asha-{n}@shop.example")) == 1
        assert theirs(mover, "state", "message", amina) == [("accepted",)]
        assert theirs(mover, "step, state", "enrolment", amina) == [("wait_1", "waiting")]
        return statements

    every_moment(run)


def test_a_delivery_beside_a_merge_sends_once(two: Two) -> None:
    merger, mover = two(JOURNEY)

    def run(n: int) -> int:
        merger.happens(f"amina-{n}", "shipped")
        merger.happens(f"asha-{n}", "purchase", total=100)
        (work,) = mover.runtime.work()
        meeting = Interleaved(merger, n, lambda: mover.runtime.move(work.version_id, "send_1", "p"))
        statements = meeting.run(lambda: merger.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        merger.settle()
        amina = one_is_left(merger, n)
        assert theirs(merger, "state", "message", amina) == [("accepted",)]
        assert len(merger.sink.to(f"amina-{n}@shop.example") + merger.sink.to(f"asha-{n}@shop.example")) == 1
        return statements

    every_moment(run)


@pytest.mark.parametrize("merging_first", [True, False])
def test_a_merge_beside_a_message_that_takes_a_caps_slot_counts_it(two: Two, merging_first: bool) -> None:
    one, second = two(CAPPED, CAP)

    def run(n: int) -> int:
        for name in (f"amina-{n}", f"asha-{n}"):
            one.happens(name, "purchase")
        one.settle()
        one.happens(f"amina-{n}", "purchase")
        (work,) = one.runtime.work()
        merger, mover = (one, second) if merging_first else (second, one)

        def merge() -> object:
            return merger.runtime.people().merge(f"asha-{n}", f"amina-{n}")

        def move() -> object:
            return mover.runtime.move(work.version_id, "send_1", "p")

        first, beside = (merge, move) if merging_first else (move, merge)
        statements = Interleaved(one, n, beside).run(first)
        one.settle()
        amina = one_is_left(one, n)
        assert theirs(one, "state", "message", amina) == [("accepted",)] * 3
        assert sorted(theirs(one, "n", "cap_slot", amina)) == [(0,), (1,), (2,)]
        return statements

    every_moment(run)


def test_a_merge_beside_the_tick_that_lets_people_in_loses_nobody(two: Two) -> None:
    ticker, merger = two({"daily": "enter: {schedule: 30 9 * * *, again: after exit}\nsteps:\n  - wait: 400d\n"})

    def run(n: int) -> int:
        ticker.happens(f"amina-{n}", "closed")
        ticker.happens(f"asha-{n}", "closed")
        ticker.runtime.tick()
        ticker.clock.advance_to(START + timedelta(days=n, minutes=31))
        meeting = Interleaved(ticker, n, lambda: merger.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        statements = meeting.run(ticker.runtime.tick)
        amina = one_is_left(ticker, n)
        assert theirs(ticker, "count(*)", "enrolment", amina, "state <> 'ended'") == [(1,)]
        return statements

    every_moment(run)


def test_a_profile_beside_a_merge_is_kept(two: Two) -> None:
    merger, teller = two(JOURNEY)

    def run(n: int) -> int:
        merger.happens(f"amina-{n}", "purchase", total=1)
        merger.happens(f"asha-{n}", "purchase", total=1)
        told = Profile({}, {"tier": "gold"}, tags=("new",))
        meeting = Interleaved(merger, n, lambda: teller.runtime.people().describe(f"asha-{n}", told))
        statements = meeting.run(lambda: merger.runtime.people().merge(f"asha-{n}", f"amina-{n}"))
        amina = one_is_left(merger, n)
        assert merger.rows(f"SELECT attributes FROM customer WHERE external_id = '{amina}'") == [({"tier": "gold"},)]
        assert theirs(merger, "tag", "customer_tag", amina) == [("new",)]
        return statements

    every_moment(run)


def test_two_introductions_of_one_browser_at_once_merge_it_once(two: Two) -> None:
    one, second = two(JOURNEY)

    def run(n: int) -> int:
        one.happens(f"anonymous:x-{n}", "purchase", total=1)
        who = Who(f"amina-{n}", f"x-{n}")
        meeting = Interleaved(one, n, lambda: second.runtime.introduce([who]))
        statements = meeting.run(lambda: one.runtime.introduce([who]))
        amina = one_is_left(one, n)
        assert theirs(one, "count", "tally", amina, "name = 'customer_merged'") == [(1,)]
        return statements

    every_moment(run)
