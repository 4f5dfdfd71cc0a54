"""The chat in which Telegram's bot reaches a customer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import text_type

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("customer", sa.Column("telegram", text_type(), nullable=True))
    op.add_column("customer", sa.Column("telegram_hash", text_type(), nullable=True))
    op.create_index("ix_customer_telegram_hash", "customer", ["telegram_hash"], unique=False)
