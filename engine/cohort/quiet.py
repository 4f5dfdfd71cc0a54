"""Quiet hours: until when a message is held, for each customer on their own clock.

They are over when the wall clock first shows their end. Where a change of the clocks skips that time, that is as long
after the jump as it would have been; where it comes twice, the first is meant, and who is inside the quiet hours again
after the clock was put back waits for the second. So a message that is released is asked once more.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, literal, or_

from engine.cohort.scope import Scope
from engine.language.gate import QuietHours, since_midnight
from engine.store.local_time import DAY, day_of, local_micros, time_of_day, utc_micros
from engine.store.tables import customer
from engine.store.types import micros, span


def quiet_until(scope: Scope) -> ColumnElement[Any] | None:
    """`held_until` of a journey's messages at the scope's moment. None where it is never quiet for them."""
    program = scope.program
    if program.quiet_hours is None:
        return None
    return held_until(program.quiet_hours, scope.now, program.project.brand.timezone)


def held_until(quiet: QuietHours, now: datetime, brand_zone: str) -> ColumnElement[Any]:
    """When what can't be sent to a customer in scope now may be, in microseconds; NULL where it isn't quiet.

    Spread over `quiet.spread` by the customer's bucket: the same customer's messages come together."""
    local = local_micros(now, customer.c.timezone, brand_zone)
    clock, today = time_of_day(local), day_of(local) * _number(DAY)
    start, end = _clock(quiet.from_), _clock(quiet.to)
    if start < end:
        inside, ends = and_(clock >= start, clock < end), today + _number(end)
    else:
        inside = or_(clock >= start, clock < end)
        ends = case((clock >= start, today + _number(DAY + end)), else_=today + _number(end))
    meant = utc_micros(ends, customer.c.timezone, brand_zone)
    at = _number(micros(now))
    spread = max(span(quiet.spread) // 1_000_000, 1)
    jitter = customer.c.bucket % literal(spread, BigInteger) * _number(1_000_000)
    # A moment gone by: the clock was put back since, and from here on it runs straight to the end.
    return case((inside, case((meant > at, meant), else_=at + ends - local) + jitter))


def _clock(clock: time) -> int:
    return span(since_midnight(clock))


def _number(value: int) -> ColumnElement[int]:
    return literal(value, BigInteger)
