"""Many events that happened before, in few statements: COPY on PostgreSQL, executemany on SQLite, and their counts in
sets.

They come to the same rows as through the door (engine/runtime/ingest.py) with `live=False`; nobody is matched, so they
need neither rounds of one event a customer nor locks on enrolments. Of two events with one key the first of the file
counts, wherever a batch ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    true,
)

from engine.imports import people
from engine.language.types import MONEY, NUMBER, Type
from engine.runtime.ingest import tally_of
from engine.segments.stored import read
from engine.store.merges import facts_stay
from engine.store.scratch import COUNTED, fill, insert_into, insert_touched, scratch
from engine.store.tables import event, tally
from engine.store.types import Instant, id_type, json_type, micros, text_type

_temporary: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DELETE ROWS"}
_scratch = MetaData()
staged = Table(
    "import_staged",
    _scratch,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("source", text_type()),
    Column("key", text_type()),
    Column("customer_id", id_type()),
    Column("name", text_type()),
    Column("occurred_at", Instant()),
    Column("properties", json_type()),
    **_temporary,
)
fresh = Table(
    "import_fresh",
    _scratch,
    Column("customer_id", id_type()),
    Column("name", Text),
    Column("occurred_at", Instant()),
    Column("amount", BigInteger),
    **_temporary,
)


Worth = Mapping[str, tuple[str, Type]]
"""An event's value property, which its tally sums, and the type of that."""

Row = tuple[str, str, str, str, int, str]
"""An event: source, key, customer, name, when (microseconds), properties (JSON). A plain tuple of texts and numbers:
there are thousands in a batch, and the garbage collector looks through whatever else they would be made of."""


def row(who: str, name: str, key: str, at: datetime, properties: Mapping[str, Any], source: str) -> Row:
    return source, key, who, name, micros(at), orjson.dumps(properties).decode()


def take(connection: Connection, batch: Sequence[Row], worth: Worth, now: datetime) -> int:
    """Accept these events in the caller's transaction; how many of them are new."""
    facts_stay(connection)
    first: dict[str, int] = {}
    for _, _, who, _, when, _ in batch:
        if when <= first.get(who, when):
            first[who] = when
    ids = people.introduced(connection, first, now)
    count, new = (_at_once if connection.dialect.name == "sqlite" else _staged)(connection, batch, ids, worth, now)
    if count:
        at = new.c.occurred_at
        counts = select(
            new.c.customer_id,
            new.c.name,
            func.count(),
            func.coalesce(func.sum(new.c.amount), 0),
            func.min(at),
            func.max(at),
        ).where(true())
        # In the order of their locks, as the door has it.
        by_customer = counts.group_by(new.c.customer_id, new.c.name).order_by(new.c.customer_id, new.c.name)
        connection.execute(tally_of(insert_into(connection, tally).from_select(list(_TALLY), by_customer)))
        touched = select(new.c.customer_id).where(true()).distinct().order_by(new.c.customer_id)
        connection.execute(insert_touched(connection, touched))
    return count


_TALLY = ("customer_id", "name", "count", "total", "first_at", "last_at")


def _at_once(
    connection: Connection, batch: Sequence[Row], ids: Mapping[str, int], worth: Worth, now: datetime
) -> tuple[int, FromClause]:
    """Insert the events into SQLite; how many were new, and these with what each is worth.

    It has one writer, so what lies beyond the last id is of this statement."""
    before = connection.scalar(select(func.coalesce(func.max(event.c.id), 0))) or 0
    at = micros(now)
    rows = [(source, key, ids[who], name, when, at, said) for source, key, who, name, when, said in batch]
    added = connection.exec_driver_sql(_ADD, rows, execution_options=COUNTED)
    return added.rowcount, select(*_new(worth)).where(event.c.id > before).subquery("new")


_ADD = """INSERT INTO event (source, "key", customer_id, name, occurred_at, received_at, properties)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""


def _staged(
    connection: Connection, batch: Sequence[Row], ids: Mapping[str, int], worth: Worth, now: datetime
) -> tuple[int, FromClause]:
    """The same on PostgreSQL, by COPY."""
    scratch(connection, staged)
    rows = (
        (n, source, key, ids[who], name, when, said) for n, (source, key, who, name, when, said) in enumerate(batch)
    )
    fill(connection, staged, rows)
    copied = [column for column in staged.c if column.name != "n"]
    events = select(*copied, literal(now, Instant())).order_by(staged.c.n)
    add = insert_into(connection, event).from_select([*(column.name for column in copied), "received_at"], events)
    scratch(connection, fresh)
    new = add.on_conflict_do_nothing().returning(*_new(worth)).cte("new")
    kept = insert(fresh).from_select(list(fresh.c.keys()), select(new))
    return connection.execute(kept, execution_options=COUNTED).rowcount, fresh


def _new(worth: Worth) -> tuple[ColumnElement[Any], ...]:
    return event.c.customer_id, event.c.name, event.c.occurred_at, _amount(worth).label("amount")


def _amount(worth: Worth) -> Any:
    """What an event adds to the sum of its tally: its value, where that is a whole number; else NULL."""
    by_name: dict[str, Any] = {}
    for name, (path, type_) in sorted(worth.items()):
        whole = read(event.c.properties, (path,), MONEY)
        # An amount of money was kept as a whole number of minor units.
        plain = whole if type_ == MONEY else case((read(event.c.properties, (path,), NUMBER) == whole, whole))
        by_name[name] = plain
    return case(by_name, value=event.c.name) if by_name else cast(null(), BigInteger)
