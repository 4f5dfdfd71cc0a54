"""The command line: `karibu COMMAND`.

Each module holds a group of commands. What takes long to import (SQLAlchemy, Polars, Prefect) is imported inside the
command that needs it, so that `karibu --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.cli import (  # noqa: F401  each adds its commands
    asking,
    content,
    coupons,
    hearing,
    hooks,
    importing,
    journeys,
    keys,
    previewing,
    returning,
    running,
    sending,
    suppressions,
    testing,
)
from engine.cli.shell import Shell, app
from engine.runtime.clock import Clock


def main(arguments: Sequence[str] | None = None, clock: Clock | None = None) -> None:
    """Run one command and leave with its exit code: 0 fine, 1 the content is at fault, 2 usage, 3 our own fault."""
    app(None if arguments is None else list(arguments), prog_name="karibu", obj=Shell(clock))
