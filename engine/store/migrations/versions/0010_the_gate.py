"""Slots of caps, and an index of the messages that are held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "cap_slot",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("cap", text_type(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("enrolment_id", id_type(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("taken_at", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "cap", "n", name="pk_cap_slot"),
        sqlite_with_rowid=False,
    )
    held = sa.text("state = 'queued' AND reason IN ('quiet_hours', 'capped')")
    columns = ["customer_id", "template"]
    op.create_index("ix_message_held", "message", columns, sqlite_where=held, postgresql_where=held)
