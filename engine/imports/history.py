"""Many events that happened before, in few statements: staged by COPY on PostgreSQL and executemany on SQLite, then
moved in sets.

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

from engine.language.types import MONEY, NUMBER
from engine.runtime.ingest import Incoming, introduced, tally_of
from engine.runtime.profile import Writer
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


def take(connection: Connection, batch: Sequence[Incoming], worth: Mapping[str, str], now: datetime) -> int:
    """Accept these events in the caller's transaction; how many of them are new. `worth`: each event's value property,
    which the tally sums."""
    facts_stay(connection)
    ids = introduced(Writer(connection, now), batch, now)
    scratch(connection, staged)
    fill(
        connection,
        staged,
        (
            (n, e.source, e.key, ids[e.customer], e.name, micros(e.occurred_at), orjson.dumps(e.properties).decode())
            for n, e in enumerate(batch)
        ),
    )
    count, new = _insert(connection, worth, now)
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
        who = select(new.c.customer_id).where(true()).distinct().order_by(new.c.customer_id)
        connection.execute(insert_touched(connection, who))
    return count


_COPIED = ("source", "key", "customer_id", "name", "occurred_at", "properties")
_TALLY = ("customer_id", "name", "count", "total", "first_at", "last_at")


def _insert(connection: Connection, worth: Mapping[str, str], now: datetime) -> tuple[int, FromClause]:
    """Insert the events; how many were new, and these with what each is worth."""
    copied = [staged.c[name] for name in _COPIED]
    rows = select(*copied, literal(now, Instant())).where(true()).order_by(staged.c.n)
    add = insert_into(connection, event).from_select([*_COPIED, "received_at"], rows).on_conflict_do_nothing()
    said = (event.c.customer_id, event.c.name, event.c.occurred_at, _amount(worth).label("amount"))
    if connection.dialect.name == "postgresql":
        scratch(connection, fresh)
        new = add.returning(*said).cte("new")
        kept = insert(fresh).from_select(list(fresh.c.keys()), select(new))
        return connection.execute(kept, execution_options=COUNTED).rowcount, fresh
    # SQLite returns no rows into a table. It has one writer, so what lies beyond the last id is of this statement.
    before = connection.scalar(select(func.coalesce(func.max(event.c.id), 0))) or 0
    count = connection.execute(add, execution_options=COUNTED).rowcount
    return count, select(*said).where(event.c.id > before).subquery("new")


def _amount(worth: Mapping[str, str]) -> Any:
    """What an event adds to the sum of its tally: its value, where that is a whole number; else NULL."""
    if not worth:
        return cast(null(), BigInteger)
    by_name = {}
    for name, path in sorted(worth.items()):
        whole = read(event.c.properties, (path,), MONEY)
        by_name[name] = case((read(event.c.properties, (path,), NUMBER) == whole, whole))
    return case(by_name, value=event.c.name)
