"""Who the events of a batch are of, in few statements.

As at the door (engine/runtime/ingest.py): found by any name of `identity`, made where nobody has heard of them, and
customers since their first event at least, if nobody has said since when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    and_,
    literal,
    select,
    true,
    type_coerce,
    update,
)

from engine.cohort.arms import bucket_of
from engine.cohort.facts import CREATED
from engine.runtime.identity import addressed, identified, known
from engine.runtime.profile import Writer
from engine.store.scratch import fill, insert_into, scratch
from engine.store.tables import customer, identity
from engine.store.types import Instant, json_type, micros, moment, text_type

_scratch = MetaData()
named = Table(
    "import_named",
    _scratch,
    Column("name", text_type()),
    Column("first_at", Instant()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
strange = Table(
    "import_strange",
    _scratch,
    Column("name", text_type()),
    Column("kind", text_type()),
    Column("value", text_type()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
unheard = Table(
    "import_unheard",
    _scratch,
    Column("name", text_type()),
    Column("bucket", Integer),
    Column("created_at", Instant()),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)


def introduced(connection: Connection, first: Mapping[str, int], now: datetime) -> dict[str, int]:
    """The row ids of those with these names. `first`: the moment of each one's first event (microseconds)."""
    latest = micros(now)
    began = {name: min(at, latest) for name, at in first.items()}
    scratch(connection, named)
    fill(connection, named, began.items())
    late = customer.c.created_at > named.c.first_at
    asked = select(named.c.name, customer.c.id, type_coerce(late, Integer))
    rows = connection.execute(asked.join_from(named, customer, customer.c.external_id == named.c.name)).all()
    ids = {name: row_id for name, row_id, _ in rows}
    if any(is_late for *_, is_late in rows):
        _lower(connection, late)
    if missing := [name for name in began if name not in ids]:
        others = _by_other_names(connection, missing)
        if others:
            first_of: dict[int, int] = {}
            for name, row_id in others.items():
                first_of[row_id] = min(began[name], first_of.get(row_id, latest))
            Writer(connection, now).began({row_id: moment(at) for row_id, at in first_of.items()})
        ids |= others
        ids |= _made(connection, {name: began[name] for name in missing if name not in others}, now)
    return ids


def _lower(connection: Connection, late: ColumnElement[bool]) -> None:
    """Everybody whose first event is earlier than their row says. Locked in the order of their ids, as the door has
    it."""
    whose = and_(customer.c.external_id == named.c.name, late, customer.c.said_at[CREATED].as_string().is_(None))
    locked = select(customer.c.id).join_from(customer, named, whose).order_by(customer.c.id)
    connection.execute(locked.with_for_update(key_share=True, of=customer)).all()
    connection.execute(update(customer).values(created_at=named.c.first_at).where(whose))


def _by_other_names(connection: Connection, missing: Sequence[str]) -> dict[str, int]:
    """Who of these is known by another name than their own."""
    scratch(connection, strange)
    fill(connection, strange, ((name, *identified(name)) for name in missing))
    theirs = and_(identity.c.kind == strange.c.kind, identity.c.value == strange.c.value)
    rows = select(strange.c.name, identity.c.customer_id).join_from(strange, identity, theirs)
    found = dict(connection.execute(rows).all())
    return found | known(connection, [name for name in missing if addressed(name) and name not in found])


def _made(connection: Connection, began: Mapping[str, int], now: datetime) -> dict[str, int]:
    """Make these customers. Another transaction may make them at the same time."""
    scratch(connection, unheard)
    fill(connection, unheard, ((name, bucket_of(name), began[name]) for name in sorted(began)))
    rows = select(
        unheard.c.name, literal({}, json_type()), unheard.c.bucket, unheard.c.created_at, literal(now, Instant())
    )
    columns = ["external_id", "attributes", "bucket", "created_at", "updated_at"]
    add = insert_into(connection, customer).from_select(columns, rows.where(true()).order_by(unheard.c.name))
    connection.execute(add.on_conflict_do_nothing())
    ids = select(unheard.c.name, customer.c.id).join_from(unheard, customer, customer.c.external_id == unheard.c.name)
    return dict(connection.execute(ids).all())
