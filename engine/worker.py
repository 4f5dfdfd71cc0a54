"""Where a Prefect worker finds the flows: `engine.worker.win_back` is the journey win-back, compiled when it is asked
for.

The project and the database are those of the worker's environment (KARIBU_ROOT, KARIBU_DATABASE_URL, …).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.app import App
from engine.runtime.fence import AT_WORK, Memory


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
    """The project, with the care that an engine takes that starts: its database may be a backup that was put back."""
    app = App.of()
    app.settings.data.mkdir(parents=True, exist_ok=True)
    app.runtime.awake(starting=app.settings.provider != "fake", memory=Memory(app.settings.data / AT_WORK))
    return app
