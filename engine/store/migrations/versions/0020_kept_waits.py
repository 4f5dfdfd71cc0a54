"""A kept webhook waits for the event that says whose it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import id_type, text_type

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "kept_wait",
        sa.Column("source", text_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("hook_id", id_type(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key", "hook_id", name="pk_kept_wait"),
    )
    op.create_index("ix_kept_wait_hook", "kept_wait", ["hook_id"])
