"""A condition taken apart says the same as the condition, now and from what a decision recorded, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from engine.cohort.arms import bucket_of
from engine.cohort.cohort import entry_event
from engine.language.expression import parse_condition
from engine.language.vocabulary import Names, Vocabulary
from engine.runtime.conditions import Judged, judge_now, judge_then
from engine.segments import seen, sql
from engine.segments.frame import Frame
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.tables import consent, customer, customer_tag, event, tally

NOW = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
VOCABULARY = Vocabulary.plain(
    {"tier": "text", "renewal": "date", "vip": "boolean", "spent": "money", "score": "number"},
    {"purchase": {"value": "total", "properties": {"total": "money", "sku": "text", "items": [{"sku": "text"}]}}},
    topics=["offers"],
    timezone="Africa/Nairobi",
)
NAMES = Names(entry="purchase")

CONDITIONS = [
    'elapsed("purchase") > 30d',
    'elapsed("purchase") > 5d and times("purchase") >= 2',
    'customer.country == "KE" and (customer.tier == "gold" or customer.vip)',
    'customer.tier == "gold" or did("purchase", within=3d) or customer.score > 7.25',
    'not did("purchase") and customer.country in ["KE", "TZ"]',
    "customer.spent > 40 and customer.spent < 50",
    "customer.renewal is set and days_until(customer.renewal) < 20",
    "age(customer.birthday) >= 18 and customer.birthday is set",
    'consented("email", "offers") and tagged("vip") or consented("sms", "offers")',
    'entry.total * 2 > 90 and any(entry.items, item.sku == "A")',
    'count(entry.items, item.sku == "B") == 0 and entry.sku is not set',
    'total("purchase", "total", within=365d) >= 49.9 and total("purchase", "total") / 2 > 10',
    'last("purchase") < now and first("purchase") > now - 400d',
    'elapsed("purchase") > usual_gap("purchase") * 2.5',
    "customer.score / 0 > 1 or customer.score > 0",
    "customer.renewal - 5d > now",
]


@pytest.fixture
def people(database: Database) -> Database:
    with database.write() as connection:
        ensure_zones(connection, ["Africa/Nairobi", "Asia/Yerevan"])
        rows = [
            ("amina", "KE", {"tier": "gold", "spent": 4490, "score": 7.5, "renewal": "2026-03-15", "vip": False}, 1990),
            ("baraka", "TZ", {"tier": 3, "vip": True, "renewal": "2026-13-99", "score": 0}, None),
            ("chanda", None, {}, 2015),
        ]
        for n, (who, country, attributes, year) in enumerate(rows, start=1):
            connection.execute(
                insert(customer).values(
                    id=n,
                    external_id=who,
                    country=country,
                    attributes=attributes,
                    birth_month=3,
                    birth_day=8,
                    birth_year=year,
                    timezone="Asia/Yerevan" if n == 2 else None,
                    bucket=bucket_of(who),
                    created_at=NOW,
                    updated_at=NOW,
                )
            )
        for n, (whose, days, total) in enumerate(
            [(1, 100, 4990), (1, 40, 1000), (1, 10, 2000), (1, 2, 500), (2, 60, 1)]
        ):
            at = NOW - timedelta(days=days)
            properties = {"total": total, "items": [{"sku": "A"}, {"sku": "C"}]} if whose == 1 else {"sku": "S"}
            row = {"source": "t", "key": str(n), "customer_id": whose, "name": "purchase"}
            connection.execute(insert(event).values(**row, occurred_at=at, received_at=NOW, properties=properties))
        for whose, count, total, first, last in [(1, 4, 8490, 100, 2), (2, 1, 1, 60, 60)]:
            times = {"first_at": NOW - timedelta(days=first), "last_at": NOW - timedelta(days=last)}
            connection.execute(
                insert(tally).values(customer_id=whose, name="purchase", count=count, total=total, **times)
            )
        said = {"customer_id": 1, "channel": "email", "topic": "offers", "state": "on", "at": NOW, "source": "t"}
        connection.execute(insert(consent).values(said))
        connection.execute(insert(customer_tag).values(customer_id=2, tag="vip"))
    return database


@pytest.mark.parametrize("text", CONDITIONS)
def test_the_parts_make_the_whole_and_what_was_recorded_gives_the_same_parts(people: Database, text: str) -> None:
    typed = parse_condition(text, NAMES, VOCABULARY)
    frame = Frame(customer=customer, now=NOW, zone="Africa/Nairobi", entry=entry_event)
    latest = select(event.c.id).where(event.c.customer_id == customer.c.id).order_by(event.c.id).limit(1)
    source = customer.outerjoin(entry_event, entry_event.c.id == latest.scalar_subquery())
    facts = {text[slice(*part.span)]: seen.as_json(part, frame) for part in seen.looked_at(typed)}
    with people.read() as connection:
        for number in (1, 2, 3):
            who = customer.c.id == number
            whole = connection.scalar(select(sql.condition(typed, frame)).select_from(source).where(who))
            recorded = (
                connection.scalar(select(seen.json_object(facts)).select_from(source).where(who)) if facts else {}
            )
            now = judge_now(connection, typed, text, frame, source, who)
            # The recorded values alone must do: the events and attributes are another customer's.
            then = judge_then(connection, typed, text, recorded or {}, frame, source, who)
            assert now is not None and then is not None
            assert now.true is bool(whole)
            assert bool(now.false) is not now.true
            assert _shape(then) == _shape(now)


def _shape(judged: Judged) -> object:
    return judged.true, [(part.text, part.true) for part in judged.parts], [part.text for part in judged.false]


def test_nobody_is_judged_who_is_not_there(people: Database) -> None:
    typed = parse_condition("customer.vip", NAMES, VOCABULARY)
    frame = Frame(customer=customer, now=NOW, zone="Africa/Nairobi")
    with people.read() as connection:
        assert judge_now(connection, typed, "customer.vip", frame, customer, customer.c.id == 99) is None


def test_recorded_values_count_though_the_customer_has_changed_since(people: Database) -> None:
    text = 'customer.tier == "gold" and elapsed("purchase") > 30d'
    typed = parse_condition(text, NAMES, VOCABULARY)
    frame = Frame(customer=customer, now=NOW, zone="Africa/Nairobi")
    day = 86_400_000_000
    with people.read() as connection:
        who = customer.c.id == 3
        recorded = {"customer.tier": "gold", 'elapsed("purchase")': 31 * day}
        judged = judge_then(connection, typed, text, recorded, frame, customer, who)
        assert judged is not None and judged.true
        judged = judge_then(connection, typed, text, recorded | {'elapsed("purchase")': 29 * day}, frame, customer, who)
        assert judged is not None and [part.text for part in judged.false] == ['elapsed("purchase") > 30d']
