"""Coupon codes and points."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, text_type

revision = "0011"
down_revision = "0010"


def _where(text: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(text), "postgresql_where": sa.text(text)}


def upgrade() -> None:
    for table in ("enrolment", "message"):
        op.add_column(table, sa.Column("coupon_id", id_type(), nullable=True))
        op.create_index(f"ix_{table}_coupon", table, ["coupon_id"], **_where("coupon_id IS NOT NULL"))
    op.create_table(
        "coupon",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("pool", text_type(), nullable=False),
        sa.Column("code", text_type(), nullable=False),
        sa.Column("folded", text_type(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=True),
        sa.Column("scope", text_type(), nullable=True),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("reserved_at", Instant(), nullable=True),
        sa.Column("issued_at", Instant(), nullable=True),
        sa.Column("redeemed_at", Instant(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("event_id", id_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_coupon"),
        sa.UniqueConstraint("folded", name="uq_coupon_folded"),
    )
    op.create_index("ix_coupon_pool", "coupon", ["pool", "state", "id"])
    scope = ["customer_id", "pool", "scope"]
    op.create_index("uq_coupon_scope", "coupon", scope, unique=True, **_where("customer_id IS NOT NULL"))
    op.create_index("ix_coupon_reserved", "coupon", ["id"], **_where("state = 'reserved'"))
    op.create_index("ix_coupon_expires", "coupon", ["expires_at"], **_where("state IN ('reserved', 'issued')"))
    op.create_table(
        "points_lot",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("points", id_type(), nullable=False),
        sa.Column("remaining", id_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("active_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("taken_at", Instant(), nullable=True),
        sa.Column("reason", text_type(), nullable=True),
        sa.Column("enrolment_id", id_type(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("event_id", id_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_points_lot"),
        sa.UniqueConstraint("enrolment_id", "visit", name="uq_points_lot_visit"),
        sa.CheckConstraint("remaining BETWEEN 0 AND points", name="ck_points_lot_remaining"),
    )
    op.create_index("ix_points_lot_customer", "points_lot", ["customer_id"])
    op.create_index("ix_points_lot_pending", "points_lot", ["active_at"], **_where("NOT counted"))
    op.create_index("ix_points_lot_expires", "points_lot", ["expires_at"], **_where("remaining > 0"))
    op.create_table(
        "points_entry",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("points", id_type(), nullable=False),
        sa.Column("asked", id_type(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("lot_id", id_type(), nullable=True),
        sa.Column("event_id", id_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_points_entry"),
        sa.UniqueConstraint("lot_id", "kind", name="uq_points_entry_lot"),
    )
    op.create_index("ix_points_entry_customer", "points_entry", ["customer_id", "at"])
