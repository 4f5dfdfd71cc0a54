"""How far long work has come, and since when somebody stands at their step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, json_type, text_type

revision = "0002"
down_revision = "0001"

# They stand where their last move took them; without one they stand where they entered.
SINCE = """
    UPDATE enrolment SET moved_at = coalesce(
        (SELECT max(decision.at) FROM decision WHERE decision.enrolment_id = enrolment.id AND decision.kind = 'moves'),
        entered_at
    )
"""


def upgrade() -> None:
    op.create_table(
        "mark",
        sa.Column("name", text_type(), nullable=False),
        sa.Column("value", json_type(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_mark"),
    )
    op.add_column("enrolment", sa.Column("moved_at", Instant(), nullable=True))
    op.execute(SINCE)
    with op.batch_alter_table("enrolment") as enrolment:
        enrolment.alter_column("moved_at", existing_type=Instant(), nullable=False)
