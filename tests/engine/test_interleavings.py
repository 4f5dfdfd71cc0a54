"""Laws 3 and 4 with two connections on PostgreSQL: whatever happens between any two statements, nobody is lost.

Each test runs one transaction of the engine many times over, on a fresh database, and lets the other thing happen
before its first statement, its second, and so on to its last. Where the other has to wait for a lock it goes on beside
the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread, get_ident
from typing import Any

import pytest
from sqlalchemy import text

from engine.channels.base import Outgoing
from engine.runtime.feedback import opt_out
from engine.runtime.profile import Profile, Writer
from engine.store.database import Database
from tests.conftest import Postgres
from tests.engine.shop import START, Shop
from tests.listening import before_statements
from tests.patience import PATIENCE, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

LOCKED = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"""


class Interleaved:
    """Runs `first` and, before its n-th statement, `other`, on its own connection."""

    def __init__(self, shop: Shop, n: int, other: Callable[[], object]) -> None:
        self.shop, self.n, self.other = shop, n, other
        self.statements = 0
        self.failures: list[BaseException] = []

    def run(self, first: Callable[[], object]) -> int:
        """How many statements `first` took."""
        database = self.shop.runtime.database
        engine = database._writer
        here = get_ident()
        beside: list[Thread] = []

        def before(_c: object, _k: object, statement: str, *_: object) -> None:
            if get_ident() != here or statement == LOCKED:
                return
            self.statements += 1
            if self.statements == self.n:
                thread = Thread(target=self._guarded)
                thread.start()
                beside.append(thread)
                eventually(lambda: not thread.is_alive() or waits_for_a_lock(database), every=0.005)

        with before_statements(before, engine):
            first()
        if not beside:
            self._guarded()
        for thread in beside:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the two wait for each other"
        if self.failures:
            raise self.failures[0]
        return self.statements

    def _guarded(self) -> None:
        try:
            self.other()
        except BaseException as error:
            self.failures.append(error)


def waits_for_a_lock(database: Database) -> bool:
    """Whether somebody waits there until another transaction ends."""
    with database.read() as connection:
        return bool(connection.scalar(text(LOCKED)))


@contextmanager
def two_engines(
    postgres: Postgres, root: Path, journeys: dict[str, str], gate: str = ""
) -> Iterator[tuple[Shop, Shop]]:
    url = postgres.create()
    databases = Database(url), Database(url)
    try:
        shop = Shop.of(root, databases[0], journeys, gate=gate)
        yield shop, shop.beside(databases[1])
    finally:
        for database in databases:
            database.dispose()
        postgres.drop(url)


def every_moment(run: Callable[[int], int]) -> int:
    """Call run(n) with n = 1, 2, … until n is past the last statement. Returns how many moments there were."""
    n = 1
    while run(n) >= n:
        n += 1
    assert n > 3, "the transaction has statements to stand between"
    return n


SEND = {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}


def test_who_arrives_between_two_statements_of_a_move_gets_their_message_too(
    postgres: Postgres, tmp_path: Path
) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, SEND) as (mover, shop):
            shop.happens("amina", "purchase", total=100)
            (work,) = mover.runtime.work()
            meeting = Interleaved(mover, n, lambda: shop.happens("baraka", "purchase", total=100))
            statements = meeting.run(lambda: mover.runtime.move(work.version_id, "send_1", "p"))
            shop.settle()
            assert sorted(message.to for message in shop.sink.sent) == ["amina@shop.example", "baraka@shop.example"]
            assert shop.rows("SELECT DISTINCT step, state FROM enrolment") == [("wait_1", "waiting")]
            return statements

    every_moment(run)


LISTEN = {
    "hi": """enter: {event: purchase}
steps:
  - wait_for: {event: shipped, within: 2d}
    id: parcel
    then: [{exit: arrived}]
    else: [{exit: lost}]
"""
}


def test_an_event_beside_the_move_to_listening_is_heard(postgres: Postgres, tmp_path: Path) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
            shop.happens("amina", "purchase")
            (work,) = mover.runtime.work()
            meeting = Interleaved(mover, n, lambda: shop.happens("amina", "shipped"))
            statements = meeting.run(lambda: mover.runtime.move(work.version_id, "parcel", "p"))
            shop.settle()
            assert shop.rows("SELECT outcome FROM enrolment") == [("arrived",)]
            return statements

    every_moment(run)


def test_an_event_beside_the_limit_of_a_wait_is_heard_or_came_too_late_but_never_both(
    postgres: Postgres, tmp_path: Path
) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
            shop.happens("amina", "purchase")
            shop.settle()
            before_the_limit = shop.clock.now()
            shop.clock.advance_to(shop.clock.now().replace(day=shop.clock.now().day + 2))
            (work,) = mover.runtime.work()
            meeting = Interleaved(mover, n, lambda: shop.happens("amina", "shipped", at=before_the_limit))
            statements = meeting.run(lambda: mover.runtime.move(work.version_id, "parcel", "p"))
            shop.settle()
            ((outcome,),) = shop.rows("SELECT outcome FROM enrolment")
            moves = shop.rows("SELECT outcome FROM decision WHERE step = 'parcel' AND kind = 'moves'")
            assert (outcome, moves) in [("arrived", [("then",)]), ("lost", [("else",)])]
            return statements

    every_moment(run)


def test_a_move_beside_the_ingest_of_the_awaited_event_loses_nobody(postgres: Postgres, tmp_path: Path) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, LISTEN) as (taker, mover):
            taker.happens("amina", "purchase")
            (work,) = mover.runtime.work()
            meeting = Interleaved(taker, n, lambda: mover.runtime.move(work.version_id, "parcel", "p"))
            statements = meeting.run(lambda: taker.happens("amina", "shipped"))
            taker.settle()
            assert taker.rows("SELECT outcome FROM enrolment") == [("arrived",)]
            return statements

    every_moment(run)


def test_an_exit_beside_a_send_stops_it_or_comes_after_it(postgres: Postgres, tmp_path: Path) -> None:
    journey = {"hi": "enter: {event: purchase}\nexit: [{event: closed}]\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}

    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, journey) as (mover, shop):
            shop.happens("amina", "purchase")
            (work,) = mover.runtime.work()
            meeting = Interleaved(mover, n, lambda: shop.happens("amina", "closed"))
            statements = meeting.run(lambda: mover.runtime.move(work.version_id, "send_1", "p"))
            shop.settle()
            assert shop.rows("SELECT state, outcome FROM enrolment") == [("ended", "exited")]
            states = {state for (state,) in shop.rows("SELECT state FROM message")}
            assert states <= {"accepted", "stopped"}
            assert len(shop.sink.sent) == (1 if "accepted" in states else 0)
            return statements

    every_moment(run)


def test_two_engines_that_move_the_same_cohort_at_once_change_no_outcome(postgres: Postgres, tmp_path: Path) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, SEND) as (one, other):
            for name in ("amina", "baraka", "chidi"):
                one.happens(name, "purchase")
            (work,) = one.runtime.work()
            meeting = Interleaved(one, n, lambda: other.runtime.move(work.version_id, "send_1", "q"))
            statements = meeting.run(lambda: one.runtime.move(work.version_id, "send_1", "p"))
            one.settle()
            assert sorted(message.to for message in one.sink.sent) == [
                "amina@shop.example",
                "baraka@shop.example",
                "chidi@shop.example",
            ]
            assert one.rows("SELECT count(*) FROM decision WHERE outcome = 'sent'") == [(3,)]
            return statements

    every_moment(run)


LEAVES = {
    "hi": """enter: {event: purchase}
exit: [{event: closed}]
goal: {event: shipped, within: 2d}
steps:
  - wait: 30d
"""
}


@pytest.mark.parametrize(("first", "second"), [("purchase", "closed"), ("closed", "purchase")])
def test_an_exit_taken_in_beside_the_entry_it_follows_ends_the_journey(
    postgres: Postgres, tmp_path: Path, first: str, second: str
) -> None:
    with two_engines(postgres, tmp_path, LEAVES) as (one, other):
        at = {"purchase": START, "closed": START + timedelta(seconds=1)}

        def run(n: int) -> int:
            one.happens(f"amina-{n}", "other")
            meeting = Interleaved(one, n, lambda: other.happens(f"amina-{n}", second, at=at[second]))
            statements = meeting.run(lambda: one.happens(f"amina-{n}", first, at=at[first]))
            assert outcome_of(one, f"amina-{n}") == [("exited",)], f"before statement {n}"
            return statements

        every_moment(run)


@pytest.mark.parametrize(("first", "second"), [("purchase", "shipped"), ("shipped", "purchase")])
def test_a_goal_taken_in_beside_the_entry_it_follows_counts(
    postgres: Postgres, tmp_path: Path, first: str, second: str
) -> None:
    with two_engines(postgres, tmp_path, LEAVES) as (one, other):
        at = {"purchase": START, "shipped": START + timedelta(seconds=1)}

        def run(n: int) -> int:
            meeting = Interleaved(one, n, lambda: other.happens(f"amina-{n}", second, at=at[second]))
            statements = meeting.run(lambda: one.happens(f"amina-{n}", first, at=at[first]))
            reached = "SELECT count(*) FROM goal_reached g JOIN enrolment e ON e.id = g.enrolment_id"
            mine = f"{reached} JOIN customer c ON c.id = e.customer_id WHERE c.external_id = 'amina-{n}'"
            assert one.rows(mine) == [(1,)], f"before statement {n}"
            return statements

        every_moment(run)


CLOCK = {"hi": "enter: {schedule: 0 10 * * *, again: after exit}\nexit: [{event: closed}]\nsteps:\n  - wait: 30d\n"}


@pytest.mark.parametrize("looks_first", [True, False])
def test_an_exit_taken_in_beside_the_look_that_lets_its_customer_in_ends_the_journey(
    postgres: Postgres, tmp_path: Path, looks_first: bool
) -> None:
    with two_engines(postgres, tmp_path, CLOCK) as (one, other):
        one.settle()

        def run(n: int) -> int:
            one.happens(f"amina-{n}", "other")
            one.settle()
            one.clock.advance_to(START + timedelta(days=n, hours=1))
            at = one.clock.now() + timedelta(seconds=1)

            def closes(shop: Shop) -> object:
                return shop.happens(f"amina-{n}", "closed", at=at)

            if looks_first:
                statements = Interleaved(one, n, lambda: closes(other)).run(one.runtime.tick)
            else:
                statements = Interleaved(one, n, other.runtime.tick).run(lambda: closes(one))
            one.later(seconds=2)
            assert outcome_of(one, f"amina-{n}") == [("exited",)], f"before statement {n}"
            assert one.rows("SELECT count(*) FROM mark WHERE name LIKE 'unheard:%'") == [(0,)]
            return statements

        every_moment(run)


def outcome_of(shop: Shop, name: str) -> list[tuple[object, ...]]:
    of = "SELECT e.outcome FROM enrolment e JOIN customer c ON c.id = e.customer_id WHERE c.external_id = "
    return shop.rows(f"{of}'{name}'")


def test_the_same_event_taken_by_two_engines_at_once_enters_once(postgres: Postgres, tmp_path: Path) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, SEND) as (one, other):
            meeting = Interleaved(one, n, lambda: other.happens("amina", "purchase", key="same"))
            statements = meeting.run(lambda: one.happens("amina", "purchase", key="same"))
            one.settle()
            assert one.rows("SELECT count(*) FROM enrolment") == [(1,)]
            assert one.rows("SELECT count FROM tally") == [(1,)]
            assert len(one.sink.sent) == 1
            return statements

    every_moment(run)


def test_two_purchases_at_once_let_a_customer_in_once_where_again_says_never(
    postgres: Postgres, tmp_path: Path
) -> None:
    def run(n: int) -> int:
        with two_engines(postgres, tmp_path, SEND) as (one, other):
            one.happens("amina", "closed")
            meeting = Interleaved(one, n, lambda: other.happens("amina", "purchase"))
            statements = meeting.run(lambda: one.happens("amina", "purchase"))
            one.settle()
            assert one.rows("SELECT count(*) FROM enrolment") == [(1,)]
            # Law 5: the other one is not let in for a reason that is written down.
            assert one.rows("SELECT reason FROM refusal") == [("again",)]
            return statements

    every_moment(run)


def test_a_profile_that_changes_during_a_tick_ends_the_journey_all_the_same(postgres: Postgres, tmp_path: Path) -> None:
    leaves = {"hi": "enter: {event: purchase}\nexit: [{when: customer.vip}]\nsteps:\n  - wait: 30d\n"}

    def moment(n: int) -> int:
        with two_engines(postgres, tmp_path / str(n), leaves) as (shop, other):
            shop.happens("amina", "purchase", total=100)
            shop.settle()
            shop.clock.advance_to(shop.clock.now() + timedelta(seconds=1))
            statements = Interleaved(shop, n, lambda: becomes_a_vip(other, "amina")).run(shop.runtime.tick)
            shop.later(seconds=1)
            assert shop.rows("SELECT state, outcome FROM enrolment") == [("ended", "exited")], f"before statement {n}"
            return statements

    every_moment(moment)


def becomes_a_vip(shop: Shop, name: str) -> None:
    with shop.runtime.database.write() as connection:
        writer = Writer(connection, shop.clock.now())
        writer.apply(writer.customers([name])[name], Profile(attributes={"vip": True}))
        writer.flush()


def test_a_birthday_that_is_told_at_any_moment_of_a_tick_lets_its_customer_in_at_the_next(
    postgres: Postgres, tmp_path: Path
) -> None:
    birthday = {"hi": "enter: {date: customer.birthday, late: 7d}\nsteps:\n  - wait: 30d\n"}
    with two_engines(postgres, tmp_path, birthday) as (ticker, other):
        ticker.settle()

        def run(n: int) -> int:
            ticker.happens(f"amina-{n}", "closed")
            ticker.settle()
            ticker.clock.advance_to(START + timedelta(days=n))  # when the day's fire goes off
            today = {"birth_month": ticker.clock.now().month, "birth_day": ticker.clock.now().day}
            told = Profile(today)
            meeting = Interleaved(ticker, n, lambda: other.runtime.people().describe(f"amina-{n}", told))
            statements = meeting.run(ticker.runtime.tick)
            ticker.later(seconds=1)
            entered = "SELECT e.cause FROM enrolment e JOIN customer c ON c.id = e.customer_id WHERE c.external_id = "
            assert ticker.rows(f"{entered}'amina-{n}'") == [("date:2026",)], f"before statement {n}"
            return statements

        every_moment(run)


class Noted(list[Outgoing]):
    """What was sent, with something done at each."""

    def __init__(self, done: Callable[[], object]) -> None:
        super().__init__()
        self.done = done

    def append(self, one: Outgoing) -> None:
        self.done()
        super().append(one)


def test_a_no_beside_a_delivery_that_then_takes_a_second_counts(postgres: Postgres, tmp_path: Path) -> None:
    sent = 0

    def run(n: int) -> int:
        nonlocal sent
        with two_engines(postgres, tmp_path, SEND) as (mover, shop):
            shop.happens("amina", "purchase", total=100)
            (work,) = mover.runtime.work()
            began = shop.clock.now()

            def no() -> None:
                with shop.runtime.database.write() as connection:
                    assert opt_out(connection, "amina", "email", "offers", began, "page")
                shop.clock.advance_to(began + timedelta(seconds=1))

            when: list[datetime] = []
            sink: Any = mover.sink
            sink.sent = Noted(lambda: when.append(shop.clock.now()))
            statements = Interleaved(mover, n, no).run(lambda: mover.runtime.move(work.version_id, "send_1", "p"))
            assert when in ([], [began]), f"sent a second after the no, which came before statement {n}"
            sent += len(when)
            return statements

    moments = every_moment(run)
    assert 0 < sent < moments, "some noes came too late, and some in time"
