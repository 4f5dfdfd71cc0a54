"""Group commit: who waits is answered, whatever became of the others in their group."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from engine.app import App
from engine.runtime.clock import SystemClock
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import customer, event, tally
from engine.web.intake import Full, Intake, Request, Verdict
from engine.web.room import MOST
from tests.patience import eventually
from tests.scenarios.shop import FILES, PROJECT
from tests.web.conftest import JOURNEYS


@pytest.fixture
def intake(project: Callable[..., Path], database: Database) -> Iterator[Intake]:
    """One that writes when it is started."""
    root = project({"workflows/project.yaml": PROJECT, **FILES, **JOURNEYS})
    app = App(Settings.of(root, home=root / ".karibu"), SystemClock())
    app.__dict__["database"] = database
    made = Intake(app.runtime, lambda *names: None)
    yield made
    made.close()


def one(key: str, name: str = "visit") -> Incoming:
    return Incoming("amina", name, key, SystemClock().now())


def give(intake: Intake, events: list[Incoming]) -> asyncio.Future[list[Verdict]]:
    with intake.room(len(events)) as submit:
        return submit(Request(events))


def test_who_has_gone_costs_nobody_else_their_answer(intake: Intake) -> None:
    async def asked() -> list[str]:
        gone, here = give(intake, [one("a")]), give(intake, [one("b")])
        gone.cancel()
        intake.start()
        return [*await here]

    ended = asyncio.new_event_loop()
    ended.run_until_complete(_submit(intake))
    ended.close()
    assert asyncio.run(asked()) == ["accepted"]


async def _submit(intake: Intake) -> None:
    give(intake, [one("of a loop that has ended")])


def test_askers_of_several_event_loops_are_answered_in_their_own(intake: Intake) -> None:
    found: dict[int, list[str]] = {}
    barrier = threading.Barrier(3)

    async def asked(n: int) -> None:
        answers = [give(intake, [one(f"{n}-{k}")]) for k in range(5)]
        barrier.wait(60)
        found[n] = [verdict for answer in answers for verdict in await answer]

    threads = [threading.Thread(target=asyncio.run, args=(asked(n),)) for n in range(2)]
    for thread in threads:
        thread.start()
    barrier.wait(60)
    intake.start()
    for thread in threads:
        thread.join(60)
    assert found == {n: ["accepted"] * 5 for n in range(2)}


def test_there_is_no_room_for_more_than_is_read_and_waits_together(intake: Intake) -> None:
    async def asked() -> None:
        with intake.reading(MOST - 1):
            answer = give(intake, [one("a")])
            assert intake.full()
            with pytest.raises(Full):
                give(intake, [one("b")])
            with pytest.raises(Full), intake.reading(1):
                pass
        assert not intake.full()
        intake.start()
        assert await answer == ["accepted"]

    asyncio.run(asked())


def test_of_two_services_that_take_one_key_at_once_one_is_told_so(intake: Intake, database: Database) -> None:
    beside = Intake(intake.runtime, lambda *names: None)
    with_one, of_three = 40, 10

    def ask(mine: Intake, who: str, keys: list[str], named: frozenset[int]) -> asyncio.Future[list[Verdict]]:
        events = [Incoming(who, "visit", key, SystemClock().now()) for key in keys]
        with mine.room(len(events)) as submit:
            return submit(Request(events, named=named))

    async def asked() -> list[list[list[Verdict] | BaseException]]:
        told = []
        for n in range(with_one + of_three):
            keys = [f"k{n}-{place}" for place in range(1 if n < with_one else 3)]
            named = frozenset(range(len(keys))) if n >= with_one else frozenset()
            both = [ask(mine, f"{who}{n}", keys, named) for mine, who in ((intake, "amina"), (beside, "asha"))]
            told.append(await asyncio.gather(*both, return_exceptions=True))
        return told

    intake.start()
    beside.start()
    try:
        told = asyncio.run(asked())
    finally:
        beside.close()
    for pair in told[:with_one]:
        assert sorted(map(repr, pair)) == ["['accepted']", "['conflict']"]
    for pair in told[with_one:]:
        assert sorted(map(repr, pair)) == ["Reused()", "['accepted', 'accepted', 'accepted']"]
    with database.read() as connection:
        rows = connection.execute(
            select(event.c.key, customer.c.external_id).join(customer, customer.c.id == event.c.customer_id)
        ).all()
    assert len(rows) == with_one + 3 * of_three
    whose = {who for _, who in rows}
    assert len(whose) == with_one + of_three, "no request was taken in part"


def test_many_events_of_one_customer_go_in_parts_and_others_in_between(intake: Intake, database: Database) -> None:
    now = SystemClock().now()
    ages = [n * 8 % 35 for n in range(35)]  # in no order of time
    many = [Incoming("amina", "visit", f"m{age}", now - timedelta(hours=age)) for age in ages]
    many.append(many[3])
    answered: list[str] = []

    async def asked() -> list[list[Verdict]]:
        both = {"many": give(intake, many), "another": give(intake, [one("alone")])}
        both["many"].add_done_callback(lambda _: answered.append("many"))
        both["another"].add_done_callback(lambda _: answered.append("another"))
        intake.start()
        return await asyncio.gather(*both.values())

    told, alone = asyncio.run(asked())
    assert told == ["accepted"] * 35 + ["duplicate"] and alone == ["accepted"]
    assert answered == ["another", "many"]
    eventually(lambda: intake.waiting == 0)
    with database.read() as connection:
        keys = connection.scalars(select(event.c.key).where(event.c.key != "alone").order_by(event.c.id)).all()
        assert keys == [f"m{age}" for age in range(34, -1, -1)]
        assert connection.scalar(select(tally.c.count).where(tally.c.name == "visit")) == 36


def test_a_request_whose_events_are_all_taken_or_none_goes_whole(intake: Intake, database: Database) -> None:
    many = [one(f"k{n}") for n in range(30)]

    async def asked() -> list[Verdict]:
        with intake.room(30) as submit:
            told = submit(Request(many, named=frozenset(range(30))))
        intake.start()
        return await told

    assert asyncio.run(asked()) == ["accepted"] * 30
    with database.read() as connection:
        assert connection.scalar(select(func.count(event.c.received_at.distinct()))) == 1
