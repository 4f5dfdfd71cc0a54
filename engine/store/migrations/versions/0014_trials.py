"""Test messages: sent by hand to an address of the shop's own, kept apart from those of customers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "trial",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("template", text_type(), nullable=False),
        sa.Column("journey", text_type(), nullable=True),
        sa.Column("step", text_type(), nullable=True),
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("sent_to", text_type(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=True),
        sa.Column("provider_id", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_trial"),
    )
