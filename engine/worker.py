"""Where a Prefect worker finds the flows: `engine.worker.win_back` is the journey win-back, compiled when it is asked
for.

The project and the database are those of the worker's environment (KARIBU_ROOT, KARIBU_DATABASE_URL, …).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.app import App


def __getattr__(name: str) -> Any:
    """The flow of a journey. AttributeError when no version of it may have something to do."""
    if name.startswith("_"):
        raise AttributeError(name)
    from engine.flows import attribute, compiled  # prefect takes seconds to import

    app = _app()
    programs = [program for program in app.runtime.programs().values() if attribute(program.name) == name]
    if not programs:
        raise AttributeError(f"no journey {name.replace('_', '-')} is published in {app.settings.root.absolute()}")
    return compiled(app.runtime, max(programs, key=lambda program: program.number))


@cache
def _app() -> App:
    return App.of()
