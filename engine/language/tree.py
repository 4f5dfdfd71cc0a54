"""The typed tree of an expression: frozen, every node with its type and with where it stands in the text.

What a node means for missing values and for arithmetic stands here; `engine.segments.sql` compiles it, and a plain
Python evaluator in the tests says it a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Literal as Word

from engine.language.types import BOOLEAN, DATE, DURATION, INSTANT, NUMBER, UNREAD, Type

Scope = Word["customer", "entry", "event", "item", "result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """An expression. `span`: where its text begins and ends; two trees are equal wherever they stand."""

    type: Type
    span: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread(Typed):
    """Stands for a part with a fault, so that the faults of the other parts are found. `parse` gives none."""

    type: Type = UNREAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal(Typed):
    """A value as written: str, float, bool, date, microseconds (int) of a duration, or minor units (float) of money."""

    value: str | float | bool | date | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Typed):
    """A stored value. `result` scope: the event that a wait_for `step` waited for. An empty path: the item itself."""

    scope: Scope
    path: tuple[str, ...]
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Now(Typed):
    type: Type = INSTANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Not(Typed):
    part: Typed
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class And(Typed):
    parts: tuple[Typed, ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Or(Typed):
    parts: tuple[Typed, ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare(Typed):
    """False when a side is missing. `a != b` is Not(Compare("==", a, b)). Both sides are of one kind."""

    op: Word["==", "<", "<=", ">", ">="]
    left: Typed
    right: Typed
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf(Typed):
    """Equal to one of the options, which are of its own kind."""

    part: Typed
    options: tuple[Typed, ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class IsSet(Typed):
    part: Typed
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic(Typed):
    """In doubles, except a date and whole days.

    Missing with a missing side, a zero divisor, or a factor, dividend or divisor not within 1e-150 and 1e150 (nor 0).
    """

    op: Word["+", "-", "*", "/"]
    left: Typed
    right: Typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative(Typed):
    part: Typed


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDay(Typed):
    """The day on the customer's calendar at an instant."""

    part: Typed
    type: Type = DATE


@dataclass(frozen=True, slots=True, kw_only=True)
class FullDate(Typed):
    """The day of birth; missing when the year is unknown."""

    part: Typed
    type: Type = DATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Events(Typed):
    """did, times or total over the customer's events of one name.

    `within`: microseconds, the window is (now - within, now]; without it the lifetime counts, future events included.
    `where` sees the event being counted. `property`: what `total` sums; one that is missing counts as nothing.
    `kept`: it is the amount that the event's own lifetime count keeps.
    """

    function: Word["did", "times", "total"]
    event: str
    within: int | None = None
    where: Typed | None = None
    property: Name | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTime(Typed):
    """first or last: when the customer's first or last such event was."""

    function: Word["first", "last"]
    event: str
    type: Type = INSTANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Elapsed(Typed):
    """Since the last such event; missing when there is none."""

    event: str
    type: Type = DURATION


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualGap(Typed):
    """The median gap between the customer's own events when there are three gaps, else the shop's."""

    event: str
    type: Type = DURATION


@dataclass(frozen=True, slots=True, kw_only=True)
class InSegment(Typed):
    segment: str
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Consented(Typed):
    channel: str
    topic: str
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged(Typed):
    tag: str
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class InJourney(Typed):
    journey: str
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Messaged(Typed):
    """sent, opened or clicked: what became of the message of a send step in this enrolment. `machines`: what a machine
    opened or clicked counts, too."""

    function: Word["sent", "opened", "clicked"]
    step: str
    machines: bool = False
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon(Typed):
    """Of the code that this enrolment was last given: `code`, or when it `expires`; missing when it has none."""

    part: Word["code", "expires"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points(Typed):
    """The points a customer can spend now: those given, less what is pending, spent, expired or taken back."""

    type: Type = NUMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class Age(Typed):
    """Whole years on the customer's calendar today; 29 February counts as the 28th in common years."""

    part: Typed
    type: Type = NUMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysUntil(Typed):
    """Days from today on the customer's calendar; negative after it. Of a birthday: until the next, 0 on the day."""

    part: Typed
    type: Type = NUMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Typed):
    """any, all or count over a list. A missing list: any and all are false, count is missing."""

    function: Word["any", "all", "count"]
    list: Name
    where: Typed | None = None


def parts(typed: Typed) -> Iterator[Typed]:
    """The nodes directly below this one."""
    for spec in fields(typed):
        value = getattr(typed, spec.name)
        if isinstance(value, Typed):
            yield value
        elif isinstance(value, tuple):
            yield from (part for part in value if isinstance(part, Typed))


def walk(typed: Typed) -> Iterator[Typed]:
    """This node and everything below it."""
    yield typed
    for part in parts(typed):
        yield from walk(part)
