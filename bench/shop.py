"""A shop of any size, made inside the database by set SQL: customers, three years of events, and the counts of them.

Every customer has a country (one in five KE) and some ten events; a fifth of the customers makes a quarter more of
them. Seven of ten events are purchases with a total of 1.00 to 201.00. Events are in order of time, as a shop's are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Index, Table, text

from engine.store import tables
from engine.store.database import Database
from engine.store.types import micros

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
SPAN = timedelta(days=3 * 365)

_NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {size}) SELECT i FROM n)",
    "postgresql": "(SELECT generate_series(1::bigint, {size}) AS i)",
}
_JSON = {"sqlite": "json_object({})", "postgresql": "jsonb_build_object({})"}

_CUSTOMERS = """
INSERT INTO customer (id, external_id, country, timezone, attributes, bucket, created_at, updated_at)
SELECT i, 'c' || i, CASE i % 5 WHEN 0 THEN 'KE' WHEN 1 THEN 'TZ' WHEN 2 THEN 'UG' WHEN 3 THEN 'RW' ELSE 'ET' END,
       'Africa/Nairobi', {attributes}, i % 2147483647, {start}, {start}
FROM {numbers} AS numbers
"""
_EVENTS = """
INSERT INTO event (id, source, key, customer_id, name, occurred_at, received_at, properties)
SELECT i, 'shop', 'o' || (100000000 + i),
       CASE WHEN h2 % 5 = 0 THEN 1 + h1 * ({customers} / 5 + 1) / 4294967296 % {customers}
            ELSE 1 + h1 * {customers} / 4294967296 END,
       CASE WHEN h2 / 16 % 10 < 7 THEN 'purchase' ELSE 'visit' END,
       {start} + i * {apart}, {start} + i * {apart}, {properties}
FROM (SELECT i, i * 2654435761 % 4294967296 AS h1, i * 1597334677 % 4294967296 AS h2 FROM {numbers} AS numbers) AS
hashed
"""
_TALLY = """
INSERT INTO tally (customer_id, name, count, total, first_at, last_at)
SELECT customer_id, name, count(*), sum({total}), min(occurred_at), max(occurred_at)
FROM event GROUP BY customer_id, name
"""
_TOTAL = {"sqlite": "json_extract(properties, '$.total')", "postgresql": "(properties ->> 'total')::bigint"}


def fill(database: Database, customers: int, events: int) -> None:
    """Make the shop in an empty, migrated database. Indexes are made after the rows, which is many times faster."""
    dialect = database.dialect
    start = micros(NOW - SPAN)
    apart = (micros(NOW) - start) // events
    names = {"customers": customers, "start": start, "apart": apart}
    made = {
        "attributes": _JSON[dialect].format("'tier', CASE WHEN i % 10 = 0 THEN 'gold' ELSE 'basic' END"),
        "properties": _JSON[dialect].format("'total', 100 + h2 % 20000, 'sku', 'S' || (h1 % 5000)"),
    }
    with database.write() as c:
        if dialect == "sqlite":
            c.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        bare = [index for table in (tables.customer, tables.event, tables.tally) for index in _drop(c, table)]
        for statement, size in ((_CUSTOMERS, customers), (_EVENTS, events)):
            c.execute(text(statement.format(numbers=_NUMBERS[dialect].format(size=size), **names, **made)))
        c.execute(text(_TALLY.format(total=_TOTAL[dialect])))
        for index in bare:
            index.create(c)
    with database.write() as c:
        c.exec_driver_sql("ANALYZE")


def _drop(c: Connection, table: Table) -> list[Index]:
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    for index in indexes:
        index.drop(c)
    return indexes
