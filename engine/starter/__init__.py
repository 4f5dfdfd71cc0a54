"""The starter content: seven journeys with their templates, a complete project that `karibu init` copies."""

from __future__ import annotations

from pathlib import Path

PARTS = ("workflows", "templates")


def root() -> Path:
    """The directory that holds the starter's `workflows/` and `templates/`.

    In an installed wheel they lie beside this file; in a checkout they stand at the root of the repository.
    """
    here = Path(__file__).resolve().parent
    return here if (here / "workflows").is_dir() else here.parent.parent
