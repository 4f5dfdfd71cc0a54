"""Indexes of the moments that stand with a customer: when they were created, and attributes that are instants.

Time turns those whose moment has come since the last look: with an index that is a seek, without one every look reads
everybody. Which attributes segments look at is the project's, so these indexes are made when they are first needed, not
by a migration. They make nothing true: where one is lost, the next look makes it again. One that is no longer needed
stays.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable

from sqlalchemy import BigInteger, ColumnElement, Dialect, column, literal_column

from engine.language import tree
from engine.segments.stored import read
from engine.store.database import Database
from engine.store.types import json_type

log = logging.getLogger("karibu.segments")

_INDEXES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'customer'",
    "postgresql": "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'customer'::regclass",
}


def keep_indexes(database: Database, moments: Iterable[tree.Name]) -> None:
    """Make the indexes of these moments that aren't there, in transactions of their own.

    Making one takes seconds on a million customers, and nobody writes of a customer meanwhile."""
    wanted = {index_name(moment): moment for moment in moments}
    if not wanted:
        return
    with database.read() as connection:
        missing = wanted.keys() - set(connection.exec_driver_sql(_INDEXES[database.dialect]).scalars())
    for index in sorted(missing):
        log.info("making the index %s", index)
        with database.write() as connection:
            of = stored_moment(wanted[index], connection.dialect)
            connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {index} ON customer (({of}))")


def stored_moment(moment: tree.Name, dialect: Dialect) -> ColumnElement[int]:
    """The moment in microseconds, NULL where there is none, to the letter as its index has it: behind bound parameters
    no database would know it again. For statements in which `customer` is the only table with such columns."""
    if moment.path == ("created",):
        return literal_column("created_at", BigInteger)
    found = read(column("attributes", json_type()), moment.path, moment.type)
    written = found.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return literal_column(str(written), BigInteger)


def index_name(moment: tree.Name) -> str:
    """A name in PostgreSQL has 63 letters, and an attribute's alone may have as many."""
    known = hashlib.sha256(".".join(moment.path).encode()).hexdigest()
    return f"ix_customer_at_{'_'.join(moment.path)[:32]}_{known[:8]}"
