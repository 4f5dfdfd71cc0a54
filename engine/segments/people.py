"""The customers for whom a condition is true, as one SELECT: over the whole base, or of a few."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, select

from engine.language import tree
from engine.language.tree import Typed
from engine.segments.frame import Frame, Joins
from engine.segments.sql import condition, where
from engine.store.tables import customer


def everybody(typed: Typed, now: datetime, zone: str) -> Select[Any]:
    """SELECT the ids of all customers for whom it is true, by joins and aggregates over the whole base."""
    joins = Joins(narrow=_narrowed(typed))
    wanted = where(typed, Frame(customer=customer, now=now, zone=zone, joins=joins))
    return select(customer.c.id).select_from(joins.onto(customer)).where(wanted)


def _narrowed(typed: Typed) -> bool:
    """Whether a part of an `and` decides without the usual gap: the gap is then asked of those only whom that part
    leaves, and both databases look at the cheap parts first."""
    if not isinstance(typed, tree.And):
        return False
    return any(not any(isinstance(node, tree.UsualGap) for node in tree.walk(part)) for part in typed.parts)


def verdicts(typed: Typed, zone: str, among: ColumnElement[bool]) -> Select[Any]:
    """SELECT the ids of some customers and whether it is true of each, by a seek for each fact. The moment is the
    parameter `at` in microseconds, so that one statement serves every look."""
    at = bindparam("at", type_=BigInteger)
    return select(customer.c.id, condition(typed, Frame(customer=customer, now=at, zone=zone))).where(among)
