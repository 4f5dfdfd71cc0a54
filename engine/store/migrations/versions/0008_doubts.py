"""How often a message was in doubt, and an index of those that are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("message", sa.Column("doubts", sa.Integer(), nullable=False, server_default="0"))
    in_doubt = sa.text("state = 'in_doubt'")
    op.create_index("ix_message_in_doubt", "message", ["settled_at"], sqlite_where=in_doubt, postgresql_where=in_doubt)
