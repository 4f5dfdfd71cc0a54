"""Webhooks that could not be taken as events are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "kept_hook",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("topic", text_type(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("body", text_type(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kept_hook"),
        sa.UniqueConstraint("source", "key", name="uq_kept_hook_source_key"),
    )
