"""Literal texts with expressions in `{{ }}`, computed by SQL and put in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from engine.language.holes import Hole
from engine.language.holes import pieces as split

pieces = lru_cache(maxsize=4096)(split)


def expressions(text: str) -> tuple[str, ...]:
    """The texts of the expressions in a literal."""
    return tuple(piece.text for piece in pieces(text) if isinstance(piece, Hole))


def fill(text: str, results: Mapping[str, Any], show: Callable[[Any], str]) -> Any:
    """The text with its expressions' results in place, as `show` says them; what is missing is nothing. One that is
    nothing but an expression keeps its value's type."""
    parts = pieces(text)
    if len(parts) == 1 and isinstance(parts[0], Hole):
        return results[parts[0].text]
    return text_of(text, results, show)


def text_of(text: str, results: Mapping[str, Any], show: Callable[[Any], str]) -> str:
    """The same where it has to be a text."""
    parts = pieces(text)
    return "".join(_said(results[piece.text], show) if isinstance(piece, Hole) else piece for piece in parts)


def _said(value: Any, show: Callable[[Any], str]) -> str:
    return "" if value is None else show(value)
