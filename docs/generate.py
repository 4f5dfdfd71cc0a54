"""Writes docs/reference.md and the picture in docs/tour.md from the code: `make docs`. A test compares: they can't lie.

What stands in the code is taken from there: fields with their descriptions, docstrings, help texts. Only meanings of
functions, and of fields that say nothing themselves, are written here; a missing or a surplus one is an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import time, timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

import engine.cli  # noqa: F401  adds the commands
from engine import starter
from engine.builtins import registry
from engine.cli.shell import Commands, app
from engine.language.content import load_journey_source
from engine.language.fields import Model
from engine.language.functions import FUNCTIONS
from engine.language.graph import Graph
from engine.language.journey import StepModel, TriggerModel
from engine.language.moments import duration_text
from engine.settings import Settings
from triggers.sources.base import SourceOptions

PARTS = ("Steps", "Triggers", "Channels", "Sources", "Functions", "Settings", "Commands")
PAGE = Path(__file__).with_name("reference.md")
TOUR = Path(__file__).with_name("tour.md")
PICTURE = "<!-- made: karibu graph win-back -->"

MEANINGS = {
    "age": "Whole years, today on the customer's calendar.",
    "all": "Whether the condition holds for every entry of a list; of a missing list it does not.",
    "any": "Whether the condition holds for one entry of a list at least.",
    "clicked": "Whether they clicked in the message of this send step, in this enrolment. Clicks that a "
    "machine is known to have made count only with `machines=true`.",
    "consented": "Whether they have agreed to the topic on the channel.",
    "count": "How many entries of a list the condition holds for.",
    "days_until": "Days from today to a date, negative after it. Of a birthday: to the next one.",
    "did": "Whether such an event happened, in the window if there is one.",
    "elapsed": "The time since the last such event; missing when there was none.",
    "first": "When the first such event was.",
    "in_journey": "Whether they are in that journey now.",
    "points": "The points they can spend now: neither pending nor spent, expired or taken back.",
    "in_segment": "Whether they are a member of the segment.",
    "last": "When the last such event was.",
    "opened": "Whether they opened the message of this send step. Opens by machines, as Apple Mail's, count only with "
    "`machines=true`; no open is proof of a person.",
    "sent": "Whether the message of this send step was accepted by the provider.",
    "tagged": "Whether they carry the tag.",
    "times": "How often such an event happened, in the window if there is one.",
    "total": "The sum of a property over such events, in the window if there is one.",
    "usual_gap": "The median time between two such events: their own when there are three gaps, else the shop's.",
}

FIELDS = {
    "wait_for.event": "The event to wait for.",
    "then": "The steps when it comes.",
    "else": "The steps at the limit.",
    "consent.channel": "email, sms, push.",
    "consent.topic": "A topic of project.yaml.",
    "consent.state": "on or off.",
    "hush.topic": "A topic of project.yaml.",
    "hush.for": "How long.",
    "notify.text": "What to tell them; `{{ }}` holds expressions.",
    "start": "The journey's name.",
    "stop": "The journey's name.",
    "limit.at_most": "How many.",
    "limit.per": "hour, day or week of the brand's calendar.",
    "limit.over": "What becomes of the others: skip, or wait for the next.",
    "event": "The event's name.",
    "segment": "The segment's name.",
    "directory": "A directory of its own, below the one for messages.",
    "fsync": "Whether each file must have reached the disk before it counts as sent.",
}
"""What fields mean that have no description in the code."""


def page() -> str:
    """The whole page."""
    known = registry()
    parts = [
        "# Reference",
        "Made from the code by `make docs`; don't edit it here. Meanings in context: [the language](language.md).",
        " · ".join(f"[{name}](#{name.lower()})" for name in PARTS),
        "## Steps",
        "Every step may have an `id`.",
        *(_model(name, step, StepModel) for name, step in known.steps.items() if step.available),
        "## Triggers",
        "Under `enter:`, exactly one. All of them may have:",
        _table(_rows(TriggerModel, None)),
        *(_model(name, trigger, TriggerModel) for name, trigger in known.triggers.items()),
        "## Channels",
        "Under `channels:` in project.yaml, as the `provider` of email, sms or push, with these options beside it.",
        *(_channel(name, channel) for name, channel in known.channels.items()),
        "## Sources",
        "Under `sources:` in project.yaml, each with the name of its address, `POST /hooks/NAME`. `source` is the "
        "kind, if the name is another. All of them may have:",
        _table(_rows(SourceOptions, None)),
        *(_source(name, source) for name, source in known.sources.items()),
        "## Functions",
        _functions(),
        "## Settings",
        "Environment variables, lines of `.env` in the project's directory, or files of these names in the directory "
        "that `KARIBU_SECRETS_DIR` names (mounted secrets). `KARIBU_ROOT` names the project from elsewhere.",
        _settings(),
        "## Commands",
        "`--json` gives one JSON object instead of words. Exit codes: 0 fine, 1 the content is at fault, 2 usage, 3 "
        "Karibu itself is at fault. `KARIBU_DEBUG=1` shows where an error came from.",
        *_commands(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _commands() -> Iterator[str]:
    """Each command's help, as `--help` prints it on a terminal of a hundred columns."""
    group = typer.main.get_command(app)
    assert isinstance(group, Commands)
    for name, command in sorted(_each(group, "karibu")):
        context = command.make_context(name, [], resilient_parsing=True, terminal_width=100)
        yield f"### {name}\n\n```text\n{command.get_help(context).strip()}\n```"


def _each(group: TyperGroup, before: str) -> Iterator[tuple[str, Any]]:
    """Every command with its whole name, those of two words too."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _each(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def _settings() -> str:
    fields = Settings.model_fields.items()
    rows = [(f"`KARIBU_{name.upper()}`", _default(field), field.description or "") for name, field in fields]
    return _table(iter(rows)).replace("| field |", "| setting |")


def _model(name: str, model: type[BaseModel], base: type[BaseModel]) -> str:
    return "\n\n".join(filter(None, [f"### {name}", _said(model), _table(_rows(model, base))]))


def _channel(name: str, channel: Any) -> str:
    carries = ", ".join(sorted(channel.carries))
    return "\n\n".join(
        filter(None, [f"### {name}", f"{_said(channel)} Carries {carries}.", _table(_rows(channel.Options, None))])
    )


def _source(name: str, source: Any) -> str:
    topics = [f"| `{topic}` | `{event}` |" for topic, event in sorted((source.topics or {}).items())]
    table = "\n".join(["| topic | event, if nothing else is said |", "|---|---|", *topics]) if topics else ""
    return "\n\n".join(
        filter(None, [f"### {name}", _said(source), _table(_rows(source.Options, SourceOptions)), table])
    )


def _said(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _rows(model: type[BaseModel], base: type[BaseModel] | None, before: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and description of the fields that `model` adds to `base`, with the fields of nested mappings."""
    for name, field in model.model_fields.items():
        if base is not None and name in base.model_fields:
            continue
        shown = before + (field.alias or name)
        inner = _mapping(field)
        if inner is None or field.description:
            yield f"`{shown}`", _default(field), field.description or FIELDS[shown]
        if inner is not None:
            yield from _rows(inner, None, f"{shown}.")


def _mapping(field: FieldInfo) -> type[BaseModel] | None:
    optional = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if optional else (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value == () or value == {} or value == "":
        return ""
    if isinstance(value, timedelta):
        return f"`{duration_text(value)}`"
    if isinstance(value, time):
        return f"`{value:%H:%M}`"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _table(rows: Iterator[tuple[str, str, str]]) -> str:
    cells = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return (
        "\n".join(["| field | default | meaning |", "|---|---|---|", *(f"| {row} |" for row in cells)]) if cells else ""
    )


def _functions() -> str:
    known = FUNCTIONS.keys()
    if MEANINGS.keys() != known:
        raise SystemExit(
            f"docs/generate.py: these functions have no meaning, or are gone: {sorted(known ^ MEANINGS.keys())}"
        )
    rows = [f"| `{FUNCTIONS[name].usage}` | {MEANINGS[name]} |" for name in sorted(known)]
    return "\n".join(["| function | meaning |", "|---|---|", *rows])


def tour() -> str:
    """The tour with the picture of win-back as it is."""
    before, _, rest = TOUR.read_text(encoding="utf-8").partition(PICTURE)
    after = rest.partition("<!-- end -->")[2]
    journey = load_journey_source((starter.root() / "workflows/win-back.yaml").read_text(encoding="utf-8"), registry())
    return f"{before}{PICTURE}\n\n```mermaid\n{Graph.of(journey).to_mermaid()}```\n\n<!-- end -->{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    TOUR.write_text(tour(), encoding="utf-8")
