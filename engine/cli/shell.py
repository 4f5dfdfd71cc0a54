"""What every command shares: the project it is about, how it speaks, and what becomes of an error.

A mistake of the user's is a Told: a message, what to do about it, and an exit code; never a stack trace, unless
KARIBU_DEBUG=1 asks for it. Exit codes: 0 fine, 1 the content is at fault, 2 usage (also: no such file, customer or
database), 3 our own fault.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from engine.language.errors import ContentError, did_you_mean

if TYPE_CHECKING:
    from engine.app import App
    from engine.language.content import Content
    from engine.progress import Tell
    from engine.runtime.clock import Clock

FINE, CONTENT, USAGE, OURS, INTERRUPTED = 0, 1, 2, 3, 130

WRITE, RUN, ASK = "Write journeys", "Run them", "Ask what happened"
SECTIONS = (WRITE, RUN, ASK)

F = TypeVar("F", bound=Callable[..., Any])


class Told(Exception):
    """Something that the user can mend: what is wrong, and what to do about it."""

    def __init__(self, message: str, hint: str | None = None, code: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


@dataclass(frozen=True)
class Shell:
    """What the caller of `main` hands in; the machine's own clock by default."""

    clock: Clock | None = None


class Commands(TyperGroup):
    """The commands under their headings, and the one place where errors become words."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section in SECTIONS:
            rows = [
                (name, command.get_short_help_str(limit=90))
                for name, command in self.commands.items()
                if getattr(command, "rich_help_panel", None) == section
            ]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        with errors_in_words():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Karibu runs customer journeys that are written in YAML.\n\nA project is a directory with workflows/ and "
    "templates/; commands are about the one they are called in, or the one that -C names. `karibu COMMAND --help` says "
    "more about each.",
)


def command(section: str, *examples: str, name: str | None = None, group: typer.Typer = app) -> Callable[[F], F]:
    """Add a command: its docstring is its help, with the examples below. `group`: that of commands of two words."""

    def add(function: F) -> F:
        text = inspect.getdoc(function) or ""
        shown = "\n\n\b\n" + "\n".join(["For example:", *(f"  {example}" for example in examples)])
        short = text.partition("\n")[0]
        group.command(name or function.__name__, help=text + shown, short_help=short, rich_help_panel=section)(function)
        return function

    return add


def commands(name: str, text: str) -> typer.Typer:
    """A group of commands of two words, like `karibu key create`; `text` is its help."""
    made = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=text)
    app.add_typer(made, name=name, rich_help_panel=RUN)
    return made


def _root(ctx: typer.Context, value: Path | None) -> Path | None:
    """-C of the command, else the one that stands before it."""
    return value if value is not None else ctx.find_root().params.get("project")


_OF: dict[str, Any] = {"metavar": "DIR", "help": "The project's directory. [default: here]", "show_default": False}
Root = Annotated[Path | None, typer.Option("-C", "--project", callback=_root, **_OF)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")]


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"karibu {version('karibu')}")
        raise typer.Exit


@app.callback()
def karibu(
    project: Annotated[Path | None, typer.Option("-C", "--project", **_OF)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which one.")
    ] = False,
) -> None:
    pass


# The project


def project_root(root: Path | None) -> Path:
    """The directory of the project. Told when there is none."""
    where = root or Path(os.environ.get("KARIBU_ROOT") or ".")
    if (where / "workflows").is_dir():
        return where
    if not where.is_dir():
        raise Told(f"there is no directory {where}")
    above = next((p for p in where.resolve().parents if (p / "workflows" / "project.yaml").is_file()), None)
    if above is not None:
        up = os.path.relpath(above)
        raise Told(f"the project is further up: {up}", f"go there, or add -C {up}")
    there = "here" if where == Path(".") else f"in {where}"
    raise Told(
        f"there is no project {there}: a project has a directory workflows/ with a project.yaml",
        "go to your project, name it with -C DIR, or make one: karibu init DIR",
    )


@contextmanager
def opened(ctx: typer.Context, root: Path | None) -> Iterator[App]:
    """The program for this project. Its content and database are read when they are first asked for."""
    where = project_root(root)
    from engine.app import App

    made = App.of(where, ctx.obj.clock if isinstance(ctx.obj, Shell) else None)
    try:
        yield made
    finally:
        made.close()


def clock_of(ctx: typer.Context) -> Clock:
    """The clock that was handed in, or the machine's own."""
    from engine.runtime.clock import SystemClock

    handed_in = ctx.obj.clock if isinstance(ctx.obj, Shell) else None
    return handed_in or SystemClock()


def readable(app: App) -> Content:
    """What can be read of the project, for commands that must answer while a journey's file is being mended.

    Raises ContentError when project.yaml itself can't be read."""
    from engine.language.content import PROJECT, survey

    content, problems = survey(app.settings.root, app.registry)
    if PROJECT in content.broken:
        raise ContentError(problem for problem in problems if problem.file == PROJECT)
    if problems:
        files = counted(len({problem.file for problem in problems}), "file")
        warn(f"{counted(len(problems), 'problem')} in {files}: karibu check tells which")
    return content


def known(name: str, names: Sequence[str], what: str, hint: str | None = None) -> str:
    """The name, if there is one like it. Told otherwise, with the nearest."""
    if name not in names:
        near = did_you_mean(name, names)
        raise Told(f'there is no {what} "{name}"', near or hint)
    return name


def journey_name(app: App, name: str) -> str:
    """The name of a journey of the content."""
    return known(name.removesuffix(".yaml").removeprefix("workflows/"), list(app.content.journeys), "journey")


# Speaking

_CONTROL = [code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"]
_SEEN = dict.fromkeys(_CONTROL, "\N{REPLACEMENT CHARACTER}")
"""What customers and shops have written may hold what a terminal takes for commands: it is shown, and does nothing."""
_ESCAPED = {code: f"\\u{code:04x}" for code in _CONTROL}
"""The same inside JSON, where it stands in texts only."""


def say(text: str = "", style: str | None = None) -> None:
    """One line or more to standard output, in this style on a terminal. Not wrapped: a line that is cut can't be
    searched.
    """
    _print(text, style, stderr=False)


def warn(text: str, style: str | None = "yellow") -> None:
    """The same to standard error."""
    _print(text, style, stderr=True)


def _print(text: str, style: str | None, *, stderr: bool) -> None:
    text = text.translate(_SEEN)
    stream = sys.stderr if stderr else sys.stdout
    if style is None or not stream.isatty():
        print(text, file=stream, flush=True)  # `karibu up` is read line by line
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    console.print(text, style=style, soft_wrap=True)


def say_json(value: dict[str, Any]) -> None:
    """One JSON object."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=_plain).translate(_ESCAPED))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for a {type(value).__name__}")


@contextmanager
def progress(*, quiet: bool) -> Iterator[Tell]:
    """Show on standard error that long work goes on."""
    from engine import progress as shown

    if quiet:
        yield shown.untold
    elif sys.stderr.isatty():
        from rich.console import Console

        with shown.bar(Console(stderr=True)) as tell:
            yield tell
    else:
        with shown.lines(lambda line: warn(line, None)) as tell:
            yield tell


def columns(rows: Sequence[Sequence[str]], *, indent: str = "", right: Sequence[int] = ()) -> str:
    """Rows of cells as aligned text; `right`: the columns whose cells end at the same place."""
    if not rows:
        return ""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(indent + line.rstrip() for line in lines)


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 journey`, `12,000 journeys`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


# Errors


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Every error as a message and an exit code."""
    if os.environ.get("KARIBU_DEBUG", "") not in ("", "0"):
        yield
        return
    try:
        yield
        sys.stdout.flush()  # here a reader who has gone away is still ours to deal with; at the exit they aren't
    except Told as told:
        _end(told.message, told.hint, told.code)
    except ContentError as error:
        for problem in error.problems:
            warn(str(problem), None)
        _end(counted(len(error.problems), "problem"), "mend this first; karibu check tells everything", CONTENT)
    except KeyboardInterrupt:
        _end("stopped", None, INTERRUPTED)
    except BrokenPipeError:  # `karibu status | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FINE) from None
    except Exception as error:
        if (words := _in_words(error)) is not None:
            _end(*words, USAGE)
        if type(error).__module__.startswith("typer."):
            raise  # its own way of leaving, and of telling a wrong option
        at = f"{type(error).__name__}: {error}".splitlines()[0]
        _end(f"something went wrong in Karibu itself: {at}", "KARIBU_DEBUG=1 shows where; please report it", OURS)


def _in_words(error: Exception) -> tuple[str, str | None] | None:
    """What is at fault outside Karibu and outside the content: settings, the database, files."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError) and error.title == "Settings":
        wrong = error.errors()[0]
        name = "KARIBU_" + str(wrong["loc"][0]).upper() if wrong["loc"] else "a setting"
        return f"{name} can't be used: {wrong['msg'].lower()}", "settings are environment variables, or lines of .env"
    if "sqlalchemy" in sys.modules:
        from engine.store.failures import AddressWrong, DatabaseBusy, DatabaseError, ServerUnreachable

        if isinstance(error, DatabaseError):
            hint = "see KARIBU_DATABASE_URL"
            if isinstance(error, ServerUnreachable):
                hint = "is the server running, and is KARIBU_DATABASE_URL its address?"
            elif isinstance(error, DatabaseBusy):
                hint = "try again in a moment"
            elif isinstance(error, AddressWrong):
                hint = "set KARIBU_DATABASE_URL, or unset it for a SQLite file in .karibu/"
            return f"the database can't be used: {error}", hint
    if "engine.channels.base" in sys.modules:
        from engine.channels.base import ConfigurationError

        if isinstance(error, ConfigurationError):
            return str(error), None
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}", None
    return None


def _end(message: str, hint: str | None, code: int) -> NoReturn:
    warn(message, "red")
    if hint:
        warn(f"  {hint}", None)
    raise typer.Exit(code)
