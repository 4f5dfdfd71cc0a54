"""Enrolments that a step made for the items of a list: whose child each is, and its item."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import id_type, json_type

revision = "0016"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("enrolment", sa.Column("parent_id", id_type(), nullable=True))
    op.add_column("enrolment", sa.Column("item", json_type(), nullable=True))
    child = sa.text("parent_id IS NOT NULL")
    op.create_index("ix_enrolment_parent", "enrolment", ["parent_id"], sqlite_where=child, postgresql_where=child)
