"""Plays scenarios on the real engine: a database in memory, a virtual clock, a channel that keeps what it is given.

There is no second implementation of anything. Events come in through the same door, cohorts move by the same
statements, messages are gated, rendered and handed to a channel; only the clock jumps, from one moment at which
something can happen to the next.

What a scenario may rely on:
- Published, at the start, are the journey under test and those that it starts or stops, directly or by way of
another. The story
  tells of the journey under test alone: what the others do is told in their own scenarios.
- What stands under `before` is history: it counts, and lets nobody in. The segments are first filled at the start.
- A line that happens comes before what the engine does in that minute, unless the story has told of that first.
- After the last line the clock runs on until they are out of the journey: what still happens must have been told. Who
enters only
  then is of no concern.
- Nobody is held out by chance: in a story that tells `ends: held_out` they are, in any other they aren't. All other
lots fall as the
  id's hash says.
- A journey that is entered by hand is entered at the start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, select

from engine.channels.base import Outgoing
from engine.cohort.arms import bucket_of
from engine.language.content import WORKFLOWS, Content
from engine.language.registry import Registry
from engine.language.scenario import Scenario
from engine.runtime.coverage import Reached
from engine.runtime.stage import CannotHappen, EngineFailed, House, Stage, arms_of
from engine.runtime.story import Row, compare, table
from engine.store.database import Database
from engine.store.tables import customer

log = logging.getLogger("karibu.scenarios")

SURPLUS = 12
"""Untold things after the last line that are enough to say that the story goes on."""

LATE = timedelta(days=8)
"""So much longer a story is watched whose last lines didn't come true: perhaps they do later, and that is worth
telling."""

LONGEST = timedelta(days=1100)
"""So long after its last line a story is given up."""


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario. `place` is `file:line:col` of the first line that is wrong, or of the scenario; `rows`
    is the story
    beside what happened; `notes` say what may help; `reached` are the steps and arms it came to."""

    journey: str
    scenario: str
    passed: bool
    place: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    reached: frozenset[Reached] = frozenset()

    def plain(self) -> dict[str, Any]:
        """As JSON may have it."""
        rows = [
            {
                "kind": row.kind,
                "line": None if row.number is None else row.number + 1,
                "told": None if row.told is None else {"at": row.told.local.isoformat(), "what": str(row.told)},
                "happened": None
                if row.happened is None
                else {"at": row.happened.local.isoformat(), "what": str(row.happened)},
            }
            for row in self.rows
        ]
        return {
            "journey": self.journey,
            "scenario": self.scenario,
            "passed": self.passed,
            "place": self.place,
            "rows": rows,
            "notes": list(self.notes),
        }


def run(
    content: Content, registry: Registry, journey: str | None = None, database: Database | None = None
) -> list[Outcome]:
    """Play the scenarios of one journey, or of all. `database`: an empty one to play on, which is emptied again
    before each
    scenario (default: one in memory). ValueError when it holds customers: this would wipe them out."""
    return list(play(content, registry, journey, database))


def chosen(content: Content, journey: str | None = None) -> list[tuple[str, int, Scenario]]:
    """The scenarios of a journey, or of all: the journey, the scenario's place in its file, from 0, and itself."""
    names = [name for name in content.scenarios if journey in (None, name) and name in content.journeys]
    return [(name, number, scenario) for name in names for number, scenario in enumerate(content.scenarios[name])]


def play(
    content: Content, registry: Registry, journey: str | None = None, database: Database | None = None
) -> Iterator[Outcome]:
    """The same, one outcome after the other."""
    house = House.of(content, registry)
    with _there(database) as ground:
        for name, number, scenario in chosen(content, journey):
            yield _played(house, name, number, scenario, ground)


def sent_in(content: Content, registry: Registry, journey: str, scenario: Scenario) -> list[Outgoing]:
    """All that is sent in a scenario, as the channel gets it, in order. Raises EngineFailed."""
    with _there(None) as ground:
        stage = Stage(House.of(content, registry), journey, scenario, ground)
        _play(stage, [])
        return list(stage.channel.kept.values())


def side_by_side(outcome: Outcome) -> str:
    """A failed scenario as text, 100 columns wide: the story on the left, what happened on the right."""
    head = f"{outcome.place} {outcome.journey}: {outcome.scenario}"
    notes = "".join(f"\n  {note}" for note in outcome.notes)
    return head + ("\n\n" + table(outcome.rows) if outcome.rows else "") + ("\n" + notes if notes else "") + "\n"


@contextmanager
def _there(database: Database | None) -> Iterator[Database]:
    if database is None:
        ground = Database.memory()
        try:
            yield ground
        finally:
            ground.dispose()
        return
    with database.read() as connection:
        if connection.scalar(select(exists(select(customer.c.id)))):
            raise ValueError("scenarios empty the database they are played on, and this one holds customers")
    yield database


class _Heard(logging.Handler):
    """What the engine warns of while a scenario is played."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    handler, engine = _Heard(), logging.getLogger("karibu")
    engine.addHandler(handler)
    try:
        yield handler.said
    finally:
        engine.removeHandler(handler)


def _played(house: House, journey: str, number: int, scenario: Scenario, database: Database) -> Outcome:
    notes: list[str] = []
    stage: Stage | None = None
    with _heard() as warnings:
        try:
            stage = Stage(house, journey, scenario, database)
            _play(stage, notes)
        except EngineFailed as failure:
            notes.append(f"the engine failed: {failure}")
        except Exception as error:
            log.exception("the scenario %r of %s broke down", scenario.scenario, journey)
            notes.append(f"the engine broke down: {type(error).__name__}: {error}")
    if stage is None:
        return Outcome(
            journey, scenario.scenario, False, _place(house.content, journey, number, None), (), tuple(notes)
        )
    rows = compare(stage.lines, stage.witness.deeds)
    wrong = [row for row in rows if row.kind not in ("same", "aside")]
    first = next((row.number for row in wrong if row.number is not None), None)
    passed = not wrong and not notes
    if not passed:
        notes += [*dict.fromkeys(warnings), *_chances(stage)]
    return Outcome(
        journey,
        scenario.scenario,
        passed,
        _place(house.content, journey, number, first),
        rows,
        tuple(notes),
        frozenset(stage.witness.reached),
    )


def _play(stage: Stage, notes: list[str]) -> None:
    expected = stage.starts  # what the engine was last said to do, since something last happened
    expects = False
    for told in stage.lines:
        if not told.deed.happens:
            expects, expected = True, told.deed.minute
            continue
        minute = told.deed.minute
        stage.run_to(minute + timedelta(minutes=1) if expects and expected == minute else told.deed.at)
        expects = False
        try:
            stage.act(told)
        except CannotHappen as why:
            notes.append(f"line {told.number + 1} can't happen: {why}")
            stage.witness.chapter += 1
    last = stage.lines[-1].deed.minute if stage.lines else stage.starts
    end = last + timedelta(minutes=1)
    stage.settle()
    stage.run_to(end)
    stage.witness.until = end
    told_of = len(stage.witness.deeds)
    while stage.still_inside(end):
        if not stage.step_on():
            break
        surplus = sum(not deed.unsaid for deed in stage.witness.deeds[told_of:])
        if surplus >= SURPLUS or stage.clock.now() - end > LONGEST:
            notes.append("they are still in the journey, and so on: a story is told to its end")
            break
    if any(row.kind == "missing" for row in compare(stage.lines, stage.witness.deeds)):
        stage.witness.until = None
        stage.run_to(max(stage.clock.now(), end) + LATE)


def _chances(stage: Stage) -> Iterator[str]:
    """For each split they came through: which arm this id takes, and an id for each other arm."""
    came = {step for step, arm in stage.witness.reached if arm is not None}
    name = stage.journey.name
    for step, mine in arms_of(name, stage.graph, bucket_of(stage.id)).items():
        if step not in came:
            continue
        others = [label for label in stage.graph.nodes[step].arms if label != mine]
        ids = [f"{other} takes {label}" for label in others if (other := _id_for(stage, step, label)) is not None]
        yield f"of {step}, {stage.id} takes {mine}" + "".join(f"; {one}" for one in ids)


def _id_for(stage: Stage, step: str, label: str) -> str | None:
    """An id like theirs that takes another arm of a split, and the same arms of the others where that can be."""
    name, mine = stage.journey.name, arms_of(stage.journey.name, stage.graph, bucket_of(stage.id))
    found = None
    for n in range(2, 300):
        arms = arms_of(name, stage.graph, bucket_of(f"{stage.id}{n}"))
        if arms[step] == label:
            if arms == {**mine, step: label}:
                return f"{stage.id}{n}"
            found = found or f"{stage.id}{n}"
    return found


def _place(content: Content, journey: str, number: int, line: int | None) -> str:
    file = f"{WORKFLOWS}/{journey}.test.yaml"
    path = (number, "scenario") if line is None else (number, "story", line)
    where, _ = content.documents[file].place(path)
    return f"{file}:{where.line}:{where.col}"
