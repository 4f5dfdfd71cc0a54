"""Commands about the files of a project: init, check, graph, schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.shell import (
    CONTENT,
    WRITE,
    Json,
    Root,
    Told,
    clock_of,
    command,
    counted,
    journey_name,
    known,
    opened,
    project_root,
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from engine.language.errors import Problem
    from engine.rendering.renderer import HasBrand

_IGNORED = "# What Karibu keeps here: data, messages, secrets.\n.karibu/\n.env\n"


@command(WRITE, "karibu init shop")
def init(directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty directory.")]) -> None:
    """Make a project to begin with.

    It has journeys with their templates and scenarios. The shop in it is made up; change workflows/project.yaml to
    yours."""
    from engine import starter

    if directory.exists() and not directory.is_dir():
        raise Told(f"{directory} is a file", "name a directory")
    if directory.is_dir() and any(not inside.name.startswith(".") for inside in directory.iterdir()):
        raise Told(f"{directory} is not empty, and nothing is written over", "name a new directory: karibu init shop")
    directory.mkdir(parents=True, exist_ok=True)
    for part in starter.PARTS:
        shutil.copytree(starter.root() / part, directory / part, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    if not (directory / ".gitignore").exists():
        (directory / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    journeys = [f for f in (directory / "workflows").glob("*.yaml") if _is_journey(f.name)]
    here = directory.resolve() == Path.cwd()
    say(f"Made a project in {directory}: {counted(len(journeys), 'journey')} with templates and scenarios.")
    say("\nWhat next:")
    steps = [
        *([] if here else [(f"cd {directory}", "")]),
        ("karibu check", "is everything well?"),
        ("karibu test", "play the scenarios on a virtual clock"),
        ("karibu preview email/welcome", "see a mail"),
        ("karibu publish", "make the journeys live"),
        ("karibu up", "start the service"),
    ]
    for line, why in steps:
        say(f"  {line:<30}{'# ' + why if why else ''}".rstrip())


def _is_journey(file: str) -> bool:
    return file not in ("project.yaml", "segments.yaml") and not file.endswith(".test.yaml")


@command(WRITE, "karibu check", "karibu check -C shop --json")
def check(ctx: typer.Context, root: Root = None, as_json: Json = False) -> None:
    """Tell everything that is wrong with the project's files.

    Each problem comes with its file, line and column, and what to do. A day that has gone by is told too, or a
    language that some messages lack, and is no problem. Only files are read, and nothing is sent."""
    where = project_root(root)
    from engine.builtins import registry
    from engine.language.check import check_directory, notices
    from engine.language.check_dates import gone_by
    from engine.language.content import PROJECT
    from engine.rendering.renderer import Renderer

    made: list[Renderer] = []

    def renderer(root: Path, project: HasBrand) -> Renderer:
        made.append(Renderer(root, project))
        return made[-1]

    content, problems = check_directory(where, registry(), renderer)
    noticed: list[Problem] = []
    if PROJECT not in content.broken:
        noticed += gone_by(content, clock_of(ctx).now())
        noticed += notices(content, made[0])
    if as_json:
        told = [as_data(one) for one in problems]
        say_json({"ok": not problems, "problems": told, "notices": [as_data(one) for one in noticed]})
        if problems:
            raise typer.Exit(CONTENT)
        return
    for notice in noticed:
        warn(f"{notice}\n")
    if problems:
        for problem in problems:
            say(f"{problem}\n")
        files = len({problem.file for problem in problems})
        warn(f"{counted(len(problems), 'problem')} in {counted(files, 'file')}", "red")
    else:
        scenarios = sum(map(len, content.scenarios.values()))
        said = [
            counted(len(content.journeys), "journey"),
            counted(len(content.segments), "segment"),
            counted(scenarios, "scenario"),
            counted(len(set(made[0].refs())), "template"),
        ]
        say(f"Nothing is wrong: {', '.join(said)}.", "green")
    if problems:
        raise typer.Exit(CONTENT)


def as_data(problem: Problem) -> dict[str, Any]:
    """A problem as JSON tells it."""
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.col,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
        "source": problem.source_line,
    }


@command(WRITE, "karibu graph win-back", "karibu graph win-back > win-back.mmd")
def graph(
    ctx: typer.Context,
    journey: Annotated[str, typer.Argument(metavar="JOURNEY")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Draw a journey as Mermaid text.

    GitHub and many editors show it as a picture."""
    with opened(ctx, root) as app:
        drawn = app.content.graphs[journey_name(app, journey)]
    if not as_json:
        say(drawn.to_mermaid().rstrip())
        return
    steps = [
        {
            "id": node.id,
            "type": node.type,
            "next": None if node.arms or not node.step.falls_through else node.next,
            "arms": dict(node.arms),
            "jumps": list(node.jumps),
        }
        for node in drawn.nodes.values()
    ]
    say_json({"journey": journey, "first": drawn.first, "steps": steps})


KINDS = ("journey", "project", "segments", "test")
SETTINGS = Path(".vscode") / "settings.json"


@command(WRITE, "karibu schema --write", "karibu schema journey > journey.json")
def schema(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="journey, project, segments or test.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write them into the project, where VS Code finds them.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Give the JSON Schemas of the files, for editors.

    With them an editor completes and checks while you type. They are JSON with --json and without."""
    from engine.builtins import registry
    from engine.language.schema import schemas, settings

    if write and as_json:
        raise Told("--write and --json exclude each other")
    if kind is not None:
        known(kind, KINDS, "kind of file", "one of " + ", ".join(KINDS))
    made = schemas(registry())
    if not write:
        say_json(made if kind is None else made[kind])
        return
    where = project_root(root)
    directory = where / ".karibu" / "schema"
    directory.mkdir(parents=True, exist_ok=True)
    for name, one in made.items():
        (directory / f"{name}.json").write_text(json.dumps(one, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    say(f"Wrote {counted(len(made), 'schema')} to {directory}")
    _tell_vs_code(where / SETTINGS, settings())


def _tell_vs_code(file: Path, wanted: dict[str, Any]) -> None:
    """Add what we want to VS Code's settings; a file that is no plain JSON (it may hold comments) is left alone."""
    lines = json.dumps(wanted, indent=2)
    try:
        current = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not isinstance(current, dict):
            raise ValueError("no object")
    except ValueError:
        warn(f"{file} holds more than plain JSON and was left alone; add to it:\n{lines}")
        return
    current["yaml.schemas"] = {**current.get("yaml.schemas", {}), **wanted["yaml.schemas"]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(current, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    say(f"Wrote {file}: VS Code with the YAML extension now completes and checks workflows/*.yaml")
