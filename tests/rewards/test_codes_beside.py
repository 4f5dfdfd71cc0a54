"""Codes under concurrency, on PostgreSQL: what is told to whom is read from the provider's side, not from our tables.

Threads only make collisions likely; what decides is that the end is right however they fell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from engine.channels.base import Refused
from engine.runtime import coupons
from engine.runtime.advance import StepReport, move_step
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.engine.test_interleavings import Interleaved, every_moment
from tests.listening import before_statements, engines_of
from tests.patience import eventually
from tests.rewards.giving import crowd, giving, nobody_shares, states, stock, told

pytestmark = pytest.mark.postgres

EIGHT = 8


def at_once(work: Sequence[Callable[[], object]]) -> None:
    """Do all of this at the same time, as far as that can be."""
    gate = Barrier(len(work))

    def begin(one: Callable[[], object]) -> object:
        gate.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(begin, one) for one in work]:
            done.result()


def beside(shop: Shop, number: int, chunk: int) -> list[Shop]:
    """So many engines, which move so few at once that all of them are in the pool at the same time."""
    engines = [shop.beside(shop.runtime.database) for _ in range(number)]
    for one in engines:
        one.runtime.pace.LARGE = chunk
    return engines


def turn(shop: Shop) -> None:
    """One look of an engine: the tick, and whatever is due."""
    shop.runtime.tick()
    shop.runtime.advance()


def rest(shop: Shop) -> None:
    """Time passes until nobody is on the way."""
    for _ in range(5):
        shop.later(seconds=2)


def test_eight_engines_that_ask_for_the_last_codes_tell_each_to_one(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = giving(tmp_path, postgres_database, "  - coupon: few\n  - send: email/code\n")
    stock(shop, "few", *(f"F-{n}" for n in range(60)))
    crowd(shop, 100)
    engines = beside(shop, EIGHT, chunk=3)
    at_once([partial(turn, engine) for engine in engines])
    rest(shop)
    nobody_shares(shop)
    assert len(told(shop)) == 60 and all(len(codes) == 1 for codes in told(shop).values())
    assert states(shop, "few") == {"issued": 60}
    without = shop.rows("SELECT count(*) FROM message WHERE state = 'stopped' AND reason = 'no_coupon'")
    assert without == [(40,)]
    assert shop.rows("SELECT DISTINCT state, outcome FROM enrolment") == [("ended", "finished")]


def test_the_last_codes_that_another_gives_back_are_waited_for(
    postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    shop = giving(tmp_path, postgres_database, "  - coupon: leave\n  - send: email/code\n")
    stock(shop, "leave", "L-1")
    shop.happens("amina", "purchase")
    other = Database(postgres_url)
    with other.write() as connection:
        connection.execute(text("UPDATE coupon SET state = 'reserved'"))
        turn(shop)
        assert shop.rows("SELECT state, step FROM enrolment") == [("waiting", "coupon_1")]
        connection.rollback()
    other.dispose()
    rest(shop)
    assert told(shop) == {"amina@shop.example": ["L-1"]}


def test_pools_that_make_codes_beside_each_other_make_no_more_than_they_may(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = giving(tmp_path, postgres_database, "  - coupon: scarce\n  - send: email/code\n")
    crowd(shop, 40)
    engines = beside(shop, EIGHT, chunk=3)
    at_once([partial(turn, engine) for engine in engines])
    rest(shop)
    nobody_shares(shop)
    assert len(told(shop)) == 12 and states(shop, "scarce") == {"issued": 12}


def test_releases_race_with_messages_and_no_code_is_told_to_two(postgres_database: Database, tmp_path: Path) -> None:
    """Half of the messages are refused, so their codes go back, while others come to the pool, leave, or are mailed."""
    steps = "  - coupon: few\n  - wait: 1m\n  - send: email/code\n"
    shop = giving(tmp_path, postgres_database, steps)
    stock(shop, "few", *(f"F-{n}" for n in range(30)))
    for n in range(0, 80, 2):
        shop.sink.answers[f"c{n}@shop.example"] = Refused("bad_address")
    crowd(shop, 40)
    turn(shop)
    shop.clock.advance_to(shop.clock.now().replace(minute=1))
    engines = beside(shop, 4, chunk=3)

    def leaves() -> None:
        for n in range(1, 40, 6):
            shop.happens(f"c{n}", "closed")

    def comes() -> None:
        crowd(shop, 40, 40)

    def releases() -> None:
        for _ in range(20):
            with postgres_database.write() as connection:
                coupons.release(connection, list(shop.runtime.programs().values()))

    at_once([*(partial(turn, engine) for engine in engines), leaves, comes, releases, releases])
    for _ in range(6):
        shop.later(minutes=1)
    delivered = {address: codes for address, codes in told(shop).items() if shop.sink.answers.get(address) is None}
    whose: dict[str, set[str]] = {}
    for address, codes in delivered.items():
        assert len(set(codes)) == 1
        whose.setdefault(codes[0], set()).add(address)
    assert all(len(people) == 1 for people in whose.values()), whose
    assert states(shop, "few").get("reserved", 0) == 0, "whoever is out of the journey holds none back"


def test_a_code_of_the_customer_that_two_of_their_ways_hold_goes_back_when_both_are_over(
    postgres_database: Database, tmp_path: Path
) -> None:
    steps = "  - coupon: few\n    scope: customer\n  - wait: 1m\n  - send: email/code\n"
    shop = giving(tmp_path, postgres_database, steps)
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    turn(shop)
    shop.happens("amina", "purchase")
    turn(shop)
    with postgres_database.write() as connection:
        connection.execute(
            text(
                "UPDATE enrolment SET state = 'ended', due_at = NULL, outcome = 'exited' WHERE id = (SELECT min(id) FROM enrolment)"
            )
        )
    turn(shop)
    assert states(shop, "few") == {"reserved": 1}
    shop.happens("amina", "closed")
    turn(shop)
    assert states(shop, "few") == {"released": 1}


def test_a_release_that_saw_nobody_leaves_a_code_that_was_just_asked_for(
    postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    """The release has begun, and waits for the row that somebody who asks for the code again has locked."""
    steps = "  - coupon: few\n    scope: customer\n  - wait: 1m\n  - send: email/code\n"
    shop = giving(tmp_path, postgres_database, steps)
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    turn(shop)
    with postgres_database.write() as connection:
        connection.execute(text("UPDATE enrolment SET state = 'ended', due_at = NULL, outcome = 'exited'"))
    asking = Database(postgres_url)
    with ThreadPoolExecutor(1) as pool:
        with asking.write() as connection:
            connection.execute(text("UPDATE coupon SET asked = asked + 1"))
            programs = list(shop.runtime.programs().values())

            def release() -> int:
                with postgres_database.write() as other:
                    return coupons.release(other, programs)

            released = pool.submit(release)
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            with asking.read() as looking:
                eventually(lambda: looking.scalar(waiting))
        assert released.result() == 0
    asking.dispose()
    assert states(shop, "few") == {"reserved": 1}


def test_two_journeys_that_give_a_customer_their_one_code_at_once_give_the_same(
    postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    """The second comes when the first has paired her with a code and hasn't committed yet."""
    steps = "  - coupon: back\n    scope: customer\n  - send: email/code\n"
    other_journey = f"enter: {{event: purchase, again: always}}\nsteps:\n{steps}"
    shop = giving(tmp_path, postgres_database, steps, more={"k": other_journey})
    shop.happens("amina", "purchase")
    programs = {program.name: program for program in shop.runtime.programs().values()}
    other = Database(postgres_url)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool:
        second: list[Future[StepReport]] = []

        def paired(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if statement.startswith("UPDATE moving SET verdict") and not second:
                now, chance = shop.clock.now(), shop.runtime.chance
                second.append(pool.submit(move_step, other, programs["k"], "coupon_1", now, "second", chance=chance))
                with postgres_database.read() as looking:
                    eventually(lambda: looking.scalar(waiting))

        with before_statements(paired, *engines_of(postgres_database)):
            shop.runtime.move(programs["j"].version_id, "coupon_1", "first")
        assert second[0].result().moved == 1
    other.dispose()
    shop.settle()
    first, again = told(shop)["amina@shop.example"]
    assert first == again and states(shop, "back") == {"issued": 1}


@pytest.mark.slow
@pytest.mark.parametrize("merging_first", [True, False])
def test_two_who_become_one_while_a_code_is_given_keep_what_each_was_told(
    merging_first: bool, postgres_database: Database, postgres_url: str, tmp_path: Path
) -> None:
    """Whatever stands between any two statements of the other; and she goes on to be told her own."""
    steps = "  - coupon: back\n    scope: customer\n  - send: email/code\n"
    one = giving(tmp_path, postgres_database, steps)
    other = Database(postgres_url)
    second = one.beside(other)
    merger, mover = (one, second) if merging_first else (second, one)

    def run(n: int) -> int:
        amina, asha = f"amina-{n}", f"asha-{n}"
        one.happens(asha, "purchase")
        one.settle()
        one.happens(amina, "purchase")
        (work,) = one.runtime.work()

        def merge() -> object:
            return merger.runtime.people().merge(asha, amina)

        def move() -> object:
            return mover.runtime.move(work.version_id, "coupon_1", "p")

        first, beside = (merge, move) if merging_first else (move, merge)
        statements = Interleaved(one, n, beside).run(first)
        one.settle()
        codes = told(one)
        (hers,) = codes[f"{amina}@shop.example"]
        (before,) = codes[f"{asha}@shop.example"]
        one.happens(amina, "purchase")
        one.settle()
        assert told(one)[f"{amina}@shop.example"] == [hers, hers]
        mine = "SELECT code, state FROM coupon JOIN customer c ON c.id = coupon.customer_id WHERE c.external_id = "
        assert sorted(one.rows(f"{mine}'{amina}'")) == sorted((code, "issued") for code in {hers, before})
        return statements

    every_moment(run)
    other.dispose()


def test_two_who_load_the_same_file_add_each_code_once(postgres_database: Database, tmp_path: Path) -> None:
    from engine.imports.codes import load

    shop = giving(tmp_path, postgres_database, "  - coupon: few\n  - send: email/code\n")
    file = tmp_path / "codes.csv"
    file.write_text("code\n" + "".join(f"F-{n}\n" for n in range(2_000)))
    engines = beside(shop, 4, chunk=3)
    at_once([partial(load, engine.runtime, "few", file) for engine in engines])
    assert states(shop, "few") == {"available": 2_000}
