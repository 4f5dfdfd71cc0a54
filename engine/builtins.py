"""Everything that comes with Karibu, through the door that third parties use: modules of decorated classes, and entry
points."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import triggers
from engine import channels, steps
from engine.language.registry import Registry
from triggers import sources

GROUPS = ("karibu.steps", "karibu.triggers", "karibu.channels", "karibu.sources")


@cache
def registry() -> Registry:
    """The registry of the built-in steps, triggers, channels and sources, and of those that installed packages add."""
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for package in (steps, triggers, channels, sources)
        for found in pkgutil.iter_modules(package.__path__)
        if not found.ispkg
    ]
    theirs = [entry.load() for group in GROUPS for entry in entry_points(group=group)]
    return Registry.of(*modules, *theirs)
