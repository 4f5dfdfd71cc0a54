"""What pydantic found, told in our words at its place in the file. No word of pydantic's reaches a marketer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.language.errors import Path, Problem, Wrong, did_you_mean, dotted
from engine.language.registry import Registry
from engine.language.yaml import Document, Mapping, Scalar, renamed, told

SPELLINGS = 10
"""So many keys below each other may be misspelt."""

M = TypeVar("M", bound=BaseModel)

_LIST = "a list is expected here", "begin each item in a line of its own with -"
_MAPPING = "a mapping is expected here", "lines of key: value, further in than the key above"
_SINGLE = "a single value is expected here, not a list or a mapping", None
_SHAPES: dict[str, tuple[str, str | None]] = {
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "string_type": _SINGLE,
    "int_type": _SINGLE,
    "int_parsing": ("this is not a whole number", None),
    "float_parsing": ("this is not a number", None),
    "float_type": _SINGLE,
    "bool_parsing": ("this is neither true nor false", "write true or false"),
    "bool_type": ("this is neither true nor false", "write true or false"),
    "too_short": ("nothing is written here", "write at least one item"),
    "string_too_short": ("a value is missing here", None),
    "string_too_long": ("this text is too long", None),
    "string_pattern_mismatch": ("this value doesn't have the form that is expected here", None),
}


def read_model(model: type[M], document: Document, registry: Registry, problems: list[Problem]) -> M | None:
    """The model of a document; None, and its problems added, if it doesn't fit.

    A key that is misspelt is told, and then taken for what was meant, so that what stands below it is read too: the
    model there is then may be linted, though the document has problems.
    """
    if document.root is None:
        if not document.problems:
            problems.append(document.problem((), "the file is empty", "write something into it, or remove it"))
        return None
    # Where the reading has told of a fault, what the model makes of the remains is no news.
    known = {problem.path for problem in document.problems if problem.path}
    for _ in range(SPELLINGS):
        try:
            return model.model_validate(document.data, context=registry, by_alias=True, by_name=False)
        except ValidationError as error:
            wrong = misspelt(error, document)
            missing = {dotted((*path[:-1], meant)) for path, meant in wrong.items()}
            found = [p for p in in_our_words(error, document) if p.line not in document.guessed]
            problems.extend(p for p in found if p.path not in known | missing and p not in problems)
        for path, meant in wrong.items():
            around = document.node(path[:-1])
            if isinstance(around, Mapping):
                renamed(around, str(path[-1]), meant)
        if not wrong:
            break
    return None


def in_our_words(error: ValidationError, document: Document, prefix: Path = ()) -> Iterator[Problem]:
    """The problems of a validation, at their places; `prefix` is where in the document the validated value stands."""
    for each in _without_echoes(error.errors(), document, prefix):
        yield _problem(each, document, prefix)


def _problem(error: Any, document: Document, prefix: Path) -> Problem:
    kind, context = error["type"], error.get("ctx") or {}
    path = prefix + tuple(error["loc"])
    if kind == "missing":
        where, found = document.place(path[:-1])
        what = f"{path[-1]} is missing here"
        return told(document.file, document.text, where, dotted((*found, path[-1])), what, f"add {path[-1]}:")
    wrong = context.get("error")
    if isinstance(wrong, Wrong):
        key = path[-1:] == ("[key]",)
        where, found = document.place((path[:-1] if key else path) + wrong.at, wrong.on_key or key, wrong.offset)
        message, hint = wrong.message, wrong.hint
    else:
        where, found = document.place(path, on_key=kind == "extra_forbidden")
        message, hint = _plain_words(kind, context, error["input"], path)
    if kind != "extra_forbidden" and not (isinstance(wrong, Wrong) and (wrong.at or wrong.on_key)):
        node = document.node(found)
        if isinstance(node, Scalar) and not node.text and found:
            message = (
                f"a value is missing after {found[-1]}:" if isinstance(found[-1], str) else "a value is missing here"
            )
    return told(document.file, document.text, where, dotted(found), message, hint)


def _plain_words(kind: str, context: dict[str, Any], given: Any, path: Path) -> tuple[str, str | None]:
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        if not isinstance(given, str):
            return _SINGLE[0], "one of " + ", ".join(allowed)
        if len(allowed) == 1:
            return f'"{given}" can\'t stand here', f"write {allowed[0]}"
        hint = did_you_mean(given, allowed)
        return f'"{given}" is none of {", ".join(allowed)}', hint if hint and hint.startswith("did") else None
    if kind == "extra_forbidden":
        return f'unknown key "{path[-1] if path else ""}"', None
    return _SHAPES.get(kind, ("this value doesn't fit here", None))


def misspelt(error: ValidationError, document: Document) -> dict[Path, str]:
    """The keys of a document that are misspelt, by their paths, with what was meant: one for each that is meant."""
    found: dict[Path, str] = {}
    for each in error.errors():
        wrong = (each.get("ctx") or {}).get("error")
        if isinstance(wrong, Wrong) and wrong.meant:
            path = document.place(tuple(each["loc"]) + wrong.at)[1]
            around = document.node(path[:-1])
            taken = {to for other, to in found.items() if other[:-1] == path[:-1]}
            if isinstance(around, Mapping) and wrong.meant not in around.items and wrong.meant not in taken:
                found[path] = wrong.meant
    return found


def _without_echoes(errors: list[Any], document: Document, prefix: Path) -> list[Any]:
    """One reading of a value is told: where a field takes several forms, pydantic reports each form that failed.

    The form that was meant is the one whose errors lie deepest; of the same depth the first.
    """
    kept: dict[Path, list[Any]] = {}
    for error in errors:
        _, found = document.place(prefix + tuple(error["loc"]))
        lost = len(prefix) + len(error["loc"]) - len(found)
        forms = lost - (error["type"] == "missing")
        key = found[:-1] if forms <= 0 else _fork(document, prefix + tuple(error["loc"]))
        kept.setdefault((*key, "?") if forms > 0 else (*found, error["type"], len(kept)), []).append(
            (len(found), error)
        )
    chosen: list[Any] = []
    for group in kept.values():
        deepest = max(depth for depth, _ in group)
        best = [error for depth, error in group if depth == deepest]
        first = _form(document, prefix + tuple(best[0]["loc"]))
        chosen.extend(e for e in best if _form(document, prefix + tuple(e["loc"])) == first)
    return chosen


def _fork(document: Document, path: Path) -> Path:
    """The path up to where a part of it is no longer found in the file: there the forms part."""
    for n in range(len(path)):
        if len(document.place(path[: n + 1])[1]) <= n:
            return path[:n]
    return path


def _form(document: Document, path: Path) -> str | int | None:
    fork = _fork(document, path)
    return path[len(fork)] if len(fork) < len(path) else None
