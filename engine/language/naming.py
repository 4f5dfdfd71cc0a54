"""Which of a mapping's keys names what it is: `{wait: 3d, id: pause}` is a wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from engine.language.errors import Wrong, did_you_mean
from engine.language.fields import Model

M = TypeVar("M", bound=Model)


def only(models: Mapping[str, type[M]], what: str, hint: str) -> type[M] | None:
    """The one model that these keys name: a key that is an option of another named model (`at` of a date) names
    nothing itself.
    """
    named = {
        key: model
        for key, model in models.items()
        if not any(other is not model and key in set(other.keys()) for other in models.values())
    }
    if len(set(named.values())) > 1:
        first, second = sorted(named)[:2]
        extra = list(named)[1]
        raise Wrong(f"this is {first} and {second} in one {what}", hint, at=(extra,), on_key=True)
    return next(iter(named.values()), None)


def unknown(value: Mapping[str, Any], known: Iterable[str], options: set[str]) -> str | None:
    """The key that was meant to be the name: one that resembles a known name, else the first that is no option."""
    if not value:
        raise Wrong("nothing is written here")
    names = set(known)
    others = [key for key in value if key not in options]
    near = [key for key in others if (did_you_mean(key, names) or "").startswith("did")]
    return next(iter(near or others), None)
