"""The engine may stop and start at any moment: killed and started again, it ends where an undisturbed one ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from subprocess import Popen

import pytest
from sqlalchemy import text

from engine.store.database import Database
from tests.engine import following
from tests.engine.following import MOMENTS, FileClock, Outcome, has_done, start, undisturbed
from tests.patience import eventually
from tests.promises import figures

SEED = 20261125
KILLS = 6

Fresh = Callable[[], str]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def fresh(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Iterator[Fresh]:
    """Makes migrated databases, of each kind, and says where."""
    urls: list[str] = []

    def make() -> str:
        if request.param == "sqlite":
            file = tmp_path / f"{len(urls)}.db"
            file.write_bytes(migrated_file.read_bytes())
            urls.append(f"sqlite:///{file}")
        else:
            urls.append(request.getfixturevalue("postgres").create())
        return urls[-1]

    yield make
    if request.param == "postgresql":
        for url in urls:
            request.getfixturevalue("postgres").drop(url)


@pytest.mark.slow
def test_killed_at_any_progress_and_started_again_it_ends_where_an_undisturbed_one_ends(
    fresh: Fresh, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", fresh(), SEED)
    root, url = tmp_path / "killed", fresh()
    root.mkdir()
    following.prepare(root, url, SEED)
    database = Database(url)
    clock, chance = FileClock(root / "clock"), Random(SEED)
    at = sorted(chance.sample(range(10, whole.size["decisions"] - 10), KILLS))
    planned = list(at)
    engine = start(root, url, "one")
    try:
        for n, now in enumerate(MOMENTS):
            clock.set(now)

            def done_or_far_enough(n: int = n) -> bool:
                assert engine.poll() is None, (root / "one.log").read_text()[-2000:]
                return has_done(root, "one", n) or bool(at and progress(database) >= at[0])

            while not has_done(root, "one", n):
                eventually(done_or_far_enough)
                if at and progress(database) >= at[0]:
                    at.pop(0)
                    engine.send_signal(signal.SIGKILL)
                    assert engine.wait(60) == -signal.SIGKILL
                    engine = start(root, url, "one")
        clock.set(MOMENTS[-1] + timedelta(days=1))
        assert engine.wait(60) == 0
    finally:
        stop(engine)
    pieces = Outcome.of(database)
    database.dispose()
    differences = whole.differs(pieces)
    mails = len(list((root / ".karibu/mail/email").glob("*.eml")))
    print(
        f"stop and start: kills {KILLS - len(at)} at decisions {planned} (seed {SEED}), {whole.size}, files {mails}, "
        f"differences {sum(len(a) + len(b) for a, b in differences.values())}"
    )
    assert not at, "it was not killed as often as was meant"
    assert not differences
    assert mails == sum(row[6] == "accepted" for row in whole.rows["messages"]) > 50
    assert min(whole.size.values()) > 10, "too little happens to prove anything"


def progress(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM decision")).scalar_one())


def stop(engine: Popen[bytes]) -> None:
    if engine.poll() is None:
        engine.kill()
        engine.wait()


@pytest.mark.slow
@pytest.mark.postgres
def test_four_engines_that_do_everything_twice_do_it_once(sqlite_url: str, postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", sqlite_url, SEED)
    root, url = tmp_path / "four", postgres_url
    root.mkdir()
    following.prepare(root, url, SEED)
    clock, names = FileClock(root / "clock"), ["one", "two", "three", "four"]
    engines = {name: start(root, url, name, times=2) for name in names}
    try:
        for n, now in enumerate(MOMENTS):
            clock.set(now)

            def all_done(n: int = n) -> bool:
                for name, engine in engines.items():
                    assert engine.poll() is None, (root / f"{name}.log").read_text()[-2000:]
                return all(has_done(root, name, n) for name in names)

            eventually(all_done)
        clock.set(MOMENTS[-1] + timedelta(days=1))
        assert [engine.wait(60) for engine in engines.values()] == [0] * 4
    finally:
        for engine in engines.values():
            stop(engine)
    database = Database(url)
    together = Outcome.of(database)
    with database.read() as connection:
        passes = set(connection.execute(text("SELECT pass_id FROM enrolment")).scalars())
    database.dispose()
    sends = [line.split()[0] for line in (root / "ledger").read_text().splitlines()]
    deadlocks = sum((root / f"{name}.log").read_text().count("deadlock") for name in names)
    differences = whole.differs(together)
    movers = len(passes & {str(engine.pid) for engine in engines.values()})
    accepted = sum(row[6] == "accepted" for row in whole.rows["messages"])
    figures(
        "any number of engines may run",
        engines=len(names),
        each="twice",
        rows=together.size,
        sends=len(sends),
        duplicates=len(sends) - len(set(sends)),
        differences=sum(len(a) + len(b) for a, b in differences.values()),
        engines_that_moved_somebody=movers,
        deadlocks=deadlocks,
        seed=SEED,
    )
    assert len(sends) == len(set(sends)) == accepted
    assert not differences
    assert movers > 1, "they never met"
