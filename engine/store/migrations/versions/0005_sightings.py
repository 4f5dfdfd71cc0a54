"""What was seen at the door."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "sighting",
        sa.Column("event", text_type(), nullable=False),
        sa.Column("property", text_type(), nullable=False),
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("wrong", sa.Boolean(), nullable=False),
        sa.Column("count", id_type(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("event", "property", "kind", "wrong", name="pk_sighting"),
    )
