"""All that is known of one customer, as plain values: profile, consents, tags, segments, counts, what they did last,
their ways through journeys with each decision in words, and their messages.

Values have the form in which a shop sends them: money in the currency's unit, moments as text with their zone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.language.content import Content
from engine.language.errors import Wrong
from engine.language.registry import Registry
from engine.language.types import Kind, Type
from engine.language.values import stored
from engine.language.vocabulary import Vocabulary
from engine.runtime.agreed import Word, history
from engine.runtime.explain import explain, find
from engine.runtime.identity import DEVICE, ID
from engine.runtime.words import utc
from engine.store.tables import (
    consent,
    customer_tag,
    enrolment,
    event,
    hush,
    identity,
    journey_version,
    message,
    segment_member,
    tally,
)
from engine.store.types import moment

LATEST = 50
"""Events and messages that are told, the latest first."""

_PLAIN = ("email", "phone", "telegram", "first_name", "last_name", "locale", "timezone", "country")


def portrait(connection: Connection, content: Content, registry: Registry, who: str, now: datetime) -> dict[str, Any]:
    """The customer of this id, or of one that was merged into theirs. Raises UnknownCustomer."""
    row = find(connection, who)
    names = connection.execute(select(identity.c.kind, identity.c.value).where(identity.c.customer_id == row.id)).all()
    return {
        "id": row.external_id,
        "merged_ids": sorted(value for kind, value in names if kind == ID),
        "anonymous_ids": sorted(value for kind, value in names if kind == DEVICE),
        "profile": _profile(row, content.vocabulary),
        "consents": _consents(connection, row.id),
        "hushed": _hushed(connection, row.id, now),
        "tags": list(connection.scalars(_of(customer_tag, row.id, customer_tag.c.tag).order_by(customer_tag.c.tag))),
        "segments": _segments(connection, row.id),
        "tallies": _tallies(connection, row.id, content),
        "events": _events(connection, row.id, content.vocabulary),
        "journeys": _journeys(connection, content, registry, row, now),
        "messages": _messages(connection, row.id),
    }


def _of(table: Any, customer_id: int, *columns: Any) -> Any:
    return select(*columns).where(table.c.customer_id == customer_id)


def _profile(row: Row[Any], vocabulary: Vocabulary) -> dict[str, Any]:
    birthday = None
    if row.birth_month is not None and row.birth_day is not None:
        day = f"{row.birth_month:02}-{row.birth_day:02}"
        birthday = day if row.birth_year is None else f"{row.birth_year:04}-{day}"
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        "birthday": birthday,
        "created": utc(row.created_at),
        **{name: _said(value, vocabulary.attributes.get(name), vocabulary) for name, value in row.attributes.items()},
    }


def _consents(connection: Connection, customer_id: int) -> list[dict[str, Any]]:
    c, words = consent.c, history(connection, customer_id)
    rows = _of(consent, customer_id, c.channel, c.topic, c.state, c.at, c.source, c.proof).order_by(c.channel, c.topic)
    return [
        {**row._mapping, "at": utc(row.at), "said": [_word(one) for one in words.get((row.channel, row.topic), ())]}
        for row in connection.execute(rows)
    ]


def _word(one: Word) -> dict[str, Any]:
    said = {"state": one.state, "at": utc(one.at), "received": utc(one.heard_at)}
    return {**said, "source": one.source, "proof": one.proof}


def _hushed(connection: Connection, customer_id: int, now: datetime) -> dict[str, str]:
    rows = _of(hush, customer_id, hush.c.topic, hush.c.until).where(hush.c.until > now).order_by(hush.c.topic)
    return {topic: utc(until) for topic, until in connection.execute(rows)}


def _segments(connection: Connection, customer_id: int) -> list[str]:
    m = segment_member.c
    return list(
        connection.scalars(_of(segment_member, customer_id, m.segment).where(m.left_at.is_(None)).order_by(m.segment))
    )


def _tallies(connection: Connection, customer_id: int, content: Content) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, count, total, first, last in connection.execute(
        _of(
            tally, customer_id, tally.c.name, tally.c["count"], tally.c.total, tally.c.first_at, tally.c.last_at
        ).order_by(tally.c.name)
    ):
        told[name] = {"count": count, "first": utc(first), "last": utc(last)}
        declared = content.project.events.get(name)
        if declared is not None and declared.value:
            type_ = content.vocabulary.events[name].properties.get(declared.value)
            told[name]["total"] = _said(total, type_, content.vocabulary)
    return told


def _events(connection: Connection, customer_id: int, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    rows = _of(event, customer_id, event).order_by(event.c.occurred_at.desc(), event.c.id.desc()).limit(LATEST)
    told = []
    for row in connection.execute(rows):
        declared = vocabulary.events.get(row.name)
        types = {} if declared is None else declared.properties
        told.append(
            {
                "event": row.name,
                "time": utc(row.occurred_at),
                "received": utc(row.received_at),
                "source": row.source,
                "key": row.key,
                "properties": {name: _said(v, types.get(name), vocabulary) for name, v in row.properties.items()},
                "wrong": sorted(name for name, v in row.properties.items() if _wrong(v, types.get(name), vocabulary)),
            }
        )
    return told


def _journeys(
    connection: Connection, content: Content, registry: Registry, row: Row[Any], now: datetime
) -> list[dict[str, Any]]:
    """Their ways, the newest journey last; why they are not in others is asked by `karibu explain`."""
    names = sorted(connection.scalars(_of(enrolment, row.id, enrolment.c.journey).distinct()))
    told = explain(connection, content, registry, row.external_id, now, names)
    return [
        {
            "journey": story.journey,
            "version": way.version,
            "key": way.key,
            "state": way.state,
            "entered": utc(way.entered_at),
            "ended": None if way.ended_at is None else utc(way.ended_at),
            "decisions": [{**asdict(line), "at": utc(line.at)} for line in way.lines],
        }
        for story in told.stories
        for way in story.ways
    ]


def _messages(connection: Connection, customer_id: int) -> list[dict[str, Any]]:
    theirs = select(enrolment.c.id).where(enrolment.c.customer_id == customer_id)  # by the index there is
    m = message.c
    rows = (
        select(
            journey_version.c.journey,
            m.step,
            m.channel,
            m.template,
            m.topic,
            m.state,
            m.reason,
            m.queued_at,
            m.settled_at,
        )
        .join(journey_version, journey_version.c.id == m.version_id)
        .where(m.enrolment_id.in_(theirs))
        .order_by(m.queued_at.desc(), m.id.desc())
        .limit(LATEST)
    )
    return [
        {
            **{name: value for name, value in row._mapping.items() if not name.endswith("_at")},
            "queued": utc(row.queued_at),
            "settled": None if row.settled_at is None else utc(row.settled_at),
        }
        for row in connection.execute(rows)
    ]


def _wrong(value: Any, type_: Type | None, vocabulary: Vocabulary) -> bool:
    """Whether a kept value is of another type than declared, so that no condition sees it."""
    if type_ is None:
        return False
    try:
        return bool(stored(_said(value, type_, vocabulary), type_, vocabulary.digits, vocabulary.timezone) != value)
    except Wrong:
        return True


def _said(value: Any, type_: Type | None, vocabulary: Vocabulary) -> Any:
    """A kept value in the form it is sent in. One of another type than declared was kept as it was sent."""
    if type_ is None or value is None:
        return value
    kind = type_.kind
    if kind is Kind.LIST and isinstance(value, list):
        return [_said(item, Type(Kind.OBJECT, type_.fields), vocabulary) for item in value]
    if kind is Kind.OBJECT and isinstance(value, Mapping):
        fields = dict(type_.fields)
        return {name: _said(inner, fields.get(name), vocabulary) for name, inner in value.items()}
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if kind is Kind.MONEY:
        return value / 10**vocabulary.digits
    with suppress(OverflowError):  # a number that is no moment of any year
        return utc(moment(value)) if kind is Kind.INSTANT else value
    return value
