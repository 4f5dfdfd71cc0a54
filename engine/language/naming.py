"""Which of a mapping's keys names what it is: `{wait: 3d, id: pause}` is a wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from engine.language.errors import Wrong, did_you_mean
from engine.language.fields import Model

M = TypeVar("M", bound=Model)


def first_named(models: Mapping[str, type[M]]) -> type[M] | None:
    """The model that these keys name, of several the first: then the others are keys that it doesn't have.

    A key that is an option of another named model (`at` of a date), or that only some mean (`at` for a schedule), names
    nothing itself while there is one that does.
    """
    named = {
        key: model
        for key, model in models.items()
        if not any(other is not model and key in set(other.keys()) for other in models.values())
    }
    proper = [model for key, model in named.items() if key == getattr(model, "type", key)]
    return next(iter(proper or named.values()), None)


def either(names: Iterable[str]) -> str:
    """`send`, `send or wait`, `send, wait or hush`."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def unknown(value: Mapping[str, Any], known: Iterable[str], options: set[str]) -> str | None:
    """The key that was meant to be the name: one that resembles a known name, else the first that is no option."""
    if not value:
        raise Wrong("nothing is written here")
    names = set(known)
    others = [key for key in value if key not in options]
    near = [key for key in others if (did_you_mean(key, names) or "").startswith("did")]
    return next(iter(near or others), None)
