"""Keys of the HTTP side."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("name", text_type(), nullable=False),
        sa.Column("prefix", text_type(), nullable=False),
        sa.Column("secret_hash", text_type(), nullable=False),
        sa.Column("scope", text_type(), nullable=False),
        sa.Column("browser", sa.Boolean(), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("prefix", name="uq_api_key_prefix"),
    )
