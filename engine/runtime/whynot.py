"""Why somebody is not in a journey: what the door recorded, or what the trigger and the audience say of them now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, FromClause, Row, select

from engine.cohort.cohort import entry_event
from engine.cohort.fires import Timed
from engine.cohort.program import Program
from engine.language.content import Content
from engine.language.expression import parse_condition
from engine.language.moments import duration_text
from engine.language.vocabulary import Names
from engine.runtime.conditions import Judged, judge_now, judge_then
from engine.runtime.decisions import cause
from engine.runtime.words import Words
from engine.segments.frame import Frame
from engine.store.tables import customer, event, segment_member
from triggers.date import DateTrigger
from triggers.event import EventTrigger
from triggers.segment import SegmentTrigger


def refused(connection: Connection, program: Program | None, row: Row[Any], words: Words) -> str:
    """Why the door turned somebody away, with the values it saw: `row` of refusal."""
    name = connection.scalar(select(event.c.name).where(event.c.id == row.event_id)) if row.event_id else None
    why = cause(program, row.cause, name)
    if row.reason == "no_key":
        key = "" if program is None or program.journey.enter.key is None else f" ({program.journey.enter.key})"
        return f"not let in when {why}: there was no key{key} to tell this entry from others"
    if row.reason == "again":
        again = "" if program is None else f" (again: {program.journey.enter.again})"
        return f"not let in when {why}: they had been in before{again}"
    if row.reason == "imported":
        return f"not let in when {why}: an import told of it, and it had gone off before"
    if row.reason == "limit":
        limit = None if program is None else program.journey.enter.limit
        said = "" if limit is None else f" ({limit.at_most} per {limit.per})"
        return f"not let in when {why}: the limit was reached{said}"
    judged = _audience_then(connection, program, row) if program is not None else None
    if judged is None or not judged.false:
        return f"not let in when {why}: the audience was false"
    return f"not let in when {why}: {words.parts(judged.false, row.at, past=True)}"


def _audience_then(connection: Connection, program: Program, row: Row[Any]) -> Judged | None:
    text = program.journey.enter.audience
    if text is None:
        return None
    typed = program.parsed(text, Names(entry=program.names.entry), True)
    frame, source = _door(program, row.at, row.event_id)
    return judge_then(connection, typed, text, row.detail or {}, frame, source, customer.c.id == row.customer_id)


def never_entered(
    connection: Connection,
    content: Content,
    program: Program | None,
    journey: str,
    customer_id: int,
    waits: Row[Any] | None,
    was_refused: bool,
    words: Words,
    now: datetime,
) -> str:
    """Why this customer has never been in the journey. `program`: its newest version, None when it is unpublished."""
    if program is None:
        return "never entered: the journey is not published"
    if program.state == "stopped":
        return "never entered: the journey is stopped"
    if waits is not None:
        return _at_the_door(waits, words)
    if was_refused:
        return "never entered"  # the refusals say why
    rule = program.journey.enter
    if isinstance(rule, EventTrigger):
        why = _event(connection, program, rule, customer_id, words, now)
    elif isinstance(rule, SegmentTrigger):
        why = _segment(connection, content, rule.segment, customer_id, words, now)
    elif isinstance(rule, Timed):
        why = _timed(connection, program, rule, customer_id, words, now)
    else:
        why = f"nobody has entered them by hand: karibu enter {journey} CUSTOMER"
    return "never entered: " + why + _audience(connection, program, customer_id, words, now)


def _at_the_door(waits: Row[Any], words: Words) -> str:
    since = words.time(waits.since)
    if waits.reason == "limit":
        return f"waits at the door since {since}: the limit leaves no room now"
    if waits.reason == "grace":
        until = f" until {words.time(waits.until)}" if waits.until else ""
        return f"waits at the door since {since}: the audience is false, and is judged again{until}"
    return f"stands at the door since {since}, and is let in (or told why not) at the next tick"


def _event(
    connection: Connection, program: Program, rule: EventTrigger, customer_id: int, words: Words, now: datetime
) -> str:
    last = connection.execute(
        select(event)
        .where(event.c.customer_id == customer_id, event.c.name == rule.event)
        .order_by(event.c.occurred_at.desc(), event.c.id.desc())
        .limit(1)
    ).first()
    if last is None:
        return f"no {rule.event} has come from them"
    came = f"their last {rule.event} was at {words.time(last.occurred_at)}"
    if rule.where is not None:
        typed = program.parsed(rule.where, Names(entry=rule.event, event=rule.event), True)
        frame, source = _door(program, now, last.id)
        judged = judge_now(connection, typed, rule.where, frame, source, customer.c.id == customer_id)
        if judged is not None and not judged.true:
            return f"{came}, and {words.parts(judged.false, now, past=False)}"
    return f"{came}, and lets nobody in: it is imported history, or came before the journey was published"


def _segment(
    connection: Connection, content: Content, name: str, customer_id: int, words: Words, now: datetime, deep: int = 3
) -> str:
    member = connection.execute(
        select(segment_member).where(segment_member.c.segment == name, segment_member.c.customer_id == customer_id)
    ).first()
    if name not in content.segments:
        return f"there is no segment {name} any more"
    text = content.segments[name].when
    typed = parse_condition(text, Names(), content.vocabulary)
    frame = Frame(customer=customer, now=now, zone=content.project.brand.timezone)
    judged = judge_now(connection, typed, text, frame, customer, customer.c.id == customer_id)
    if judged is not None and not judged.true:
        blamed = words.parts(judged.false, now, past=False)
        was = f"they left the segment {name} at {words.time(member.left_at)}; " if member and member.left_at else ""
        return was + blamed
    if member is None or member.left_at is not None:
        return f"they belong to the segment {name} now, and join it at the next tick"
    if member.joins == 0:
        return (
            f"they were in the segment {name} when it was first filled ({words.day(member.joined_at)}); "
            "only joining it later lets them in (or members: now, when it is published)"
        )
    return f"they joined the segment {name} at {words.time(member.joined_at)}, before the journey took entries"


def _timed(connection: Connection, program: Program, rule: Timed, customer_id: int, words: Words, now: datetime) -> str:
    if isinstance(rule, DateTrigger):
        text = f"{rule.date} is set"
        typed = program.parsed(text, Names(), True)
        frame, source = _door(program, now, None)
        judged = judge_now(connection, typed, text, frame, source, customer.c.id == customer_id)
        if judged is not None and not judged.true:
            return f"{rule.date} is not set"
        until = f"days_until({rule.date})"
        days = connection.scalar(
            select(_value(program, until, frame)).select_from(source).where(customer.c.id == customer_id)
        )
        if days is None:
            return f"{rule.date} has not come"
        side = "before" if rule.offset < timedelta(0) else "after"
        moved = f", and lets them in {duration_text(abs(rule.offset))} {side} it" if rule.offset else ""
        return f"{rule.date} comes in {int(days)} days{moved}"
    fire = rule.next_fire(now, [str(words.zone)], program.project.brand.timezone)
    return f"its time comes at {words.time(fire)}" if fire is not None else "its time has gone by"


def _value(program: Program, text: str, frame: Frame) -> Any:
    from engine.segments.sql import value

    return value(program.parsed(text, Names(), False), frame)


def _audience(connection: Connection, program: Program, customer_id: int, words: Words, now: datetime) -> str:
    """What the audience would say now, where it can be asked without the event that lets them in."""
    text = program.journey.enter.audience
    if text is None:
        return ""
    typed = program.parsed(text, Names(entry=program.names.entry), True)
    frame, source = _door(program, now, None)
    judged = judge_now(connection, typed, text, frame, source, customer.c.id == customer_id)
    if judged is None or judged.true:
        return ""
    return f". The audience would not let them in either: {words.parts(judged.false, now, past=False)}"


def _door(program: Program, now: datetime, event_id: int | None) -> tuple[Frame, FromClause]:
    """What a condition sees before there is an enrolment: the customer, and the event that names them."""
    frame = Frame(customer=customer, now=now, zone=program.project.brand.timezone, entry=entry_event, event=entry_event)
    return frame, customer.outerjoin(entry_event, entry_event.c.id == event_id)
