"""A kept webhook knows how it is read again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import json_type

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("kept_hook", sa.Column("reading", json_type(), nullable=True))
