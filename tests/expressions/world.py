"""Puts the people of a test into a database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from engine.store import tables as t
from engine.store.types import micros
from tests.expressions.oracle import Happening, Person


def store(c: Connection, people: list[Person], now: datetime, rhythm: dict[str, int]) -> None:
    """Each person becomes the customer with the number of their place, from 1, and has an enrolment of that number."""
    at = micros(now)
    c.execute(
        insert(t.journey_version),
        {"id": 1, "journey": "j", "number": 1, "digest": "", "source": "", "state": "live", "published_at": at},
    )
    if rhythm:
        c.execute(insert(t.rhythm), [{"name": n, "gap": gap, "at": at} for n, gap in rhythm.items()])
    rows: dict[Any, list[dict[str, Any]]] = {}
    numbers: dict[int, int] = {}  # id() of a happening → the event's number
    for number, person in enumerate(people, 1):
        _customer(rows, number, person, at)
        for event in person.events:
            numbers[id(event)] = len(numbers) + 1
            rows.setdefault(t.event, []).append(_event(numbers[id(event)], number, event))
        _tally(rows, number, person)
        _enrolments(rows, number, person, numbers, at)
    for table in t.customer.metadata.sorted_tables:
        if table in rows:
            c.execute(insert(table), rows[table])


def _customer(rows: dict[Any, list[dict[str, Any]]], number: int, person: Person, at: int) -> None:
    month, day, year = person.birth
    born = {"birth_month": month, "birth_day": day, "birth_year": year}
    known = {"attributes": person.attributes, "bucket": number, "created_at": person.created, "updated_at": at}
    rows.setdefault(t.customer, []).append(
        {"id": number, "external_id": f"c{number}", **person.columns, **born, **known}
    )
    for tag in person.tags:
        rows.setdefault(t.customer_tag, []).append({"customer_id": number, "tag": tag})
    for channel in ("email", "sms"):
        state = "on" if (channel, "offers") in person.consents else "off"
        consent = {
            "customer_id": number,
            "channel": channel,
            "topic": "offers",
            "state": state,
            "at": at,
            "source": "test",
        }
        rows.setdefault(t.consent, []).append(consent)
    for segment in ("lapsed", "vip"):
        left = None if segment in person.segments else at
        member = {"segment": segment, "customer_id": number, "joined_at": at, "left_at": left, "joins": 1}
        rows.setdefault(t.segment_member, []).append(member)


def _event(number: int, customer: int, event: Happening) -> dict[str, Any]:
    return {
        "id": number,
        "source": "test",
        "key": str(number),
        "customer_id": customer,
        "name": event.name,
        "occurred_at": event.at,
        "received_at": event.at,
        "properties": event.properties,
    }


def _tally(rows: dict[Any, list[dict[str, Any]]], number: int, person: Person) -> None:
    for name in ("purchase", "visit"):
        events = [e for e in person.events if e.name == name]
        if not events:
            continue
        amounts = [e.properties.get("total") for e in events] if name == "purchase" else []
        kept = [int(a) for a in amounts if isinstance(a, int | float) and not isinstance(a, bool) and a == int(a)]
        rows.setdefault(t.tally, []).append(
            {
                "customer_id": number,
                "name": name,
                "count": len(events),
                "total": sum(a for a in kept if abs(a) < 2**43),
                "first_at": min(e.at for e in events),
                "last_at": max(e.at for e in events),
            }
        )


def _enrolments(
    rows: dict[Any, list[dict[str, Any]]], number: int, person: Person, numbers: dict[int, int], at: int
) -> None:
    mine = {
        "id": number,
        "journey": "j",
        "version_id": 1,
        "customer_id": number,
        "cause": "test",
        "event_id": numbers[id(person.entry)] if person.entry else None,
        # The test joins the event being judged by it.
        "outcome": str(numbers[id(person.judged)]) if person.judged else None,
        "state": "ready",
        "visit": 1,
        "entered_at": at,
        "moved_at": at,
    }
    other = {**mine, "id": number + 1000, "journey": "welcome", "event_id": None, "outcome": None}
    rows.setdefault(t.enrolment, []).extend(
        [mine, {**other, "state": "ready" if "welcome" in person.journeys else "ended"}]
    )
    for visit, result in enumerate([*person.events[:1], *person.results.values()] if person.results else [], 1):
        decision = {
            "enrolment_id": number,
            "visit": visit,
            "kind": "moves",
            "step": "bought",
            "outcome": "then",
            "at": at,
        }
        rows.setdefault(t.decision, []).append({**decision, "event_id": numbers[id(result)] if result else None})
    for n, (what, step) in enumerate(sorted(person.messages), 1):
        message = number * 10 + n
        rows.setdefault(t.message, []).append(
            {
                "id": message,
                "enrolment_id": number,
                "visit": n,
                "route": "primary",
                "customer_id": number,
                "version_id": 1,
                "step": step,
                "channel": "email",
                "template": "x",
                "topic": "offers",
                "state": "accepted" if what == "sent" else "in_doubt",
                "queued_at": at,
                "due_at": at,
                "fence": 0,
                "attempts": 0,
            }
        )
        if what != "sent":
            rows.setdefault(t.message_event, []).append({"message_id": message, "kind": what, "key": "", "at": at})
