"""Where the short links of texts lead."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import id_type, text_type

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "short_link",
        sa.Column("code", text_type(), nullable=False),
        sa.Column("message_id", id_type(), nullable=False),
        sa.Column("url", text_type(), nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_short_link"),
    )
