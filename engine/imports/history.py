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
    update,
)

from engine.language.types import MONEY, NUMBER
from engine.runtime.identity import known
from engine.runtime.ingest import Incoming, introduced, tally_of
from engine.runtime.profile import Writer
from engine.segments.stored import read
from engine.store.merges import facts_stay
from engine.store.scratch import COUNTED, fill, insert_into, insert_touched, scratch
from engine.store.tables import customer, event, tally
from engine.store.types import Instant, id_type, json_type, micros, text_type

_temporary: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DELETE ROWS"}
_scratch = MetaData()
staged = Table(
    "import_staged",
    _scratch,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("source", text_type()),
    Column("key", text_type()),
    Column("customer", text_type()),
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
    scratch(connection, staged)
    fill(
        connection,
        staged,
        (
            (n, e.source, e.key, e.customer, e.name, micros(e.occurred_at), orjson.dumps(e.properties).decode())
            for n, e in enumerate(batch)
        ),
    )
    _introduce(connection, batch, now)
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


_COPIED = ("source", "key", "name", "occurred_at", "properties")
_TALLY = ("customer_id", "name", "count", "total", "first_at", "last_at")


def _introduce(connection: Connection, batch: Sequence[Incoming], now: datetime) -> None:
    """As `introduced` at the door, in sets: one by one only for those who have no row of their own, and for those whose
    first event this is."""
    writer = Writer(connection, now)
    theirs = customer.c.external_id == staged.c.customer
    strange = select(staged.c.customer).distinct().outerjoin(customer, theirs).where(customer.c.id.is_(None))
    names = set(connection.scalars(strange))
    if names:
        introduced(writer, [one for one in batch if one.customer in names], now)
        # Who still has no row of their own was merged away: their events are of the one they are now.
        away = known(connection, connection.scalars(strange).all())
        for name, row_id in away.items():
            now_called = select(customer.c.external_id).where(customer.c.id == row_id).scalar_subquery()
            connection.execute(update(staged).where(staged.c.customer == name).values(customer=now_called))
    first = func.min(staged.c.occurred_at)
    earlier = select(customer.c.id, first).join_from(staged, customer, theirs)
    earlier = earlier.group_by(customer.c.id, customer.c.created_at).having(first < customer.c.created_at)
    began = dict(connection.execute(earlier).all())
    if began:
        writer.began(began)


def _insert(connection: Connection, worth: Mapping[str, str], now: datetime) -> tuple[int, FromClause]:
    """Insert the events; how many were new, and these with what each is worth."""
    copied = [staged.c[name] for name in _COPIED]
    theirs = customer.c.external_id == staged.c.customer
    rows = select(*copied, customer.c.id, literal(now, Instant())).join_from(staged, customer, theirs).where(true())
    add = (
        insert_into(connection, event)
        .from_select([*_COPIED, "customer_id", "received_at"], rows.order_by(staged.c.n))
        .on_conflict_do_nothing()
    )
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
