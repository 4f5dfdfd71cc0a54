"""The types of the journey language, and how project.yaml writes them.

What a value is in Python, in JSON (customer attributes, event properties) and in an expression:

    text       str                  string
    number     float (a double)     number: 0, or from 1e-100 to 1e100 in size
    boolean    bool                 true, false
    date       date                 "YYYY-MM-DD"
    instant    aware datetime       number of microseconds since 1970, rounded
    duration   timedelta            (not stored)
    money      Money                number of minor units of the brand's currency up to 2**53, rounded
    birthday   Birthday             (customer.birthday only: a date whose year may be unknown)
    list       list of dicts        array of objects
    object     dict                 object

A stored value of any other form is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.language.errors import Wrong, did_you_mean


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    INSTANT = "instant"
    DURATION = "duration"
    MONEY = "money"
    BIRTHDAY = "birthday"
    LIST = "list"
    OBJECT = "object"
    UNREAD = "unread"  # of a part that has a fault: anything goes with it


@dataclass(frozen=True, slots=True)
class Type:
    """A kind, and for a list or an object the fields of its objects."""

    kind: Kind
    fields: tuple[tuple[str, Type], ...] = ()

    def field(self, name: str) -> Type | None:
        return next((type_ for known, type_ in self.fields if known == name), None)

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields)

    @property
    def spoken(self) -> str:
        """The type as one speaks of it, with its article."""
        other = {Kind.BOOLEAN: "true or false", Kind.MONEY: "an amount of money", Kind.INSTANT: "a moment"}
        return other.get(self.kind, f"a {self}")

    def __str__(self) -> str:
        return {Kind.LIST: "list of objects"}.get(self.kind, self.kind.value)


TEXT = Type(Kind.TEXT)
NUMBER = Type(Kind.NUMBER)
BOOLEAN = Type(Kind.BOOLEAN)
DATE = Type(Kind.DATE)
INSTANT = Type(Kind.INSTANT)
DURATION = Type(Kind.DURATION)
MONEY = Type(Kind.MONEY)
BIRTHDAY = Type(Kind.BIRTHDAY)
UNREAD = Type(Kind.UNREAD)

STORED = {type_.kind.value: type_ for type_ in (TEXT, NUMBER, BOOLEAN, DATE, INSTANT, MONEY)}
"""The types an attribute or a property may be declared as, by the word for it."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in whole minor units of its currency."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Birthday:
    """A day of the year, with the year where it is known."""

    month: int
    day: int
    year: int | None = None


def read_type(declared: Any) -> Type:
    """The type that project.yaml declares: a word, `[{field: type}]` for a list of objects, `{field: type}` for one.

    Raises Wrong, whose `at` leads to the faulty part.
    """
    if isinstance(declared, Type):
        return declared
    if isinstance(declared, str):
        if declared not in STORED:
            raise Wrong(f'unknown type "{declared}"', did_you_mean(declared, STORED))
        return STORED[declared]
    if isinstance(declared, Mapping):
        return Type(Kind.OBJECT, _fields(declared, ()))
    if isinstance(declared, list | tuple) and len(declared) == 1 and isinstance(declared[0], Mapping):
        return Type(Kind.LIST, _fields(declared[0], (0,)))
    raise Wrong("a type is expected here", "a list is written as one entry with its fields: [{sku: text, qty: number}]")


def _fields(declared: Mapping[Any, Any], at: tuple[str | int, ...]) -> tuple[tuple[str, Type], ...]:
    if not declared:
        raise Wrong("an object without fields holds nothing", "name its fields and their types", at=at)
    fields = []
    for name, inner in declared.items():
        try:
            fields.append((str(name), read_type(inner)))
        except Wrong as wrong:
            raise Wrong(wrong.message, wrong.hint, at=(*at, str(name), *wrong.at)) from None
    return tuple(fields)


def result_of(op: str, a: Kind, b: Kind) -> Type | None:
    """The type of `a op b`; None: not in the language."""
    table = {
        (Kind.NUMBER, Kind.NUMBER): {"+": NUMBER, "-": NUMBER, "*": NUMBER, "/": NUMBER},
        (Kind.MONEY, Kind.MONEY): {"+": MONEY, "-": MONEY, "/": NUMBER},
        (Kind.MONEY, Kind.NUMBER): {"*": MONEY, "/": MONEY},
        (Kind.NUMBER, Kind.MONEY): {"*": MONEY},
        (Kind.DURATION, Kind.DURATION): {"+": DURATION, "-": DURATION, "/": NUMBER},
        (Kind.DURATION, Kind.NUMBER): {"*": DURATION, "/": DURATION},
        (Kind.NUMBER, Kind.DURATION): {"*": DURATION},
        (Kind.INSTANT, Kind.INSTANT): {"-": DURATION},
        (Kind.INSTANT, Kind.DURATION): {"+": INSTANT, "-": INSTANT},
        (Kind.DATE, Kind.DURATION): {"+": DATE, "-": DATE},
        (Kind.DATE, Kind.DATE): {"-": DURATION},
    }
    return table.get((a, b), {}).get(op)
