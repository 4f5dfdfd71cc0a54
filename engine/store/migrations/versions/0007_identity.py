"""Ids that lead to a customer beside their own, and finding one by the hash of an address, or at a door."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("value", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", name="pk_identity"),
    )
    op.create_index("ix_identity_customer", "identity", ["customer_id"], unique=False)
    op.create_index("ix_customer_email_hash", "customer", ["email_hash"], unique=False)
    op.create_index("ix_customer_phone_hash", "customer", ["phone_hash"], unique=False)
    op.create_index("ix_candidate_customer", "candidate", ["customer_id"], unique=False)
