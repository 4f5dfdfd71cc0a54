"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.store.types import Instant, id_type, json_type, text_type

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "candidate",
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("cause", text_type(), nullable=False),
        sa.Column("event_id", id_type(), nullable=True),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("since", Instant(), nullable=False),
        sa.Column("until", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("journey", "customer_id", "key", "cause", name="pk_candidate"),
    )
    op.create_table(
        "customer",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("external_id", text_type(), nullable=False),
        sa.Column("email", text_type(), nullable=True),
        sa.Column("email_hash", text_type(), nullable=True),
        sa.Column("phone", text_type(), nullable=True),
        sa.Column("phone_hash", text_type(), nullable=True),
        sa.Column("push_token", text_type(), nullable=True),
        sa.Column("push_hash", text_type(), nullable=True),
        sa.Column("first_name", text_type(), nullable=True),
        sa.Column("last_name", text_type(), nullable=True),
        sa.Column("locale", text_type(), nullable=True),
        sa.Column("timezone", text_type(), nullable=True),
        sa.Column("country", text_type(), nullable=True),
        sa.Column("birth_month", sa.Integer(), nullable=True),
        sa.Column("birth_day", sa.Integer(), nullable=True),
        sa.Column("birth_year", sa.Integer(), nullable=True),
        sa.Column("attributes", json_type(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customer"),
        sa.UniqueConstraint("external_id", name="uq_customer_external_id"),
    )
    op.create_index("ix_customer_birthday", "customer", ["birth_month", "birth_day"], unique=False)
    op.create_table(
        "decision",
        sa.Column("enrolment_id", id_type(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("step", text_type(), nullable=True),
        sa.Column("outcome", text_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("event_id", id_type(), nullable=True),
        sa.Column("detail", json_type(), nullable=True),
        sa.PrimaryKeyConstraint("enrolment_id", "visit", "kind", name="pk_decision"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "enrolment",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("version_id", id_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("key", text_type(), server_default="", nullable=False),
        sa.Column("cause", text_type(), nullable=False),
        sa.Column("event_id", id_type(), nullable=True),
        sa.Column("side_by_side", sa.Boolean(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("step", text_type(), nullable=True),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("entered_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("outcome", text_type(), nullable=True),
        sa.Column("pass_id", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_enrolment"),
        sa.UniqueConstraint("customer_id", "journey", "key", "cause", name="uq_enrolment_cause"),
    )
    op.create_index(
        "ix_enrolment_cohort",
        "enrolment",
        ["version_id", "step", "due_at"],
        unique=False,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(
        "uq_enrolment_live",
        "enrolment",
        ["customer_id", "journey", "key"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended' AND side_by_side = 0"),
        postgresql_where=sa.text("state <> 'ended' AND NOT side_by_side"),
    )
    op.create_table(
        "entry_quota",
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("period", text_type(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("journey", "period", name="pk_entry_quota"),
    )
    op.create_table(
        "event",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("name", text_type(), nullable=False),
        sa.Column("occurred_at", Instant(), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("properties", json_type(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.UniqueConstraint("source", "key", name="uq_event_source_key"),
    )
    op.create_index("ix_event_customer", "event", ["customer_id", "name", "occurred_at"], unique=False)
    op.create_index("ix_event_name", "event", ["name", "occurred_at", "customer_id"], unique=False)
    op.create_table(
        "fired",
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("zone", text_type(), nullable=False),
        sa.Column("fire", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("journey", "zone", "fire", name="pk_fired"),
    )
    op.create_table(
        "goal_reached",
        sa.Column("enrolment_id", id_type(), nullable=False),
        sa.Column("event_id", id_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("enrolment_id", name="pk_goal_reached"),
    )
    op.create_table(
        "journey_version",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", text_type(), nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("published_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_journey_version"),
        sa.UniqueConstraint("journey", "number", name="uq_journey_version"),
    )
    op.create_table(
        "message",
        sa.Column("id", id_type(), autoincrement=True, nullable=False),
        sa.Column("enrolment_id", id_type(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("route", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("version_id", id_type(), nullable=False),
        sa.Column("step", text_type(), nullable=False),
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("template", text_type(), nullable=False),
        sa.Column("topic", text_type(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=True),
        sa.Column("queued_at", Instant(), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("provider_id", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sa.UniqueConstraint("enrolment_id", "visit", "route", name="uq_message_route"),
    )
    op.create_index(
        "ix_message_open",
        "message",
        ["version_id", "step", "state", "due_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('queued', 'claimed', 'dispatching')"),
        postgresql_where=sa.text("state IN ('queued', 'claimed', 'dispatching')"),
    )
    op.create_table(
        "message_event",
        sa.Column("message_id", id_type(), nullable=False),
        sa.Column("kind", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("detail", json_type(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", "kind", "at", name="pk_message_event"),
    )
    op.create_table(
        "parked",
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("event_id", id_type(), nullable=False),
        sa.Column("error", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("journey", "event_id", name="pk_parked"),
    )
    op.create_table(
        "refusal",
        sa.Column("journey", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("key", text_type(), nullable=False),
        sa.Column("cause", text_type(), nullable=False),
        sa.Column("version_id", id_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("event_id", id_type(), nullable=True),
        sa.Column("detail", json_type(), nullable=True),
        sa.PrimaryKeyConstraint("journey", "customer_id", "key", "cause", name="pk_refusal"),
    )
    op.create_table(
        "rhythm",
        sa.Column("name", text_type(), nullable=False),
        sa.Column("gap", id_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_rhythm"),
    )
    op.create_table(
        "segment_member",
        sa.Column("segment", text_type(), nullable=False),
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("joined_at", Instant(), nullable=False),
        sa.Column("left_at", Instant(), nullable=True),
        sa.Column("joins", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "customer_id", name="pk_segment_member"),
    )
    op.create_index("ix_segment_member_customer", "segment_member", ["customer_id"], unique=False)
    op.create_table(
        "segment_state",
        sa.Column("segment", text_type(), nullable=False),
        sa.Column("digest", text_type(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("full_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("segment", name="pk_segment_state"),
    )
    op.create_table(
        "suppression",
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("address_hash", text_type(), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "address_hash", name="pk_suppression"),
    )
    op.create_table(
        "tally",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("name", text_type(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total", id_type(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "name", name="pk_tally"),
    )
    op.create_index("ix_tally_last", "tally", ["name", "last_at"], unique=False)
    op.create_table(
        "touched",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name="pk_touched"),
    )
    op.create_table(
        "zone_period",
        sa.Column("zone", text_type(), nullable=False),
        sa.Column("from_at", Instant(), nullable=False),
        sa.Column("to_at", Instant(), nullable=False),
        sa.Column("offset_s", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("zone", "from_at", name="pk_zone_period"),
    )
    op.create_table(
        "consent",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("channel", text_type(), nullable=False),
        sa.Column("topic", text_type(), nullable=False),
        sa.Column("state", text_type(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("source", text_type(), nullable=False),
        sa.Column("proof", text_type(), nullable=True),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_consent_customer_id"),
        sa.PrimaryKeyConstraint("customer_id", "channel", "topic", name="pk_consent"),
    )
    op.create_table(
        "customer_tag",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("tag", text_type(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_customer_tag_customer_id"),
        sa.PrimaryKeyConstraint("customer_id", "tag", name="pk_customer_tag"),
    )
    op.create_table(
        "hush",
        sa.Column("customer_id", id_type(), nullable=False),
        sa.Column("topic", text_type(), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name="fk_hush_customer_id"),
        sa.PrimaryKeyConstraint("customer_id", "topic", name="pk_hush"),
    )
    # ### end Alembic commands ###
