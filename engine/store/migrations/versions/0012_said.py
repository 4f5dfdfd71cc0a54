"""Every word about consent and every suppression, kept: what is there now is the first word of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "consent_said",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("topic", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("heard_at", Instant(), nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.Column("proof", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("customer_id", "channel", "topic", "at", "state", name="pk_consent_said"),
    )
    op.create_table(
        "suppression_said",
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("address_hash", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "address_hash", "at", "state", name="pk_suppression_said"),
    )
    op.execute(
        "INSERT INTO consent_said (customer_id, channel, topic, at, state, heard_at, source, proof) "
        "SELECT customer_id, channel, topic, at, state, at, source, proof FROM consent"
    )
    op.execute(
        "INSERT INTO suppression_said (channel, address_hash, at, state, reason, source) "
        "SELECT channel, address_hash, at, 'on', reason, 'feedback' FROM suppression"
    )
