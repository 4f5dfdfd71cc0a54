"""What was said of a customer with an event, as a digest: the same key with another word is told apart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import text_type

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("event", sa.Column("said", text_type(), nullable=True))
