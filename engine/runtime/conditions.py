"""A condition taken apart for one customer: which of its parts were false, and what they saw.

Two ways, by the same SQL that judged everybody: now, from the tables; or then, from the values that a decision
recorded. For the second, every fact of the expression is replaced by a look into the recorded document, so that no
second evaluator is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, FromClause, Integer, case, literal, select

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import INSTANT, Kind
from engine.segments import seen, sql
from engine.segments.frame import Frame
from engine.store.types import json_type


@dataclass(frozen=True)
class Fact:
    """A name or function of a condition with the value it had, in its kept form; None: missing."""

    text: str
    typed: Typed
    value: Any


@dataclass(frozen=True)
class Part:
    """A part of a condition that has no `and` or `or` outside it: its text, whether it was true, and what it looked
    at.
    """

    text: str
    typed: Typed
    true: bool
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Judged:
    """A whole condition for one customer. `false`: the parts that made it false, the first of an `and`, all of an
    `or`.
    """

    true: bool
    parts: tuple[Part, ...]
    false: tuple[Part, ...]


def judge_now(
    connection: Connection, typed: Typed, text: str, frame: Frame, source: FromClause, who: Any
) -> Judged | None:
    """The condition as it is now in `frame`, for the one row of `source` that `who` names; None when there is no
    such row.
    """
    leaves = list(_leaves(typed))
    facts = {_text(text, fact): fact for leaf in leaves for fact in seen.looked_at(leaf)}
    columns = [case((sql.condition(leaf, frame), 1), else_=0).label(f"p{n}") for n, leaf in enumerate(leaves)]
    document = [seen.json_object({f"f{n}": seen.as_json(one, frame) for n, one in enumerate(facts.values())})]
    statement = select(*columns, *(document if facts else ())).select_from(source).where(who)
    row = connection.execute(statement).first()
    if row is None:
        return None
    values = dict(zip(facts, (row[-1][f"f{n}"] for n in range(len(facts))), strict=True)) if facts else {}
    return _judged(typed, text, leaves, [bool(value) for value in row[: len(leaves)]], values)


def judge_then(
    connection: Connection,
    typed: Typed,
    text: str,
    recorded: Mapping[str, Any],
    frame: Frame,
    source: FromClause,
    who: Any,
) -> Judged | None:
    """The condition as the recorded values (by the text of each fact) make it. What wasn't recorded is read from
    the tables.
    """
    leaves = list(_leaves(typed))
    names = {name: f"f{n}" for n, name in enumerate(recorded)}
    document = literal({names[name]: value for name, value in recorded.items()}, json_type())
    frame = replace(frame, item=document)
    rewritten = [_recorded(leaf, text, names) for leaf in leaves]
    columns = [
        case((sql.condition(leaf, frame), literal(1, Integer)), else_=0).label(f"p{n}")
        for n, leaf in enumerate(rewritten)
    ]
    row = connection.execute(select(*columns).select_from(source).where(who)).first()
    if row is None:
        return None
    return _judged(typed, text, leaves, [bool(value) for value in row], recorded)


def _leaves(typed: Typed) -> Iterator[Typed]:
    if isinstance(typed, tree.And | tree.Or):
        for part in typed.parts:
            yield from _leaves(part)
    else:
        yield typed


def _judged(
    typed: Typed, text: str, leaves: Sequence[Typed], true: Sequence[bool], values: Mapping[str, Any]
) -> Judged:
    parts = []
    for leaf, holds in zip(leaves, true, strict=True):
        texts = {_text(text, fact): fact for fact in seen.looked_at(leaf)}
        facts = tuple(Fact(name, fact, values.get(name)) for name, fact in texts.items())
        parts.append(Part(_text(text, leaf), leaf, holds, facts))
    left = iter(parts)
    whole, false = _false(typed, left)
    return Judged(whole, tuple(parts), false)


def _false(typed: Typed, parts: Iterator[Part]) -> tuple[bool, tuple[Part, ...]]:
    """Whether it is true, and if not, the parts that make it false."""
    if not isinstance(typed, tree.And | tree.Or):
        part = next(parts)
        return part.true, () if part.true else (part,)
    found = [_false(inner, parts) for inner in typed.parts]
    if isinstance(typed, tree.And):
        blamed = next((false for true, false in found if not true), None)
        return blamed is None, blamed or ()
    if any(true for true, _ in found):
        return True, ()
    return False, tuple(part for _, false in found for part in false)


def _text(text: str, typed: Typed) -> str:
    return " ".join(text[slice(*typed.span)].split())


def _recorded(typed: Typed, text: str, names: Mapping[str, str]) -> Typed:
    """The expression with its recorded facts read from the document of recorded values."""
    known = names.get(_text(text, typed)) or names.get(text[slice(*typed.span)])
    if known is not None and typed.type.kind not in (Kind.LIST, Kind.OBJECT):
        # A length of time is recorded in whole microseconds, as a moment is.
        type_ = INSTANT if typed.type.kind is Kind.DURATION else typed.type
        return tree.Name(scope="item", path=(known,), type=type_, span=typed.span)
    changed: dict[str, Any] = {}
    for spec in fields(typed):
        value = getattr(typed, spec.name)
        if isinstance(value, Typed):
            changed[spec.name] = _recorded(value, text, names)
        elif isinstance(value, tuple) and any(isinstance(part, Typed) for part in value):
            changed[spec.name] = tuple(
                _recorded(part, text, names) if isinstance(part, Typed) else part for part in value
            )
    return replace(typed, **changed) if changed else typed
