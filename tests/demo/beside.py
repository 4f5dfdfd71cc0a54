"""One of several engines over the demo, as a process of its own.

Run as a module: python -m tests.demo.beside DATABASE HOME PREFECT. It says `here` when it is ready. A line N on its
input lets look N come, `again` does what is left to do; it answers each with how many journeys have work left.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.runs import JourneyRuns
from tests.demo.life import PATIENT, Life


def main(database: str, home: str, api_url: str) -> None:
    life = Life.open(database, Path(home))
    with JourneyRuns(life.app.runtime, api_url, PATIENT) as runs:
        assert runs.connected(PATIENT.patience)
        print("here", flush=True)
        for line in sys.stdin:
            if line.strip() != "again":
                life.comes(int(line))
            for journey in life.due():
                failed = runs.advance(journey, name=f"beside {life.named(journey)}").failed
                assert not failed, failed
            print(len(life.due()), flush=True)
        runs.end()
        runs.settle()
    life.app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
