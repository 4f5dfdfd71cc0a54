"""Enrolments that a step made for the items of a list, and the addresses that have got a broadcast."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import id_type, json_type, text_type

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("enrolment", sa.Column("parent_id", id_type(), nullable=True))
    op.add_column("enrolment", sa.Column("item", json_type(), nullable=True))
    child = sa.text("parent_id IS NOT NULL")
    op.create_index("ix_enrolment_parent", "enrolment", ["parent_id"], sqlite_where=child, postgresql_where=child)
    op.create_table(
        "broadcast_address",
        sa.Column("version_id", id_type(), nullable=False),
        sa.Column("step", text_type(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("fire", text_type(), nullable=False),
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("address_hash", text_type(), nullable=False),
        sa.Column("message_id", id_type(), nullable=False),
        sa.PrimaryKeyConstraint(
            "version_id", "step", "visit", "fire", "channel", "address_hash", name="pk_broadcast_address"
        ),
        sqlite_with_rowid=False,
    )
