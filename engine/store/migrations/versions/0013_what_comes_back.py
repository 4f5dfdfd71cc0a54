"""How far a message came, and what tells two of a kind apart that came back about it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, json_type, text_type

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("message", sa.Column("delivery", text_type(), nullable=True))
    old = op.get_bind()
    op.rename_table("message_event", "message_event_before")
    if old.dialect.name == "postgresql":  # its index keeps the name, and it must be free
        op.execute("ALTER TABLE message_event_before RENAME CONSTRAINT pk_message_event TO pk_message_event_before")
    op.create_table(
        "message_event",
        sa.Column("message_id", id_type(), nullable=False),
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("detail", json_type(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", "kind", "key", name="pk_message_event"),
    )
    op.execute(
        "INSERT INTO message_event (message_id, kind, key, at, detail)"
        " SELECT message_id, kind, CAST(at AS TEXT), at, detail FROM message_event_before"
    )
    op.drop_table("message_event_before")
