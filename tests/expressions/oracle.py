"""What an expression means, said a second time in plain Python, one customer after the other. None is missing."""

from __future__ import annotations

import math
import re
from calendar import isleap
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import singledispatch
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from engine.language import tree
from engine.language.types import Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


@dataclass
class Happening:
    """An event: microseconds, name, properties as they are stored."""

    name: str
    at: int
    properties: dict[str, Any]


@dataclass
class Person:
    """A customer and everything that is known of them."""

    columns: dict[str, Any]
    attributes: dict[str, Any]
    events: list[Happening]
    birth: tuple[int | None, int | None, int | None] = (None, None, None)  # month, day, year
    created: int = 0
    consents: set[tuple[str, str]] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    journeys: set[str] = field(default_factory=set)
    messages: set[tuple[str, str]] = field(default_factory=set)  # (what became of it, step)
    results: dict[str, Happening | None] = field(default_factory=dict)
    entry: Happening | None = None
    judged: Happening | None = None


@dataclass(frozen=True)
class World:
    """One person at one moment; `event` and `item` change while events and entries are looked at."""

    person: Person
    now: int
    zone: str
    rhythm: dict[str, int]
    event: Happening | None = None
    item: Any = None


def stored(document: Any, path: tuple[str, ...], type_: Any) -> Any:
    """A value of a JSON document, None unless it has the form of its type."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    v = document
    match type_.kind:
        case Kind.TEXT:
            return v if isinstance(v, str) else None
        case Kind.BOOLEAN:
            return v if isinstance(v, bool) else None
        case Kind.LIST:
            return v if isinstance(v, list) else None
        case Kind.OBJECT:
            return v if isinstance(v, dict) else None
        case Kind.DATE:
            return _day(v) if isinstance(v, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", v) else None
    if isinstance(v, bool) or not isinstance(v, int | float):
        return None
    if type_.kind is Kind.NUMBER:
        return float(v) if v == 0 or 1e-100 <= abs(v) <= 1e100 else None
    return int(Decimal(repr(v)).to_integral_value(ROUND_HALF_UP)) if abs(v) <= 2**53 else None


def _day(written: str) -> int | None:
    try:
        return (date.fromisoformat(written) - date(1970, 1, 1)).days
    except ValueError:
        return None


def _date(days: int) -> date | None:
    return date(1970, 1, 1) + timedelta(days=days) if -719162 <= days <= 2932896 else None


@singledispatch
def evaluate(typed: Any, w: World) -> Any:
    raise NotImplementedError(type(typed))


def holds(typed: Any, w: World) -> bool:
    return evaluate(typed, w) is True


@evaluate.register
def _(t: tree.Literal, w: World) -> Any:
    return (t.value - date(1970, 1, 1)).days if isinstance(t.value, date) else t.value


@evaluate.register
def _(t: tree.Now, w: World) -> Any:
    return w.now


@evaluate.register
def _(t: tree.Name, w: World) -> Any:
    match t.scope:
        case "customer":
            if t.path == ("created",):
                return w.person.created
            if t.path == ("birthday",):
                month, day, _ = w.person.birth
                return (month, day) if month and day and _day(f"2000-{month:02}-{day:02}") is not None else None
            if t.path[0] in w.person.columns:
                return w.person.columns[t.path[0]]
            return stored(w.person.attributes, t.path, t.type)
        case "item":
            return stored(w.item, t.path, t.type)
        case "result":
            source = w.person.results.get(t.step or "")
        case "entry":
            source = w.person.entry
        case _:
            source = w.event
    return stored(source.properties, t.path, t.type) if source else None


@evaluate.register
def _(t: tree.Not, w: World) -> Any:
    return not holds(t.part, w)


@evaluate.register
def _(t: tree.And, w: World) -> Any:
    return all(holds(part, w) for part in t.parts)


@evaluate.register
def _(t: tree.Or, w: World) -> Any:
    return any(holds(part, w) for part in t.parts)


def _compare(op: str, a: Any, b: Any) -> bool:
    if a is None or b is None:
        return False
    if isinstance(a, float) or isinstance(b, float):
        a, b = float(a), float(b)
    return bool({"==": a == b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op])


@evaluate.register
def _(t: tree.Compare, w: World) -> Any:
    return _compare(t.op, evaluate(t.left, w), evaluate(t.right, w))


@evaluate.register
def _(t: tree.OneOf, w: World) -> Any:
    part = evaluate(t.part, w)
    return any(_compare("==", part, evaluate(option, w)) for option in t.options)


@evaluate.register
def _(t: tree.IsSet, w: World) -> Any:
    return evaluate(t.part, w) is not None


@evaluate.register
def _(t: tree.Arithmetic, w: World) -> Any:
    a, b = evaluate(t.left, w), evaluate(t.right, w)
    if a is None or b is None:
        return None
    if t.type.kind is Kind.DATE:
        return a + b // DAY if t.op == "+" else a - b // DAY
    a, b = float(a), float(b)
    if t.left.type.kind is Kind.DATE:
        return (a - b) * DAY
    if t.op in "*/" and any(n and not 1e-150 <= abs(n) <= 1e150 for n in (a, b)):
        return None
    if t.op == "/":
        return a / b if b else None
    return {"+": a + b, "-": a - b, "*": a * b}[t.op]


@evaluate.register
def _(t: tree.Negative, w: World) -> Any:
    part = evaluate(t.part, w)
    return None if part is None else -float(part)


def _local_day(at: float, w: World) -> int | None:
    if abs(at) > 2**53:
        return None
    at = math.floor(at)
    known = w.person.columns["timezone"]
    zone = ZoneInfo(known if known in available_timezones() else w.zone)
    # Offsets are known from 2000 to 2060; the nearest holds outside.
    inside = min(
        max(EPOCH + timedelta(microseconds=at), datetime(2000, 1, 2, tzinfo=UTC)), datetime(2059, 12, 30, tzinfo=UTC)
    )
    offset = inside.astimezone(zone).utcoffset()
    assert offset is not None
    return (at + offset // timedelta(microseconds=1)) // DAY


@evaluate.register
def _(t: tree.LocalDay, w: World) -> Any:
    at = evaluate(t.part, w)
    return None if at is None else _local_day(at, w)


@evaluate.register
def _(t: tree.FullDate, w: World) -> Any:
    month, day, year = w.person.birth
    return _day(f"{year:04}-{month:02}-{day:02}") if month and day and year and year > 0 else None


def _anniversary(month: int, day: int, year: int) -> date:
    return date(year, 2, 28) if (month, day) == (2, 29) and not isleap(year) else date(year, month, day)


@evaluate.register
def _(t: tree.Age, w: World) -> Any:
    days = evaluate(t.part, w)
    born, today = None if days is None else _date(days), _date(_local_day(w.now, w) or 0)
    if born is None or today is None:
        return None
    return float(today.year - born.year - (today < _anniversary(born.month, born.day, today.year)))


@evaluate.register
def _(t: tree.DaysUntil, w: World) -> Any:
    part, today = evaluate(t.part, w), _local_day(w.now, w)
    if part is None or today is None:
        return None
    if not isinstance(part, tuple):
        return float(part - today)
    day = _date(today)
    assert day is not None
    month, of_month = part
    nearest = next(d for y in (0, 1) if (d := _anniversary(month, of_month, day.year + y)) >= day)
    return float((nearest - day).days)


@evaluate.register
def _(t: tree.Events, w: World) -> Any:
    found = [e for e in w.person.events if e.name == t.event]
    if t.within is not None:
        found = [e for e in found if w.now - t.within < e.at <= w.now]
    if t.where is not None:
        found = [e for e in found if holds(t.where, World(w.person, w.now, w.zone, w.rhythm, e, w.item))]
    if t.function == "did":
        return bool(found)
    if t.function == "times":
        return len(found)
    assert t.property is not None
    amounts = [stored(e.properties, t.property.path, t.property.type) for e in found]
    if t.property.type.kind is Kind.NUMBER:
        whole, millionths = 0.0, 0.0
        for n in amounts:
            if n is not None and abs(n) < 2**43:
                whole += math.trunc(n)
                millionths += math.trunc((n - math.trunc(n)) * 1_000_000.0 + (-0.5 if n < 0 else 0.5))
        return whole + millionths / 1_000_000.0
    if t.kept and t.within is None and t.where is None:
        # A lifetime's amounts are added up as events come in, and a fraction of a minor unit is no amount then.
        read = [e.properties.get(t.property.path[0]) for e in found]
        amounts = [n for n, sent in zip(amounts, read, strict=True) if n == sent]
    total = sum(n for n in amounts if n is not None and abs(n) < 2**43)
    return total if abs(total) < 2**53 else None


@evaluate.register
def _(t: tree.EventTime, w: World) -> Any:
    times = [e.at for e in w.person.events if e.name == t.event]
    return (min if t.function == "first" else max)(times, default=None)


@evaluate.register
def _(t: tree.Elapsed, w: World) -> Any:
    times = [e.at for e in w.person.events if e.name == t.event]
    return w.now - max(times) if times else None


@evaluate.register
def _(t: tree.UsualGap, w: World) -> Any:
    times = sorted(e.at for e in w.person.events if e.name == t.event)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    shop = w.rhythm.get(t.event)
    return float(median(gaps)) if len(gaps) >= 3 else None if shop is None else float(shop)


@evaluate.register
def _(t: tree.InSegment, w: World) -> Any:
    return t.segment in w.person.segments


@evaluate.register
def _(t: tree.Consented, w: World) -> Any:
    return t.topic == "transactional" or (t.channel, t.topic) in w.person.consents


@evaluate.register
def _(t: tree.Tagged, w: World) -> Any:
    return t.tag in w.person.tags


@evaluate.register
def _(t: tree.InJourney, w: World) -> Any:
    return t.journey in w.person.journeys


@evaluate.register
def _(t: tree.Messaged, w: World) -> Any:
    by_machines = t.machines and (f"machine_{t.function}", t.step) in w.person.messages
    return (t.function, t.step) in w.person.messages or by_machines


@evaluate.register
def _(t: tree.Items, w: World) -> Any:
    entries = evaluate(t.list, w)
    if entries is None:
        return None if t.function == "count" else False
    verdicts = [
        t.where is None or holds(t.where, World(w.person, w.now, w.zone, w.rhythm, w.event, entry)) for entry in entries
    ]
    return sum(verdicts) if t.function == "count" else any(verdicts) if t.function == "any" else all(verdicts)
