"""Rows that are one parameter arrive as they were given, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from sqlalchemy import Text, func, insert, select, true

from engine.store.database import Database
from engine.store.given import among, given, listed, packed
from engine.store.tables import customer, event
from engine.store.types import Instant, id_type, json_type, micros

AT = datetime(2026, 3, 1, 9, 30, 0, 123457, tzinfo=UTC)
KEYS = ["plain", "17", "null", "true", " 007", '"quoted" \\ back', "Ամինա\u2028🌍", "[1]", '{"a": 1}']
PROPERTIES = [
    {},
    {"total": 2**53, "deep": [{"a": None}, "ü", 1.5e300]},
    {"text": 'x"\\ y\u2028', "no": False},
]


def test_every_value_is_kept_as_the_driver_would_have_kept_it(database: Database) -> None:
    rows = given(
        database.dialect,
        source=Text(),
        key=Text(),
        customer_id=id_type(),
        name=Text(),
        occurred_at=Instant(),
        received_at=Instant(),
        properties=json_type(),
    )
    texts = [(key, PROPERTIES[n % len(PROPERTIES)]) for n, key in enumerate(KEYS)]
    with database.write() as connection:
        by_hand = [
            {"source": "hand", "key": key, "customer_id": 2**62, "name": "visit"}
            | {"occurred_at": AT, "received_at": AT, "properties": properties}
            for key, properties in texts
        ]
        connection.execute(insert(event), by_hand)
        connection.execute(
            insert(event).from_select([*rows.c.keys()], select(rows).where(true())),
            packed(
                ("given", key, 2**62, "visit", micros(AT), micros(AT), orjson.dumps(properties).decode())
                for key, properties in texts
            ),
        )
    columns = [column for column in event.c if column.name not in ("id", "source")]
    kinds = [func.typeof(column) for column in columns if database.dialect == "sqlite"]
    kept = {}
    with database.read() as connection:
        for source in ("hand", "given"):
            mine = select(*columns, *kinds).where(event.c.source == source).order_by(event.c.id)
            kept[source] = connection.execute(mine).all()
    assert kept["given"] == kept["hand"]
    assert [row[0] for row in kept["given"]] == KEYS  # in the order they were given


def test_no_rows_are_none(database: Database) -> None:
    with database.read() as connection:
        assert connection.execute(select(given(database.dialect, id=id_type())), packed([])).all() == []


def test_what_is_looked_for_is_found_as_it_is_written(database: Database) -> None:
    with database.write() as connection:
        row = {"attributes": {}, "bucket": 1, "created_at": AT, "updated_at": AT}
        connection.execute(insert(customer), [row | {"external_id": key} for key in KEYS])
        mine = select(customer.c.external_id).where(among(database.dialect, customer.c.external_id, "keys"))

        def found(keys: list[str]) -> set[str]:
            return set(connection.scalars(mine, {"keys": listed(database.dialect, keys)}))

        assert found([*KEYS[::2], "nobody"]) == set(KEYS[::2])
        assert found([]) == set()
        ids = select(customer.c.external_id).where(among(database.dialect, customer.c.id, "ids"))
        every = connection.scalars(select(customer.c.id).order_by(customer.c.id)).all()
        one = connection.scalars(ids, {"ids": listed(database.dialect, every[:1])}).all()
        assert one == KEYS[:1]


def test_a_frequent_look_goes_by_the_index(database: Database) -> None:
    """On SQLite the plan is told at once; PostgreSQL judges by the size of a table."""
    if database.dialect != "sqlite":
        return
    mine = select(customer.c.id).where(among("sqlite", customer.c.external_id, "keys"))
    with database.read() as connection:
        text = str(mine.compile(connection))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("[]",)).all()
    assert any("SEARCH customer USING" in row[3] and "external_id=?" in row[3] for row in plan), plan
