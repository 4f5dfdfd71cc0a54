"""The next moment at which something can happen by time alone, for a virtual clock over few customers.

An engine that looks every second finds each of these moments within that second; a virtual clock jumps from one to
the next and misses none: ends of waits, messages due again, fires of dates and schedules, ends of a grace, new
periods of a limit, and joins and leaves of segments. The latter are found by asking the segment's own condition, in
one read, how it will stand at every moment at which time can turn it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Connection, and_, column, func, or_, select, true, values

from engine.cohort.fires import Beginning, Look, Timed
from engine.cohort.program import Program
from engine.language.tree import Typed
from engine.language.vocabulary import Names
from engine.runtime.runtime import Runtime
from engine.segments.definition import Segment
from engine.segments.frame import Frame, bigint
from engine.segments.membership import BEAT, segments_of, whole_because
from engine.segments.sql import condition
from engine.segments.stored import read
from engine.segments.turning import Anybody, Day, Member, Moment, Window, turnings
from engine.store.tables import (
    IN_JOURNEY,
    UNSETTLED,
    candidate,
    coupon,
    customer,
    enrolment,
    event,
    message,
    points_lot,
    segment_member,
    segment_state,
)
from engine.store.types import MICROSECOND, micros, moment
from engine.store.zones import first_instant, wall, zone_or

ASKED = 250
"""Moments asked for in one read."""

SIEVED = timedelta(days=30)
"""Fires of so long are asked for in one read whether they name anybody, before each is asked for by itself."""

FAR = timedelta(days=400)
"""How far ahead turns of segments are looked for when nothing nearer is known."""


def next_moment(runtime: Runtime, before: datetime | None = None) -> datetime | None:
    """The first moment after now, and before `before`, at which the engine must look. None: there is none."""
    now = runtime.clock.now()
    programs = [program for program in runtime.programs().values() if program.takes_entries]
    segments = {segment.name: segment for segment in segments_of(runtime.content)}
    zone = runtime.content.project.brand.timezone
    with runtime.database.read() as connection:
        known = [before, *_due(connection, now), *_door(connection, programs, segments, now)]
        until = min((at for at in known if at is not None), default=now + FAR)
        until = _turn(connection, segments, now, until, zone) or until
        fire, skipped = _fire(connection, programs, now, until)
        until = fire or until
        if until == now + FAR:
            return None
        # What named nobody was passed over; but the engine has looked then, and has less to make up for at the next
        # moment.
        passed = max((at for at in (*skipped, *_beats(connection, segments, until)) if now < at < until), default=None)
    return passed or (None if until == before else until)


def _due(connection: Connection, now: datetime) -> Iterator[datetime | None]:
    yield connection.scalar(select(func.min(enrolment.c.due_at)).where(IN_JOURNEY, enrolment.c.due_at > now))
    queued = (UNSETTLED, message.c.state == "queued", message.c.due_at > now)
    yield connection.scalar(select(func.min(message.c.due_at)).where(*queued))
    yield connection.scalar(select(func.min(points_lot.c.active_at)).where(points_lot.c.active_at > now))
    for at, held in (
        (points_lot.c.expires_at, points_lot.c.remaining > 0),
        (coupon.c.expires_at, coupon.c.state.in_(("reserved", "issued"))),
    ):
        yield connection.scalar(select(func.min(at)).where(held, at > now))


def _fire(
    connection: Connection, programs: Iterable[Program], now: datetime, until: datetime
) -> tuple[datetime | None, list[datetime]]:
    """When, before `until`, a date or schedule first goes off for somebody, and the moments when it did for nobody."""
    found, skipped = None, []
    for program in programs:
        rule = program.journey.enter
        if not isinstance(rule, Timed):
            continue
        look = Look.of(connection, program, now)
        beginning, _ = rule.beginning(look)
        at = sieved = now
        anybody = True
        while (fire := rule.next_fire(at, look.zones, look.brand_zone)) is not None and fire < (found or until):
            at = fire
            if at >= sieved:
                sieved = at + SIEVED
                anybody = rule.names_anybody(look, at, sieved)
            if anybody and _goes_off_for_somebody(rule, replace(look, now=at), beginning):
                found = at
                break
            skipped.append(at)
    return found, skipped


def _goes_off_for_somebody(rule: Timed, look: Look, beginning: Beginning) -> bool:
    rows = [rule.named(look, due).subquery() for due in rule.pending(look, beginning)]
    return any(look.connection.scalar(select(select(row).exists())) for row in rows)


def _door(
    connection: Connection, programs: Iterable[Program], segments: Mapping[str, Segment], now: datetime
) -> Iterator[datetime | None]:
    """Those at the door: the end of their grace, what may turn their audience until then, the next period of a
    limit.
    """
    waiting = connection.execute(select(candidate.c.journey, candidate.c.reason).distinct()).all()
    yield connection.scalar(select(func.min(candidate.c.until)).where(candidate.c.until > now))
    for program in programs:
        reasons = {reason for journey, reason in waiting if journey == program.name}
        rule, zone = program.journey.enter, program.project.brand.timezone
        if "grace" in reasons and rule.audience is not None and rule.grace is not None:
            typed = program.parsed(rule.audience, Names(entry=program.names.entry), True)
            yield min(_turns(connection, typed, segments, now, now + rule.grace, zone, now), default=None)
        if "limit" in reasons and rule.limit is not None:
            yield _next_period(now, rule.limit.per, ZoneInfo(zone))


def _next_period(now: datetime, per: str, zone: ZoneInfo) -> datetime:
    """When the next hour, day or week begins on the brand's clock."""
    if per == "hour":
        return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    today = wall(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return first_instant(today + timedelta(days=1 if per == "day" else 7 - today.weekday()), zone)


def _turn(
    connection: Connection, segments: Mapping[str, Segment], now: datetime, until: datetime, zone: str
) -> datetime | None:
    """The first moment before `until` at which somebody joins or leaves a segment."""
    seen = _judged(connection)
    found = None
    for segment in segments.values():
        last = seen.get(segment.name, now)
        moments = sorted(_turns(connection, segment.typed, segments, now, found or until, zone, last))
        found = _first(connection, segment, moments, zone) or found
    return found


def _judged(connection: Connection) -> dict[str, datetime]:
    """When each segment was judged whole."""
    rows = connection.execute(select(segment_state.c.segment, segment_state.c.full_at))
    return {row.segment: row.full_at for row in rows}


def _beats(connection: Connection, segments: Mapping[str, Segment], until: datetime) -> Iterator[datetime]:
    """The last moments before `until` at which a segment is judged whole, for those that are."""
    seen = _judged(connection)
    for segment in segments.values():
        if whole_because(segment) is not None and segment.name in seen:
            last = seen[segment.name]
            yield last + BEAT * ((until - last - MICROSECOND) // BEAT)


def _turns(
    connection: Connection,
    typed: Typed,
    segments: Mapping[str, Segment],
    now: datetime,
    until: datetime,
    zone: str,
    beat: datetime,
) -> set[datetime]:
    """Every moment after now and before `until` at which time can turn the condition for somebody. `beat`: when it
    was judged
    whole."""
    moments: set[datetime] = set()
    for turning in set(turnings(typed)):
        match turning:
            case Window():
                at = bigint(event.c.occurred_at)
                moments |= _later(connection, at, event.c.name == turning.event, turning.ago, now, until)
            case Moment():
                path = turning.name.path
                created = path == ("created",)
                at = customer.c.created_at if created else read(customer.c.attributes, path, turning.name.type)
                moments |= _later(connection, bigint(at), at.is_not(None), turning.ago, now, until)
            case Day():
                for name in connection.scalars(select(customer.c.timezone).distinct()):
                    moments |= set(_midnights(zone_or(name, zone), now, until))
            case Member() if turning.segment in segments:
                other = segments[turning.segment].typed
                moments |= _turns(connection, other, segments, now, until, zone, beat)
            case Anybody():
                n = (now - beat) // BEAT + 1
                while (at_beat := beat + n * BEAT) < until:
                    moments.add(at_beat)
                    n += 1
    return {at for at in moments if now < at < until}


def _later(connection: Connection, at: Any, which: Any, ago: int, now: datetime, until: datetime) -> set[datetime]:
    """The moments `ago` microseconds after these, and a microsecond later: > turns after >=."""
    low, high = micros(now) - ago - 1, micros(until) - ago
    found = connection.scalars(select(at).where(which, at >= low, at <= high))
    return {moment(value + ago) + more for value in found for more in (timedelta(0), MICROSECOND)}


def _midnights(zone: ZoneInfo, now: datetime, until: datetime) -> Iterator[datetime]:
    day = wall(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    while (at := first_instant(day, zone)) < until:
        yield at
        day += timedelta(days=1)


def _first(connection: Connection, segment: Segment, moments: Sequence[datetime], zone: str) -> datetime | None:
    """The first of these moments at which somebody's membership isn't what the segment says."""
    for start in range(0, len(moments), ASKED):
        some = moments[start : start + ASKED]
        asked = values(column("at", BigInteger), name="asked").data([(micros(at),) for at in some]).cte("asked")
        at = asked.c.at
        inside = condition(segment.typed, Frame(customer=customer, now=at, zone=zone))
        mine = and_(segment_member.c.segment == segment.name, segment_member.c.customer_id == customer.c.id)
        member = and_(segment_member.c.customer_id.is_not(None), segment_member.c.left_at.is_(None))
        differs = or_(and_(inside, ~member), and_(~inside, member))
        everybody = customer.outerjoin(segment_member, mine)
        found = connection.scalar(select(func.min(at)).select_from(everybody.join(asked, true())).where(differs))
        if found is not None:
            return moment(found)
    return None
