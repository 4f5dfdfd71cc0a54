"""Typed expressions as SQLAlchemy Core, the same on SQLite and PostgreSQL.

    condition(typed, frame)   true or false, never NULL
    where(typed, frame)       for a WHERE clause: NULL counts as false, and the planner sees plain comparisons
    value(typed, frame)       NULL is missing

What a value is in SQL: text; number double; boolean; date the day number since 1970 (integer); instant and duration
microseconds (bigint, a double once calculated with); money minor units (bigint, a double once calculated with).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import singledispatch
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Integer,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    type_coerce,
)

from engine.language import tree
from engine.language.tree import Typed
from engine.language.types import BOOLEAN, MONEY, NUMBER, Kind
from engine.language.vocabulary import TRANSACTIONAL
from engine.segments import calendar, counts
from engine.segments.doubles import bounded, double
from engine.segments.frame import Frame, Joins, bigint
from engine.segments.stored import EXACT, DayOf, entries, entry, read
from engine.store import tables
from engine.store.local_time import local_day
from engine.store.types import text_type

__all__ = ["Frame", "Joins", "condition", "value", "where"]

_COLUMNS = {"id": "external_id", "created": "created_at"}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / func.nullif(b, literal(0.0, Double)),
}
_COST = {
    tree.Events: 3,
    tree.UsualGap: 9,
    tree.Items: 3,
    tree.Points: 2,
    tree.Coupon: 1,
    **dict.fromkeys((tree.EventTime, tree.Elapsed, tree.InSegment, tree.Consented, tree.Tagged, tree.InJourney), 1),
    **dict.fromkeys((tree.Messaged, tree.LocalDay, tree.Age, tree.DaysUntil), 2),
}
_MIRRORED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def condition(typed: Typed, frame: Frame) -> ColumnElement[bool]:
    """True or false of each row, never NULL."""
    found = where(typed, frame)
    return found if certain(typed, frame.joins is not None) else case((found, true()), else_=false())


def where(typed: Typed, frame: Frame) -> ColumnElement[bool]:
    """A WHERE clause for the rows of which this is true: it is NULL or false for the others."""
    if typed.type != BOOLEAN:
        raise TypeError(f"a condition is true or false, not a {typed.type}")
    return value(typed, frame)


def certain(typed: Typed, joins: bool) -> bool:
    """Whether the SQL of a condition can't be NULL."""
    match typed:
        case tree.And() | tree.Or():
            return all(certain(part, joins) for part in typed.parts)
        case tree.Events():
            return counts.certain(typed, joins)
        case tree.Name() | tree.Compare() | tree.OneOf():
            return False
    return True


@singledispatch
def value(typed: Typed, frame: Frame) -> ColumnElement[Any]:
    """The value for each row; NULL is missing."""
    raise NotImplementedError(type(typed))


@value.register
def _literal(typed: tree.Literal, frame: Frame) -> ColumnElement[Any]:
    v = typed.value
    if isinstance(v, bool):
        return true() if v else false()
    if isinstance(v, str):
        return literal(v, text_type())
    if isinstance(v, date):
        return literal((v - date(1970, 1, 1)).days, Integer)
    if isinstance(v, int) or (typed.type == MONEY and v.is_integer() and abs(v) <= EXACT):
        return literal(int(v), BigInteger)
    return literal(v, Double)


@value.register
def _now(typed: tree.Now, frame: Frame) -> ColumnElement[Any]:
    return frame.at


@value.register
def _name(typed: tree.Name, frame: Frame) -> ColumnElement[Any]:
    if typed.scope == "customer":
        key = typed.path[0]
        if key == "birthday":
            raise TypeError("a birthday has no value of its own: it is a full date, an age or days until")
        column = frame.customer.c.get(_COLUMNS.get(key, key))
        if column is not None and key not in ("attributes", "bucket", "created_at", "updated_at"):
            return bigint(column) if typed.type.kind is Kind.INSTANT else column
    return read(document(typed, frame), typed.path, typed.type)


def document(typed: tree.Name, frame: Frame) -> ColumnElement[Any]:
    """The JSON document a name is read from."""
    match typed.scope:
        case "customer":
            return frame.customer.c.attributes
        case "result":
            return _result(typed.step, frame)
        case "saved":
            return _kept(typed.step, frame)
        case "item":
            if frame.item is None:
                raise LookupError("no list is being looked at, so there is no item")
            return frame.item
    source = frame.entry if typed.scope == "entry" else frame.event
    if source is None:
        raise LookupError(f"this statement has no {typed.scope} event")
    found: ColumnElement[Any] = source.c.properties
    return found


def _result(step: str | None, frame: Frame) -> ColumnElement[Any]:
    """The properties of the event that the latest passing of a wait_for ended with."""
    d, e = tables.decision.alias(), tables.event.alias()
    found = (
        select(e.c.properties)
        .select_from(d.outerjoin(e, e.c.id == d.c.event_id))
        .where(frame.enrolled(d.c.enrolment_id), d.c.step == step, d.c.kind == "moves")
        .order_by(d.c.visit.desc())
        .limit(1)
    )
    return found.correlate_except(d, e).scalar_subquery()


def _kept(step: str | None, frame: Frame) -> ColumnElement[Any]:
    """What the latest passing of a step has kept: it stands with the decision."""
    d = tables.decision.alias()
    found = (
        select(d.c.detail)
        .where(frame.enrolled(d.c.enrolment_id), d.c.step == step, d.c.kind == "moves")
        .order_by(d.c.visit.desc())
        .limit(1)
    )
    return found.correlate_except(d).scalar_subquery()


# Logic


@value.register
def _not(typed: tree.Not, frame: Frame) -> ColumnElement[Any]:
    if isinstance(typed.part, tree.Events):
        never = counts.did_not(typed.part, frame)
        if never is not None:
            return never
    part = where(typed.part, frame.aside)
    # CASE and not IS NOT TRUE: SQLite works out every part of an operand, and only jumps within a condition.
    return not_(part) if certain(typed.part, frame.joins is not None) else case((part, false()), else_=true())


@value.register
def _and(typed: tree.And, frame: Frame) -> ColumnElement[Any]:
    return and_(*(where(part, frame) for part in _cheapest_first(typed.parts)))


@value.register
def _or(typed: tree.Or, frame: Frame) -> ColumnElement[Any]:
    return or_(*(where(part, frame.aside) for part in _cheapest_first(typed.parts)))


def _cheapest_first(parts: tuple[Typed, ...]) -> list[Typed]:
    """What the customer's own row tells before what is looked up: SQLite judges in the order that is written."""
    return sorted(parts, key=lambda part: sum(_COST.get(type(node), 0) for node in tree.walk(part)))


@value.register
def _is_set(typed: tree.IsSet, frame: Frame) -> ColumnElement[Any]:
    part = typed.part
    if part.type.kind is Kind.BIRTHDAY:
        c = frame.customer.c
        return DayOf(literal(2000, Integer), c.birth_month, c.birth_day).is_not(null())
    if part.type.kind in (Kind.LIST, Kind.OBJECT):
        return value(part, frame)
    if part.type == BOOLEAN and not isinstance(part, tree.Name):
        return true()
    return value(part, frame).is_not(null())


@value.register
def _compare(typed: tree.Compare, frame: Frame) -> ColumnElement[Any]:
    left, right, op = typed.left, typed.right, typed.op
    if isinstance(left, tree.Literal):
        left, right, op = right, left, _MIRRORED[op]  # type: ignore[assignment]
    if isinstance(left, tree.Elapsed) and isinstance(right, tree.Literal) and isinstance(right.value, int):
        # `elapsed > 90d` is `last < now - 90d`: a bound that an index on the last time can use.
        return _apply(_MIRRORED[op], frame.tallied(left.event, "last_at"), frame.ago(right.value))
    if isinstance(left, tree.Events) and isinstance(right, tree.Literal) and not isinstance(right.value, str | date):
        bare = None if _OPERATORS[op](0, right.value) else counts.beyond_nothing(left, frame, where)
        if bare is not None:
            return and_(_apply(op, *_alike(bare[0], _rounded(right))), *bare[1])
    return _apply(op, *_alike(_side(left, frame), _rounded(right) if _is_number(right) else _side(right, frame)))


def _apply(op: str, left: ColumnElement[Any], right: ColumnElement[Any]) -> ColumnElement[Any]:
    found: ColumnElement[Any] = _OPERATORS[op](left, right)
    return found


def _side(typed: Typed, frame: Frame) -> ColumnElement[Any]:
    return (
        condition(typed, frame.aside)
        if typed.type == BOOLEAN and not isinstance(typed, tree.Name)
        else value(typed, frame)
    )


def _is_number(typed: Typed) -> bool:
    return isinstance(typed, tree.Literal) and typed.type == NUMBER


def _rounded(typed: tree.Literal | Typed) -> ColumnElement[Any]:
    """A number literal, as an integer where it is one: a count is compared as it is stored."""
    assert isinstance(typed, tree.Literal)
    v = typed.value
    if isinstance(v, float) and v.is_integer() and abs(v) <= EXACT:
        return literal(int(v), BigInteger)
    return value(typed, None)  # type: ignore[arg-type]  # a literal reads nothing of the frame


def _alike(left: ColumnElement[Any], right: ColumnElement[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Both as doubles when one is: PostgreSQL and SQLite compare a bigint with a double differently."""
    if isinstance(left.type, Double) != isinstance(right.type, Double):
        return double(left), double(right)
    return left, right


@value.register
def _one_of(typed: tree.OneOf, frame: Frame) -> ColumnElement[Any]:
    part = _side(typed.part, frame)
    if all(isinstance(option, tree.Literal) for option in typed.options) and not isinstance(part.type, Boolean):
        literals = [_rounded(option) if _is_number(option) else value(option, frame) for option in typed.options]
        if not any(isinstance(option.type, Double) for option in literals) and not isinstance(part.type, Double):
            return part.in_(literals)
    return or_(*(_apply("==", *_alike(part, _side(option, frame))) for option in typed.options))


# Arithmetic


@value.register
def _arithmetic(typed: tree.Arithmetic, frame: Frame) -> ColumnElement[Any]:
    left, right = typed.left, typed.right
    if typed.type.kind is Kind.DATE:
        assert isinstance(right, tree.Literal) and isinstance(right.value, int)
        days = literal(right.value // calendar.DAY, Integer)
        return _apply(typed.op, value(left, frame), days)
    if left.type.kind is Kind.DATE:
        days_between = double(value(left, frame)) - double(value(right, frame))
        return days_between * literal(float(calendar.DAY), Double)
    a, b = double(value(left, frame)), double(value(right, frame))
    if typed.op in "*/":
        a, b = bounded(left, a), bounded(right, b)
    return _apply(typed.op, a, b)


@value.register
def _negative(typed: tree.Negative, frame: Frame) -> ColumnElement[Any]:
    return -double(value(typed.part, frame))


# Time


@value.register
def _local_day(typed: tree.LocalDay, frame: Frame) -> ColumnElement[Any]:
    # The moment stands once, in a subquery of its own: the look for its zone's offset repeats it, deep inside.
    moment = select(value(typed.part, frame).label("at")).correlate_except().subquery()
    at = calendar.Floor(moment.c.at) if isinstance(moment.c.at.type, Double) else moment.c.at
    day = local_day(at, frame.customer.c.timezone, frame.zone)
    return select(day).correlate_except(moment).scalar_subquery()


@value.register
def _full_date(typed: tree.FullDate, frame: Frame) -> ColumnElement[Any]:
    c = frame.customer.c
    return DayOf(c.birth_year, c.birth_month, c.birth_day)


def _today(frame: Frame) -> ColumnElement[Any]:
    return local_day(frame.now, frame.customer.c.timezone, frame.zone)


@value.register
def _age(typed: tree.Age, frame: Frame) -> ColumnElement[Any]:
    return double(calendar.age(value(typed.part, frame), _today(frame)))


@value.register
def _days_until(typed: tree.DaysUntil, frame: Frame) -> ColumnElement[Any]:
    if typed.part.type.kind is Kind.BIRTHDAY:
        c = frame.customer.c
        return double(calendar.until_anniversary(c.birth_month, c.birth_day, _today(frame)))
    return double(value(typed.part, frame) - _today(frame))


@value.register
def _event_time(typed: tree.EventTime, frame: Frame) -> ColumnElement[Any]:
    return frame.tallied(typed.event, f"{typed.function}_at")


@value.register
def _elapsed(typed: tree.Elapsed, frame: Frame) -> ColumnElement[Any]:
    return frame.at - frame.tallied(typed.event, "last_at")


@value.register
def _usual_gap(typed: tree.UsualGap, frame: Frame) -> ColumnElement[Any]:
    return counts.usual_gap(typed.event, frame)


# Facts


@value.register
def _events(typed: tree.Events, frame: Frame) -> ColumnElement[Any]:
    return counts.did(typed, frame, where) if typed.function == "did" else counts.amount(typed, frame, where)


@value.register
def _in_segment(typed: tree.InSegment, frame: Frame) -> ColumnElement[Any]:
    m = tables.segment_member.alias()
    there = (m.c.segment == typed.segment, m.c.left_at.is_(None))
    if frame.joins is not None and frame.conjunct:
        # The list can lead the plan. Where it can't, a NOT IN of many is a disaster on PostgreSQL.
        return frame.customer.c.id.in_(select(m.c.customer_id).where(*there))
    return exists().where(m.c.customer_id == frame.customer.c.id, *there).correlate_except(m)


@value.register
def _consented(typed: tree.Consented, frame: Frame) -> ColumnElement[Any]:
    if typed.topic == TRANSACTIONAL:
        return true()
    t = tables.consent.alias()
    here = (t.c.customer_id == frame.customer.c.id, t.c.channel == typed.channel, t.c.topic == typed.topic)
    return exists().where(*here, t.c.state == "on").correlate_except(t)


@value.register
def _tagged(typed: tree.Tagged, frame: Frame) -> ColumnElement[Any]:
    t = tables.customer_tag.alias()
    return exists().where(t.c.customer_id == frame.customer.c.id, t.c.tag == typed.tag).correlate_except(t)


@value.register
def _in_journey(typed: tree.InJourney, frame: Frame) -> ColumnElement[Any]:
    t = tables.enrolment.alias()
    here = (t.c.customer_id == frame.customer.c.id, t.c.journey == typed.journey)
    return exists().where(*here, t.c.state != "ended").correlate_except(t)


@value.register
def _messaged(typed: tree.Messaged, frame: Frame) -> ColumnElement[Any]:
    m, e = tables.message.alias(), tables.message_event.alias()
    mine = (frame.enrolled(m.c.enrolment_id), m.c.step == typed.step)
    if typed.function == "sent":
        return exists().where(*mine, m.c.state == "accepted").correlate_except(m)
    kinds = [typed.function, *([f"machine_{typed.function}"] if typed.machines else [])]
    return exists().where(*mine, e.c.message_id == m.c.id, e.c.kind.in_(kinds)).correlate_except(m, e)


@value.register
def _coupon(typed: tree.Coupon, frame: Frame) -> ColumnElement[Any]:
    if frame.enrolment is None:
        raise LookupError("this statement has no enrolment")
    c = tables.coupon.alias()
    # A code that went back to its pool may be another's by now.
    mine = (c.c.id == frame.enrolment.c.coupon_id, c.c.customer_id == frame.customer.c.id)
    column = c.c.code if typed.part == "code" else bigint(c.c.expires_at)
    return select(column).where(*mine).correlate_except(c).scalar_subquery()


@value.register
def _points(typed: tree.Points, frame: Frame) -> ColumnElement[Any]:
    lot = tables.points_lot.alias()
    mine = (lot.c.customer_id == frame.customer.c.id, lot.c.remaining > 0)
    now = (bigint(lot.c.active_at) <= frame.at, or_(lot.c.expires_at.is_(None), bigint(lot.c.expires_at) > frame.at))
    total = select(func.sum(lot.c.remaining)).where(*mine, *now).correlate_except(lot).scalar_subquery()
    return double(func.coalesce(total, 0))


@value.register
def _items(typed: tree.Items, frame: Frame) -> ColumnElement[Any]:
    source = document(typed.list, frame)
    rows = entries(source, typed.list.path)
    inside = replace(frame, item=entry(rows))
    # A list is there in every row that `any` finds, so only the others ask for it.
    is_list = read(source, typed.list.path, typed.list.type)
    match typed.function, typed.where:
        case "any", tree.Typed() as wanted:
            return exists().select_from(rows).where(where(wanted, inside)).correlate_except(rows)
        case "all", tree.Typed() as wanted:
            other = exists().select_from(rows).where(not_(condition(wanted, inside))).correlate_except(rows)
            return and_(is_list, not_(other))
    counted = select(func.count()).select_from(rows)
    if typed.where is not None:
        counted = counted.where(where(typed.where, inside))
    return case((is_list, type_coerce(counted.correlate_except(rows).scalar_subquery(), BigInteger)))
