"""Whom the passing of time can turn: who may have crossed a time-dependent line of a condition between two looks.

    an event enters or leaves a window     events in (then, now] and in (then - D, now - D]
    a stored moment comes or is D ago      those whose moment lies there; for first, last and elapsed: events there
    a calendar day begins                  customers in the time zones where it has begun
    points begin or cease to be good        the customers of lots whose moment lies there
    somebody joins or leaves a segment     those who did in this look, which brings all segments up to date

What fits none of these (a multiple of usual_gap) makes the whole base be judged, on a slower beat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    or_,
    select,
)

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import Kind
from engine.segments.frame import bigint
from engine.segments.moments import stored_moment
from engine.store.local_time import loaded_zones, local_day
from engine.store.tables import customer, event, points_lot
from engine.store.types import id_type, micros

moved = Table(
    "segment_moved",
    MetaData(),
    Column("segment", Text, primary_key=True),
    Column("customer_id", id_type(), primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
"""Who has joined or left which segment in this look. To find them among a million members would take another index."""


@dataclass(frozen=True)
class Window:
    """Events of this name, so many microseconds before the look."""

    event: str
    ago: int


@dataclass(frozen=True)
class Moment:
    """A stored moment of the customer, so many microseconds before the look."""

    name: tree.Name
    ago: int


@dataclass(frozen=True)
class Day:
    """The day on the customer's calendar."""


@dataclass(frozen=True)
class Member:
    """Membership of a segment."""

    segment: str


@dataclass(frozen=True)
class Lots:
    """Points that can be spent from now on, or no longer."""


@dataclass(frozen=True)
class Anybody:
    """Nothing tells whom time turns; `why` says what."""

    why: str


Turning = Window | Moment | Day | Member | Lots | Anybody


def turnings(typed: Typed) -> Iterator[Turning]:
    """Every way in which time can turn this condition."""
    match typed:
        case tree.Events():
            if typed.within is not None:
                yield Window(typed.event, 0)
                yield Window(typed.event, typed.within)
            if typed.where is not None and any(True for _ in turnings(typed.where)):
                yield Anybody("a condition on events that looks at the time")
            return
        case tree.Age() | tree.DaysUntil():
            yield Day()
        case tree.LocalDay(part=tree.Now()):
            yield Day()
            return
        case tree.Compare() if any(isinstance(part, tree.UsualGap) for part in tree.walk(typed)):
            yield Anybody("usual_gap")
            return
        case tree.Compare():
            crossing = _crossing(typed)
            if crossing is not None:
                yield from crossing
                return
        case tree.InSegment():
            yield Member(typed.segment)
        case tree.Points():
            yield Lots()
        case tree.Now() | tree.Elapsed():
            yield Anybody("a moment that is calculated with")
        case tree.UsualGap():
            yield Anybody("usual_gap")
        case tree.InJourney():
            yield Anybody("in_journey")
    for part in tree.parts(typed):
        yield from turnings(part)


def _crossing(typed: tree.Compare) -> list[Turning] | None:
    """The turnings of a comparison between now and one stored moment, plain lengths added; None if it is no such."""
    left, right = _linear(typed.left), _linear(typed.right)
    if left is None or right is None or typed.left.type.kind not in (Kind.INSTANT, Kind.DURATION):
        return None
    now, fixed = left[0] - right[0], left[2] - right[2]
    leaves = [*((leaf, sign) for leaf, sign in left[1]), *((leaf, -sign) for leaf, sign in right[1])]
    if not now:
        return [] if all(not isinstance(leaf, tree.Elapsed) for leaf, _ in leaves) else None
    if len(leaves) != 1 or abs(now) != 1 or leaves[0][1] != -now:
        return None
    # now - moment + fixed/now crosses 0, so the moment lies fixed/now microseconds after the look.
    leaf, ago = leaves[0][0], -fixed // now
    if isinstance(leaf, tree.EventTime):
        return [Window(leaf.event, ago)]
    return [Moment(leaf, ago)] if isinstance(leaf, tree.Name) else None


_Linear = tuple[int, list[tuple[Typed, int]], int]


def _linear(typed: Typed) -> _Linear | None:
    """How often now, which moments with which sign, and how many microseconds: sums of these only."""
    match typed:
        case tree.Now():
            return 1, [], 0
        case tree.Elapsed():
            return 1, [(tree.EventTime(function="last", event=typed.event), -1)], 0
        case tree.EventTime():
            return 0, [(typed, 1)], 0
        case tree.Name() if typed.type.kind is Kind.INSTANT and typed.scope == "customer":
            return 0, [(typed, 1)], 0
        case tree.Literal() if typed.type.kind is Kind.DURATION and isinstance(typed.value, int):
            return 0, [], typed.value
        case tree.Negative():
            part = _linear(typed.part)
            return part and (-part[0], [(leaf, -sign) for leaf, sign in part[1]], -part[2])
        case tree.Arithmetic(op="+" | "-") if typed.left.type.kind is not Kind.DATE:
            left, right = _linear(typed.left), _linear(typed.right)
            if left is None or right is None:
                return None
            s = 1 if typed.op == "+" else -1
            return (
                left[0] + s * right[0],
                left[1] + [(leaf, s * sign) for leaf, sign in right[1]],
                left[2] + s * right[2],
            )
    return None


def who(turning: Turning, dialect: Dialect) -> Select[Any] | None:
    """SELECT the ids of the customers it may have turned between two looks, whose moments are the parameters of
    `looks`; None when a calendar tells (`day_begun`).

    Anybody is not a question of this kind: the caller judges the whole base.
    """
    match turning:
        case Window():
            between = _between(bigint(event.c.occurred_at), turning.ago)
            return select(event.c.customer_id).where(event.c.name == turning.event, *between)
        case Moment():
            return select(customer.c.id).where(*_between(stored_moment(turning.name, dialect), turning.ago))
        case Lots():
            moments = (points_lot.c.active_at, points_lot.c.expires_at)
            began, ended = (and_(*_between(bigint(at), 0)) for at in moments)
            return select(points_lot.c.customer_id).where(or_(began, ended))
        case Member():
            return select(moved.c.customer_id).where(moved.c.segment == turning.segment)
        case Day():
            return None
    raise TypeError(turning)


def looks(turnings: Iterable[Turning], then: datetime, now: datetime) -> dict[str, int]:
    """The parameters of `who`: each end of what turns, in microseconds."""
    agos = {turning.ago for turning in turnings if isinstance(turning, Window | Moment)} | {0}
    return {f"{end}_{ago}": micros(at) - ago for ago in agos for end, at in (("then", then), ("now", now))}


def _between(at: ColumnElement[Any], ago: int) -> tuple[ColumnElement[bool], ...]:
    # Both ends belong to it: > turns one microsecond after >=.
    return at >= bindparam(f"then_{ago}", type_=BigInteger), at <= bindparam(f"now_{ago}", type_=BigInteger)


def day_begun(then: datetime, now: datetime, zone: str, connection: Connection) -> Select[Any] | None:
    """Customers in the zones whose local day differs between the two looks."""
    zones = loaded_zones(connection)
    days = [(local_day(then, name, zone), local_day(now, name, zone)) for name in zones]
    changed: list[str] = []
    for start in range(0, len(zones), 100):
        row = connection.execute(select(*(before != after for before, after in days[start : start + 100]))).one()
        changed += [name for name, differs in zip(zones[start : start + 100], row, strict=True) if differs]
    if not changed:
        return None
    here: ColumnElement[bool] = customer.c.timezone.in_(changed)
    if zone in changed:
        here = or_(here, customer.c.timezone.is_(None), customer.c.timezone.not_in(zones))
    return select(customer.c.id).where(here)
