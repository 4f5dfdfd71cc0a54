"""`karibu test`: the scenarios, played on a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.journeys import check_content
from engine.cli.shell import (
    CONTENT,
    WRITE,
    Json,
    Root,
    Told,
    command,
    counted,
    journey_name,
    opened,
    progress,
    say,
    say_json,
)

if TYPE_CHECKING:
    from engine.app import App
    from engine.runtime.coverage import Coverage
    from engine.runtime.simulate import Outcome


@command(WRITE, "karibu test", "karibu test win-back --coverage")
def test(
    ctx: typer.Context,
    journey: Annotated[str | None, typer.Argument(metavar="JOURNEY", help="Only its scenarios.")] = None,
    coverage: Annotated[bool, typer.Option("--coverage", help="Tell what no scenario reaches.")] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Play the scenarios on a virtual clock.

    They stand in workflows/JOURNEY.test.yaml and run through the real engine, in memory: nothing is sent and nothing
    of yours is touched. Everything that is sent, skipped, changed or ended must stand in the story; where it doesn't,
    both are shown side by side."""
    with opened(ctx, root) as app:
        check_content(app)
        from engine.runtime.simulate import chosen, play, side_by_side

        name = None if journey is None else journey_name(app, journey)
        if name is not None and not app.content.scenarios.get(name):
            raise Told(f"{name} has no scenarios", f"write some into workflows/{name}.test.yaml")
        begun = time.monotonic()
        outcomes = _played(play(app.content, app.registry, name), len(chosen(app.content, name)), as_json)
        for outcome in outcomes:
            if not as_json and not outcome.passed:
                say(side_by_side(outcome))
        seconds = time.monotonic() - begun
        covered = _covered(app, outcomes, name) if coverage else []
    failed = sum(not outcome.passed for outcome in outcomes)
    if as_json:
        told = {"passed": len(outcomes) - failed, "failed": failed, "scenarios": [one.plain() for one in outcomes]}
        if coverage:
            told["coverage"] = [_plain(one) for one in covered]
        say_json(told)
    else:
        _tell(outcomes, failed, seconds)
        if covered:
            say("\n" + "\n".join(map(str, covered)))
    if failed:
        raise typer.Exit(CONTENT)


def _played(playing: Iterator[Outcome], total: int, quiet: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with progress(quiet=quiet) as tell:
        tell(0, counted(total, "scenario"))
        for outcome in playing:
            outcomes.append(outcome)
            failed = sum(not one.passed for one in outcomes)
            what = f"{len(outcomes):,} of {counted(total, 'scenario')}" + (f", {failed:,} failed" if failed else "")
            tell(len(outcomes) / total, what)
    return outcomes


def _tell(outcomes: list[Outcome], failed: int, seconds: float) -> None:
    if not outcomes:
        say("There are no scenarios: workflows/JOURNEY.test.yaml holds them.")
        return
    journeys = dict.fromkeys(one.journey for one in outcomes)
    width = max(map(len, journeys))
    for journey in journeys:
        theirs = [one for one in outcomes if one.journey == journey]
        passed = sum(one.passed for one in theirs)
        lost = len(theirs) - passed
        say(f"{journey:<{width}}  {passed} passed" + (f", {lost} failed" if lost else ""), "red" if lost else None)
    said = f"{counted(len(outcomes), 'scenario')} in {seconds:.1f} s: "
    said += f"{len(outcomes) - failed} passed, {failed} failed" if failed else "all passed"
    say("\n" + said, "red" if failed else "green")


def _covered(app: App, outcomes: list[Outcome], journey: str | None) -> list[Coverage]:
    from engine.runtime.coverage import coverage

    reached: dict[str, set[tuple[str, str | None]]] = {name: set() for name in app.content.journeys}
    for one in outcomes:
        reached[one.journey] |= one.reached
    return [
        coverage(name, app.content.graphs[name], found)
        for name, found in sorted(reached.items())
        if journey in (None, name)
    ]


def _plain(one: Coverage) -> dict[str, object]:
    return {
        "journey": one.journey,
        "steps": one.steps,
        "arms": one.arms,
        "steps_missed": list(one.steps_missed),
        "arms_missed": [{"step": step, "arm": arm} for step, arm in one.arms_missed],
    }
