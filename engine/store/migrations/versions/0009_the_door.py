"""Those at the door by why and since when they stand there, and by when their grace is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_index("ix_candidate_door", "candidate", ["journey", "reason", "since", "customer_id", "cause"])
    op.create_index(
        "ix_candidate_until",
        "candidate",
        ["journey", "until"],
        sqlite_where=sa.text("until IS NOT NULL"),
        postgresql_where=sa.text("until IS NOT NULL"),
    )
