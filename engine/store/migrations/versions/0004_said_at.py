"""When each fact of a customer was said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import json_type

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Empty: whatever is said next is newer than what was written before anybody kept the time.
    op.add_column("customer", sa.Column("said_at", json_type(), nullable=True))
