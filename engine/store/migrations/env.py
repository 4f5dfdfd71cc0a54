"""Alembic's entry: runs the revisions on the connection it is handed, inside that connection's transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from engine.store import tables

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.customer.metadata,
    render_as_batch=True,  # SQLite alters a table by building another
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
