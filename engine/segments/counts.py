"""did, times, total and usual_gap: from the tally over a lifetime, from the event index in a window.

An event with `occurred_at` after `now` is not seen in a window; the tally has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    FromClause,
    Select,
    Subquery,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
)

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import MONEY
from engine.segments.frame import Frame, bigint
from engine.segments.stored import ADDEND, EXACT, ExactSum, Truncated, addend, read, taken
from engine.store.tables import event, rhythm, tally

FRACTION = 1_000_000
"""`total` of numbers counts to six decimals: whole parts and millionths are added apart, in any order of rows."""

Where = Callable[[Typed, Frame], ColumnElement[bool]]


def certain(typed: tree.Events, frame_joins: bool) -> bool:
    """Whether the SQL of a `did` can't be NULL."""
    return typed.where is not None or (typed.within is not None and not frame_joins)


def did(typed: tree.Events, frame: Frame, where: Where) -> ColumnElement[bool]:
    """Whether there is such an event; may be NULL for false."""
    if typed.where is None and typed.within is None:
        return frame.tallied(typed.event, "count") >= literal(1, BigInteger)
    if frame.joins is not None and typed.where is None and typed.within is not None:
        last = frame.tallied(typed.event, "last_at")
        return and_(last > frame.ago(typed.within), or_(last <= frame.at, _seen_before(typed, frame)))
    e, there = _there(typed, frame, where)
    if frame.joins is not None and frame.conjunct and _alone(typed.where):
        return frame.customer.c.id.in_(select(e.c.customer_id).where(there))
    return exists().where(e.c.customer_id == frame.customer.c.id, there).correlate_except(e)


def did_not(typed: tree.Events, frame: Frame) -> ColumnElement[bool] | None:
    """`not did(…, within=…)` by the joined tally, with bounds an index can use; None where it has no such form."""
    if frame.joins is None or typed.function != "did" or typed.where is not None or typed.within is None:
        return None
    last = frame.tallied(typed.event, "last_at")
    ahead = and_(last > frame.at, not_(_seen_before(typed, frame)))
    return or_(last <= frame.ago(typed.within), ahead, last.is_(None))


def _seen_before(typed: tree.Events, frame: Frame) -> ColumnElement[bool]:
    """Among those whose last event lies ahead of now: whether they have one in the window, too.

    The tally tells the window for everybody else. These are few, if any, so they make a list, worked out once: a
    subquery for each customer would keep PostgreSQL from using its workers.
    """
    e, there = frame.events(typed.event, typed.within)
    t = tally.alias()
    one = exists().where(e.c.customer_id == t.c.customer_id, there).correlate(t)
    few = select(t.c.customer_id).where(t.c.name == typed.event, bigint(t.c.last_at) > frame.at, one)
    return frame.customer.c.id.in_(few.correlate_except(t))


def amount(typed: tree.Events, frame: Frame, where: Where) -> ColumnElement[Any]:
    """The value of times or total: 0 when there is nothing to count, NULL (missing) for a sum of 2**53 or more."""
    joined = _joined(typed, frame, where)
    if joined is not None:
        return _or_nothing(typed, joined)
    if _kept(typed):
        t = tally.alias()
        mine = select(func.max(bigint(t.c.total), type_=BigInteger()).label("n"))
        mine = mine.where(t.c.customer_id == frame.customer.c.id, t.c.name == typed.event).correlate_except(t)
    else:
        mine = _counted(typed, frame, where, one=True)
    found = mine.subquery()
    return select(_or_nothing(typed, found.c.n)).correlate_except(found).scalar_subquery()


def beyond_nothing(typed: tree.Events, frame: Frame, where: Where) -> tuple[ColumnElement[Any], list[Any]] | None:
    """For a comparison that fails at 0: the bare column, NULL when there is nothing, and what else must hold.

    A comparison wrapped in coalesce tells a planner nothing; the bare one makes an inner join of the LEFT JOIN.
    None where there is no such form.
    """
    joined = _joined(typed, frame, where)
    if joined is None:
        return None
    return joined, [_exact(joined)] if typed.function == "total" else []


def _or_nothing(typed: tree.Events, number: ColumnElement[Any]) -> ColumnElement[Any]:
    nothing = literal(0.0, Double) if isinstance(number.type, Double) else literal(0, BigInteger)
    if typed.function == "times":
        return func.coalesce(number, nothing, type_=BigInteger())
    found = case((number.is_(None), nothing), (_exact(number), number))
    return found if isinstance(number.type, Double) else cast(found, BigInteger)


def _joined(typed: tree.Events, frame: Frame, where: Where) -> ColumnElement[Any] | None:
    """The count or sum, NULL when there is nothing to count, where the tally or a join has it."""
    if typed.function == "times" and typed.where is None and typed.within is None:
        return frame.tallied(typed.event, "count")
    if frame.joins is None or not _alone(typed.where):
        return None
    if _kept(typed):
        return frame.tallied(typed.event, "total")

    def make() -> tuple[FromClause, ColumnElement[bool]]:
        grouped = _counted(typed, frame, where, one=False).subquery()
        return grouped, grouped.c.customer_id == frame.customer.c.id

    column: ColumnElement[Any] = frame.joins.get(typed, make).c.n
    return column


def _counted(typed: tree.Events, frame: Frame, where: Where, one: bool) -> Select[Any]:
    """SELECT (customer_id, n) for everybody, or n of `one` customer."""
    e, there = _there(typed, frame, where)
    if one:
        there = and_(there, e.c.customer_id == frame.customer.c.id)
    if typed.function == "times":
        found = select(func.count().label("n")).where(there).correlate_except(e)
        return found if one else found.add_columns(e.c.customer_id).group_by(e.c.customer_id)
    assert typed.property is not None
    path, is_money = typed.property.path, typed.property.type == MONEY
    each = taken(e.c.properties, path) if is_money else read(e.c.properties, path, typed.property.type)
    amounts = _fenced(select(e.c.customer_id, each.label("each")).where(there).correlate_except(e))
    amount = addend(amounts.c.each, path) if is_money else amounts.c.each
    if is_money and not one:
        # Numbers are what it groups, and writes to disk when they are many: the documents they stand in are larger.
        amounts = _fenced(select(amounts.c.customer_id, amount.label("each")))
        amount = amounts.c.each
    sum_ = ExactSum(amount) if is_money else _millionths(amount)
    if one:
        return select(sum_.label("n")).correlate_except(amounts)
    return select(sum_.label("n"), amounts.c.customer_id).group_by(amounts.c.customer_id)


def _fenced(rows: Select[Any]) -> Subquery:
    """Keeps PostgreSQL from writing what is worked out here into each of the places that use it."""
    return rows.suffix_with("OFFSET 0", dialect="postgresql").subquery()


def _there(typed: tree.Events, frame: Frame, where: Where) -> tuple[FromClause, ColumnElement[bool]]:
    e, there = frame.events(typed.event, typed.within)
    if typed.where is not None:
        there = and_(there, where(typed.where, replace(frame, event=e, joins=None)))
    return e, there


def _kept(typed: tree.Events) -> bool:
    return typed.kept and typed.within is None and typed.where is None


def _alone(where: Typed | None) -> bool:
    """Whether it looks at the event only, so that one aggregate serves everybody."""
    return where is None or not any(
        (isinstance(part, tree.Name) and part.scope not in ("event", "item"))
        or isinstance(part, tree.LocalDay | tree.FullDate | tree.Age | tree.DaysUntil)
        for part in tree.walk(where)
    )


def _millionths(each: ColumnElement[Any]) -> ColumnElement[Any]:
    """The sum of numbers: whole parts and millionths apart."""
    whole = Truncated(each)
    half = case((each < literal(0.0, Double), literal(-0.5, Double)), else_=literal(0.5, Double))
    parts = Truncated((each - whole) * literal(float(FRACTION), Double) + half)
    reach = func.abs(each) < literal(float(ADDEND), Double)
    wholes, fractions = (func.sum(case((reach, part)), type_=Double()) for part in (whole, parts))
    return wholes + fractions / literal(float(FRACTION), Double)


def _exact(sum_: ColumnElement[Any]) -> ColumnElement[bool]:
    bound = literal(float(EXACT), Double) if isinstance(sum_.type, Double) else literal(EXACT, BigInteger)
    return and_(sum_ < bound, sum_ > -bound)


def usual_gap(name: str, frame: Frame) -> ColumnElement[Any]:
    """Microseconds, as a double: the customer's own median when there are three gaps, else the shop's, else NULL."""
    shop = select(cast(bigint(rhythm.c.gap), Double)).where(rhythm.c.name == name).correlate_except(rhythm)
    found: ColumnElement[Any] = func.coalesce(_own_gap(name, frame), shop.scalar_subquery(), type_=Double())
    return found


def _own_gap(name: str, frame: Frame) -> ColumnElement[Any]:
    if frame.joins is None or frame.joins.narrow:
        own: ColumnElement[Any] = medians(name, frame.customer.c.id).scalar_subquery()
        return own

    def make() -> tuple[FromClause, ColumnElement[bool]]:
        all_ = medians(name, None).subquery()
        return all_, all_.c.customer_id == frame.customer.c.id

    column: ColumnElement[Any] = frame.joins.get(("gap", name), make).c.gap
    return column


def medians(name: str, customer_id: ColumnElement[Any] | None, among: Any = None) -> Any:
    """SELECT the median gap of one customer, or (customer_id, gap) of all `among`; only of those with three gaps."""
    e = event.alias()
    each = None if customer_id is not None else e.c.customer_id
    before = func.lag(bigint(e.c.occurred_at), type_=BigInteger())
    apart = bigint(e.c.occurred_at) - before.over(partition_by=each, order_by=(e.c.occurred_at, e.c.id))
    found = select(e.c.customer_id, apart.label("gap")).where(e.c.name == name)
    if customer_id is not None:
        found = found.where(e.c.customer_id == customer_id)
    elif among is not None:
        found = found.where(e.c.customer_id.in_(among))
    gaps = found.correlate_except(e).subquery()
    group = None if customer_id is not None else gaps.c.customer_id
    ranked = (
        select(
            gaps.c.customer_id,
            gaps.c.gap,
            func.row_number().over(partition_by=group, order_by=gaps.c.gap).label("place"),
            func.count().over(partition_by=group).label("number"),
        )
        .where(gaps.c.gap.is_not(None))
        .subquery()
    )
    twice, number = ranked.c.place * 2, ranked.c.number
    middle = (number >= 3, twice >= number, twice <= number + 2)
    low, high = cast(func.min(ranked.c.gap), Double), cast(func.max(ranked.c.gap), Double)
    median = ((low + high) * literal(0.5, Double)).label("gap")
    if customer_id is not None:
        return select(median).where(*middle)
    return select(ranked.c.customer_id, median).where(*middle).group_by(ranked.c.customer_id)
