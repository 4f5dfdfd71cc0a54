"""Every table of Karibu.

The classes say what a row is; the lower-case names at the foot are the same tables for SQLAlchemy Core, which is what
the engine speaks: cohorts are moved by statements, not by objects.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    and_,
    literal_column,
    text,
)
from sqlmodel import Field, SQLModel

from engine.store.types import Instant, id_type, json_type, text_type

POINTS_TO = "points to"
"""Where a column's `info` names the table whose rows it holds the ids of."""


def _id() -> Any:
    return Field(default=None, sa_column=Column(id_type(), primary_key=True, autoincrement=True))


def _ref(table: str, *, null: bool = False, key: bool = False) -> Any:
    return Field(sa_column=Column(id_type(), ForeignKey(f"{table}.id"), nullable=null, primary_key=key))


def _points_to(table: str, *, null: bool = False, key: bool = False) -> Any:
    """The id of a row of that table, without a foreign key: these tables are written by the million in sets, and
    PostgreSQL checks a foreign key row by row, which costs as much again as the write (docs/decisions/0003)."""
    return Field(sa_column=Column(id_type(), nullable=null, primary_key=key, info={POINTS_TO: table}))


def _text(*, null: bool = False, key: bool = False, unique: bool = False, default: str | None = None) -> Any:
    return Field(sa_column=Column(text_type(), nullable=null, primary_key=key, unique=unique, server_default=default))


def _at(*, null: bool = False, key: bool = False) -> Any:
    return Field(sa_column=Column(Instant(), nullable=null, primary_key=key))


def _json(*, null: bool = True) -> Any:
    return Field(sa_column=Column(json_type(), nullable=null))


class Customer(SQLModel, table=True):
    """A person of the shop. `bucket` is a stable hash of external_id in [0, 2^31 - 1); the address hashes are keyed and
    empty while the address is missing or not valid. Declared attributes are in `attributes`, typed by project.yaml.
    `said_at`: when each of this was said (engine/cohort/facts.py). `created_at`: as the shop says, else the customer's
    first event."""

    id: int | None = _id()
    external_id: str = _text(unique=True)
    email: str | None = _text(null=True)
    email_hash: str | None = _text(null=True)
    phone: str | None = _text(null=True)
    phone_hash: str | None = _text(null=True)
    push_token: str | None = _text(null=True)
    push_hash: str | None = _text(null=True)
    telegram: str | None = _text(null=True)
    telegram_hash: str | None = _text(null=True)
    first_name: str | None = _text(null=True)
    last_name: str | None = _text(null=True)
    locale: str | None = _text(null=True)
    timezone: str | None = _text(null=True)
    country: str | None = _text(null=True)
    birth_month: int | None = None
    birth_day: int | None = None
    birth_year: int | None = None
    attributes: dict[str, Any] = _json(null=False)
    bucket: int
    created_at: datetime = _at()
    updated_at: datetime = _at()
    said_at: dict[str, int] | None = _json()

    __table_args__ = (
        Index("ix_customer_birthday", "birth_month", "birth_day"),
        Index("ix_customer_email_hash", "email_hash"),
        Index("ix_customer_phone_hash", "phone_hash"),
        Index("ix_customer_telegram_hash", "telegram_hash"),
    )


class Identity(SQLModel, table=True):
    """Another id that leads to a customer: one that was merged into them (`kind` id), or of a browser or device they
    were seen with (anonymous)."""

    kind: str = _text(key=True)
    value: str = _text(key=True)
    customer_id: int = _points_to("customer")
    at: datetime = _at()

    __table_args__ = (Index("ix_identity_customer", "customer_id"),)


class CustomerTag(SQLModel, table=True):
    __tablename__ = "customer_tag"
    customer_id: int = _ref("customer", key=True)
    tag: str = _text(key=True)


class Consent(SQLModel, table=True):
    """What a customer last said about one topic on one channel. `state` is on, off, or pending: a yes that is still to
    be confirmed, and counts as none. `source` is how it was said, `proof` with what words."""

    customer_id: int = _ref("customer", key=True)
    channel: str = _text(key=True)
    topic: str = _text(key=True)
    state: str = _text()
    at: datetime = _at()
    source: str = _text()
    proof: str | None = _text(null=True)


class ConsentSaid(SQLModel, table=True):
    """Every word of a customer about a topic on a channel: `at` when it was said, `heard_at` when it came here. The
    proof of a consent. Append-only; a word that changes nothing is no row."""

    __tablename__ = "consent_said"
    customer_id: int = _points_to("customer", key=True)
    channel: str = _text(key=True)
    topic: str = _text(key=True)
    at: datetime = _at(key=True)
    state: str = _text(key=True)
    heard_at: datetime = _at()
    source: str = _text()
    proof: str | None = _text(null=True)


class Suppression(SQLModel, table=True):
    """An address nothing may be sent to, as a keyed hash, whoever has it."""

    channel: str = _text(key=True)
    address_hash: str = _text(key=True)
    reason: str = _text()
    at: datetime = _at()


class SuppressionSaid(SQLModel, table=True):
    """When an address was suppressed (`state` on) and when that ended (off), why, and who said so. Append-only."""

    __tablename__ = "suppression_said"
    channel: str = _text(key=True)
    address_hash: str = _text(key=True)
    at: datetime = _at(key=True)
    state: str = _text(key=True)
    reason: str = _text()
    source: str = _text()


class Hush(SQLModel, table=True):
    """No messages of this topic to this customer until then."""

    customer_id: int = _ref("customer", key=True)
    topic: str = _text(key=True)
    until: datetime = _at()


class Event(SQLModel, table=True):
    """Something a customer did. Unique by (source, key). Money properties are whole minor units of the brand's
    currency. `said`: a digest of what was said of the customer with it, empty for nothing; null where it is never
    compared."""

    id: int | None = _id()
    source: str = _text()
    key: str = _text()
    customer_id: int = _points_to("customer")
    name: str = _text()
    occurred_at: datetime = _at()
    received_at: datetime = _at()
    properties: dict[str, Any] = _json(null=False)
    said: str | None = _text(null=True)

    __table_args__ = (
        UniqueConstraint("source", "key", name="uq_event_source_key"),
        Index("ix_event_customer", "customer_id", "name", "occurred_at"),
        Index("ix_event_name", "name", "occurred_at", "customer_id"),
    )


class Tally(SQLModel, table=True):
    """Lifetime counts of one event for one customer, kept in the event's own transaction. `total` sums the event's
    declared `value` property (minor units)."""

    customer_id: int = _points_to("customer", key=True)
    name: str = _text(key=True)
    count: int
    total: int = Field(sa_column=Column(id_type(), nullable=False))
    first_at: datetime = _at()
    last_at: datetime = _at()

    __table_args__ = (Index("ix_tally_last", "name", "last_at"),)


class Sighting(SQLModel, table=True):
    """How often a property of an event was seen with one kind of JSON value, and whether that is another type than
    declared. `event` '' stands for the customers' own attributes, `property` '' for the event itself, `*` for all the
    names beyond the bounds of engine/runtime/sightings.py. Diagnostics: written about once a second."""

    event: str = _text(key=True)
    property: str = _text(key=True)
    kind: str = _text(key=True)
    wrong: bool = Field(primary_key=True)
    count: int = Field(sa_column=Column(id_type(), nullable=False))
    first_at: datetime = _at()
    last_at: datetime = _at()


class Rhythm(SQLModel, table=True):
    """The shop's usual gap between two of an event, in microseconds: the median over customers."""

    name: str = _text(key=True)
    gap: int = Field(sa_column=Column(id_type(), nullable=False))
    at: datetime = _at()


class Touched(SQLModel, table=True):
    """Customers whose facts changed since the segments were last looked at."""

    customer_id: int = _points_to("customer", key=True)


class SegmentState(SQLModel, table=True):
    """One row a segment: the definition it was filled for and the moment it is true for."""

    __tablename__ = "segment_state"
    segment: str = _text(key=True)
    digest: str = _text()
    seen_at: datetime = _at()
    full_at: datetime = _at()


class SegmentMember(SQLModel, table=True):
    """A customer who is, or was, in a segment. `joins` counts arrivals; `left_at` is empty while they are in it. A row
    made by the first filling has joins 0: it enters nobody."""

    __tablename__ = "segment_member"
    segment: str = _text(key=True)
    customer_id: int = _points_to("customer", key=True)
    joined_at: datetime = _at()
    left_at: datetime | None = _at(null=True)
    joins: int

    __table_args__ = (Index("ix_segment_member_customer", "customer_id"),)


class JourneyVersion(SQLModel, table=True):
    """A published journey as it was then. `state` is live (takes entries), retired (only finishes those inside) or
    stopped."""

    __tablename__ = "journey_version"
    id: int | None = _id()
    journey: str = _text()
    number: int
    digest: str = _text()
    source: str = _text()
    state: str = _text()
    published_at: datetime = _at()

    __table_args__ = (UniqueConstraint("journey", "number", name="uq_journey_version"),)


class Enrolment(SQLModel, table=True):
    """One customer's way through one journey. It stands at `step` on its `visit`-th arrival, since `moved_at`.

    `state`: ready (to be moved), waiting (until due_at), listening (for an event, until due_at), standing (at a send),
    ended (`outcome` says how). `due_at` is when the engine must look at it: its arrival while ready, else the end of
    the wait; empty while it stands, waits for its children, or has ended. A child has a `parent_id` and its `item`.
    `key` is '' unless the journey names one. `cause` is what let them in and never does twice. `coupon_id`: the code
    that a step last gave them here.
    """

    id: int | None = _id()
    journey: str = _text()
    version_id: int = _points_to("journey_version")
    customer_id: int = _points_to("customer")
    key: str = _text(default="")
    cause: str = _text()
    event_id: int | None = _points_to("event", null=True)
    side_by_side: bool = False
    state: str = _text()
    step: str | None = _text(null=True)
    visit: int
    due_at: datetime | None = _at(null=True)
    entered_at: datetime = _at()
    moved_at: datetime = _at()
    ended_at: datetime | None = _at(null=True)
    outcome: str | None = _text(null=True)
    pass_id: str | None = _text(null=True)
    coupon_id: int | None = _points_to("coupon", null=True)
    parent_id: int | None = _points_to("enrolment", null=True)
    item: dict[str, Any] | None = _json()

    __table_args__ = (
        UniqueConstraint("customer_id", "journey", "key", "cause", name="uq_enrolment_cause"),
        Index(
            "ix_enrolment_coupon",
            "coupon_id",
            sqlite_where=text("coupon_id IS NOT NULL"),
            postgresql_where=text("coupon_id IS NOT NULL"),
        ),
        Index(
            "uq_enrolment_live",
            "customer_id",
            "journey",
            "key",
            unique=True,
            sqlite_where=text("state <> 'ended' AND side_by_side = 0"),
            postgresql_where=text("state <> 'ended' AND NOT side_by_side"),
        ),
        Index(
            "ix_enrolment_parent",
            "parent_id",
            sqlite_where=text("parent_id IS NOT NULL"),
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
        Index(
            "ix_enrolment_cohort",
            "version_id",
            "step",
            "due_at",
            sqlite_where=text("state <> 'ended'"),
            postgresql_where=text("state <> 'ended'"),
        ),
    )


class Decision(SQLModel, table=True):
    """Why something happened to an enrolment on one visit. Append-only.

    `kind`: enters, stays (waits, listens, is queued), moves (left the step; `outcome` is the arm or what the step did),
    ends; and of a message that was in doubt (engine/runtime/doubts.py) repeats, or settles:N: what a person decided of
    its N-th doubt. `reason` is a code, or what the person said; `detail` the values it saw.
    """

    enrolment_id: int = _points_to("enrolment", key=True)
    visit: int = Field(primary_key=True)
    kind: str = _text(key=True)
    step: str | None = _text(null=True)
    outcome: str = _text()
    reason: str | None = _text(null=True)
    at: datetime = _at()
    event_id: int | None = _points_to("event", null=True)
    detail: dict[str, Any] | None = _json()

    __table_args__ = ({"sqlite_with_rowid": False},)


class Refusal(SQLModel, table=True):
    """Someone the trigger named who was not let in, and why: no_key, audience, again, limit, or imported: the
    date had gone off before an import told of it. `detail`: what it saw."""

    journey: str = _text(key=True)
    customer_id: int = _points_to("customer", key=True)
    key: str = _text(key=True)
    cause: str = _text(key=True)
    version_id: int = _points_to("journey_version")
    reason: str = _text()
    at: datetime = _at()
    event_id: int | None = _points_to("event", null=True)
    detail: dict[str, Any] | None = _json()


class Candidate(SQLModel, table=True):
    """Someone at the door: their audience may yet come true (grace), the limit has no room now (limit), another
    journey sent them (start), they are among many (due), or letting them in failed (failed). Judged again until
    `until`, if there is one."""

    journey: str = _text(key=True)
    customer_id: int = _points_to("customer", key=True)
    key: str = _text(key=True)
    cause: str = _text(key=True)
    event_id: int | None = _points_to("event", null=True)
    reason: str = _text()
    since: datetime = _at()
    until: datetime | None = _at(null=True)

    __table_args__ = (
        Index("ix_candidate_customer", "customer_id"),
        Index("ix_candidate_door", "journey", "reason", "since", "customer_id", "cause"),
        Index(
            "ix_candidate_until",
            "journey",
            "until",
            sqlite_where=text("until IS NOT NULL"),
            postgresql_where=text("until IS NOT NULL"),
        ),
    )


class EntryQuota(SQLModel, table=True):
    """How many a journey with a limit let in in one period. The row's lock is what makes the limit hold."""

    __tablename__ = "entry_quota"
    journey: str = _text(key=True)
    period: str = _text(key=True)
    used: int


class GoalReached(SQLModel, table=True):
    """The goal of an enrolment, once. `value` is minor units for money, else the number itself."""

    __tablename__ = "goal_reached"
    enrolment_id: int = _points_to("enrolment", key=True)
    event_id: int = _points_to("event")
    at: datetime = _at()
    value: float | None = None


class CapSlot(SQLModel, table=True):
    """One of the messages that a cap lets a customer have, taken until then by one visit of an enrolment.

    The slots of a customer and a cap are numbered from 0 without a gap; one that was given back, or whose time is over,
    is taken again. So whoever wants the next one wants the same row, and of two only one gets it.
    """

    __tablename__ = "cap_slot"
    customer_id: int = _points_to("customer", key=True)
    cap: str = _text(key=True)
    n: int = Field(primary_key=True)
    enrolment_id: int = _points_to("enrolment")
    visit: int
    taken_at: datetime = _at()
    until: datetime = _at()

    __table_args__ = ({"sqlite_with_rowid": False},)


class Message(SQLModel, table=True):
    """One message to one customer. `state`: queued, claimed, dispatching, accepted, refused, stopped, in_doubt.

    `reason`: why it is in its state; of a queued one that is held, why it is.

    Unique by (enrolment, visit, route): a step that runs twice queues once. `route` is primary or fallback. `doubts`:
    how often nobody could say whether it was sent. `coupon_id`: the code it carries, once it was claimed. `delivery`:
    how far it came by the provider's word since: deferred, delivered, soft_bounced, bounced or dropped.
    """

    id: int | None = _id()
    enrolment_id: int = _points_to("enrolment")
    visit: int
    route: str = _text()
    customer_id: int = _points_to("customer")
    version_id: int = _points_to("journey_version")
    step: str = _text()
    channel: str = _text()
    template: str = _text()
    topic: str = _text()
    state: str = _text()
    reason: str | None = _text(null=True)
    queued_at: datetime = _at()
    due_at: datetime = _at()
    settled_at: datetime | None = _at(null=True)
    lease_until: datetime | None = _at(null=True)
    fence: int = 0
    attempts: int = 0
    doubts: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    provider_id: str | None = _text(null=True)
    coupon_id: int | None = _points_to("coupon", null=True)
    delivery: str | None = _text(null=True)

    __table_args__ = (
        UniqueConstraint("enrolment_id", "visit", "route", name="uq_message_route"),
        Index(
            "ix_message_coupon",
            "coupon_id",
            sqlite_where=text("coupon_id IS NOT NULL"),
            postgresql_where=text("coupon_id IS NOT NULL"),
        ),
        Index(
            "ix_message_open",
            "version_id",
            "step",
            "state",
            "due_at",
            sqlite_where=text("state IN ('queued', 'claimed', 'dispatching')"),
            postgresql_where=text("state IN ('queued', 'claimed', 'dispatching')"),
        ),
        Index(
            "ix_message_in_doubt",
            "settled_at",
            sqlite_where=text("state = 'in_doubt'"),
            postgresql_where=text("state = 'in_doubt'"),
        ),
        Index(
            "ix_message_held",
            "customer_id",
            "template",
            sqlite_where=text("state = 'queued' AND reason IN ('quiet_hours', 'capped')"),
            postgresql_where=text("state = 'queued' AND reason IN ('quiet_hours', 'capped')"),
        ),
    )


class MessageEvent(SQLModel, table=True):
    """What came back about a message (engine/runtime/feedback.py). `key` tells two of a kind apart and is the same when
    it is told again: the provider's moment, its address, or what else makes them different."""

    __tablename__ = "message_event"
    message_id: int = _points_to("message", key=True)
    kind: str = _text(key=True)
    key: str = _text(key=True)
    at: datetime = _at()
    detail: dict[str, Any] | None = _json()


class ShortLink(SQLModel, table=True):
    """Where a short link in a message's text leads (engine/rendering/short.py)."""

    __tablename__ = "short_link"
    code: str = _text(key=True)
    message_id: int = _points_to("message")
    url: str = _text()


class Coupon(SQLModel, table=True):
    """One coupon code. `folded` is how codes are told apart, whatever their letters' case: no code is in two pools.

    `state`: available, reserved (for `customer_id`), issued (a message with it was accepted, or it was told otherwise),
    redeemed, expired, released (was reserved and never told to anybody, so it is free again). `scope` is where it is
    the customer's one code of the pool: `customer`, `entry:ENROLMENT` or `step:ENROLMENT:STEP`. `asked` counts how
    often somebody relied on it: a release compares it. `event_id`: the event that redeemed it.
    """

    id: int | None = _id()
    pool: str = _text()
    code: str = _text()
    folded: str = _text(unique=True)
    state: str = _text()
    customer_id: int | None = _points_to("customer", null=True)
    scope: str | None = _text(null=True)
    asked: int = 0
    reserved_at: datetime | None = _at(null=True)
    issued_at: datetime | None = _at(null=True)
    redeemed_at: datetime | None = _at(null=True)
    expires_at: datetime | None = _at(null=True)
    event_id: int | None = _points_to("event", null=True)

    __table_args__ = (
        Index("ix_coupon_pool", "pool", "state", "id"),
        Index(
            "uq_coupon_scope",
            "customer_id",
            "pool",
            "scope",
            unique=True,
            sqlite_where=text("customer_id IS NOT NULL"),
            postgresql_where=text("customer_id IS NOT NULL"),
        ),
        Index(
            "ix_coupon_reserved",
            "id",
            sqlite_where=text("state = 'reserved'"),
            postgresql_where=text("state = 'reserved'"),
        ),
        Index(
            "ix_coupon_expires",
            "expires_at",
            sqlite_where=text("state IN ('reserved', 'issued')"),
            postgresql_where=text("state IN ('reserved', 'issued')"),
        ),
    )


class PointsLot(SQLModel, table=True):
    """Points that were given at once, and how many of them remain. They can be spent from `active_at` until
    `expires_at`. `counted`: they have become active, and that is known to tiers. `taken_at`: when they were taken back.
    One a visit of an enrolment; `event_id` is the event that let it in."""

    __tablename__ = "points_lot"
    id: int | None = _id()
    customer_id: int = _points_to("customer")
    points: int = Field(sa_column=Column(id_type(), nullable=False))
    remaining: int = Field(sa_column=Column(id_type(), nullable=False))
    at: datetime = _at()
    active_at: datetime = _at()
    expires_at: datetime | None = _at(null=True)
    counted: bool
    taken_at: datetime | None = _at(null=True)
    reason: str | None = _text(null=True)
    enrolment_id: int = _points_to("enrolment")
    visit: int
    event_id: int | None = _points_to("event", null=True)

    __table_args__ = (
        UniqueConstraint("enrolment_id", "visit", name="uq_points_lot_visit"),
        CheckConstraint("remaining BETWEEN 0 AND points", name="ck_points_lot_remaining"),
        Index("ix_points_lot_customer", "customer_id"),
        Index(
            "ix_points_lot_pending",
            "active_at",
            sqlite_where=text("NOT counted"),
            postgresql_where=text("NOT counted"),
        ),
        Index(
            "ix_points_lot_expires",
            "expires_at",
            sqlite_where=text("remaining > 0"),
            postgresql_where=text("remaining > 0"),
        ),
    )


class PointsEntry(SQLModel, table=True):
    """A line of the ledger of points. Append-only: the sum of a customer's lines is what remains of their lots.

    `kind`: given, spent, expired, taken_back. `points` is positive when given. `asked`: how many were to be spent or
    taken back, of which there may have been fewer. `lot_id`: the lot it is about, unless it took from several."""

    __tablename__ = "points_entry"
    id: int | None = _id()
    customer_id: int = _points_to("customer")
    kind: str = _text()
    points: int = Field(sa_column=Column(id_type(), nullable=False))
    asked: int | None = Field(default=None, sa_column=Column(id_type(), nullable=True))
    at: datetime = _at()
    lot_id: int | None = _points_to("points_lot", null=True)
    event_id: int | None = _points_to("event", null=True)

    __table_args__ = (
        UniqueConstraint("lot_id", "kind", name="uq_points_entry_lot"),
        Index("ix_points_entry_customer", "customer_id", "at"),
    )


class Trial(SQLModel, table=True):
    """A test message that somebody of the shop sent to an address of theirs: no customer's, counted nowhere. `sent_to`
    is the address with most of it left out; `state`: dispatching, accepted, refused, in_doubt."""

    id: int | None = _id()
    at: datetime = _at()
    template: str = _text()
    journey: str | None = _text(null=True)
    step: str | None = _text(null=True)
    channel: str = _text()
    sent_to: str = _text()
    state: str = _text()
    reason: str | None = _text(null=True)
    provider_id: str | None = _text(null=True)


class BroadcastAddress(SQLModel, table=True):
    """An address, as a keyed hash, and the one message that a broadcast sends it: whoever else has the address gets
    none. `fire` tells one broadcast of a step from the next."""

    __tablename__ = "broadcast_address"
    version_id: int = _points_to("journey_version", key=True)
    step: str = _text(key=True)
    visit: int = Field(primary_key=True)
    fire: str = _text(key=True)
    channel: str = _text(key=True)
    address_hash: str = _text(key=True)
    message_id: int = _points_to("message")

    __table_args__ = ({"sqlite_with_rowid": False},)


class Parked(SQLModel, table=True):
    """An event one journey could not be matched with (its fault, not the event's). Kept for another try. `attempts`:
    how often it was tried; `at`: the last time."""

    journey: str = _text(key=True)
    event_id: int = _points_to("event", key=True)
    error: str = _text()
    at: datetime = _at()
    attempts: int


class KeptHook(SQLModel, table=True):
    """A webhook's part that was genuine and could not be taken as an event: `reason` says why. Looked at by a person;
    bounded in number a source. `key` is the content's where the source gives none. `reading`: what besides `body` it
    takes to read it again; None where that can't be."""

    __tablename__ = "kept_hook"
    id: int | None = _id()
    source: str = _text()
    key: str = _text()
    topic: str = _text()
    received_at: datetime = _at()
    reason: str = _text()
    body: str = _text()
    reading: dict[str, Any] | None = _json()

    __table_args__ = (UniqueConstraint("source", "key", name="uq_kept_hook_source_key"),)


class KeptWait(SQLModel, table=True):
    """A kept webhook that nobody knew of whose it is waits for an event of its source with this key, which says so."""

    __tablename__ = "kept_wait"
    source: str = _text(key=True)
    key: str = _text(key=True)
    hook_id: int = _points_to("kept_hook", key=True)

    __table_args__ = (Index("ix_kept_wait_hook", "hook_id"),)


class ZonePeriod(SQLModel, table=True):
    """From when until when a time zone had which offset (seconds east of UTC). Filled from the tz database."""

    __tablename__ = "zone_period"
    zone: str = _text(key=True)
    from_at: datetime = _at(key=True)
    to_at: datetime = _at()
    offset_s: int


class Fired(SQLModel, table=True):
    """A date or schedule that has had its fire: one row a journey, zone and local date or time."""

    journey: str = _text(key=True)
    zone: str = _text(key=True)
    fire: str = _text(key=True)
    at: datetime = _at()


class ApiKey(SQLModel, table=True):
    """A key of the HTTP side. Of its secret there is only the SHA-256, in hex: 256 bits of chance can't be guessed, so
    a slow hash would protect nothing and cost every request. `rate` is requests per second; `scope` is write, read or
    admin. A row stays when its key is revoked."""

    __tablename__ = "api_key"
    id: int | None = _id()
    name: str = _text()
    prefix: str = _text(unique=True)
    secret_hash: str = _text()
    scope: str = _text()
    browser: bool
    rate: int | None = None
    created_at: datetime = _at()
    revoked_at: datetime | None = _at(null=True)


class Mark(SQLModel, table=True):
    """How far a long piece of work has come, written in the transaction of the work itself."""

    name: str = _text(key=True)
    value: dict[str, Any] | None = _json()


def _table(model: type[SQLModel]) -> Table:
    table = model.__table__  # type: ignore[attr-defined]
    assert isinstance(table, Table)
    return table


customer = _table(Customer)
identity = _table(Identity)
customer_tag = _table(CustomerTag)
consent = _table(Consent)
consent_said = _table(ConsentSaid)
suppression = _table(Suppression)
suppression_said = _table(SuppressionSaid)
hush = _table(Hush)
event = _table(Event)
tally = _table(Tally)
sighting = _table(Sighting)
rhythm = _table(Rhythm)
touched = _table(Touched)
segment_state = _table(SegmentState)
segment_member = _table(SegmentMember)
journey_version = _table(JourneyVersion)
enrolment = _table(Enrolment)
decision = _table(Decision)
refusal = _table(Refusal)
candidate = _table(Candidate)
entry_quota = _table(EntryQuota)
goal_reached = _table(GoalReached)
cap_slot = _table(CapSlot)
message = _table(Message)
message_event = _table(MessageEvent)
short_link = _table(ShortLink)
coupon = _table(Coupon)
points_lot = _table(PointsLot)
points_entry = _table(PointsEntry)
trial = _table(Trial)
broadcast_address = _table(BroadcastAddress)
parked = _table(Parked)
kept_hook = _table(KeptHook)
kept_wait = _table(KeptWait)
zone_period = _table(ZonePeriod)
fired = _table(Fired)
api_key = _table(ApiKey)
mark = _table(Mark)

IN_JOURNEY = enrolment.c.state != literal_column("'ended'")
"""Still in the journey. Written as a constant, not a parameter: only so does a partial index serve it."""

NO_CHILD = enrolment.c.parent_id.is_(None)
"""An enrolment that an entry made, and no step."""

IN_DOUBT = message.c.state == literal_column("'in_doubt'")
"""A message nobody can say of whether it was sent, in the words of its partial index."""


def is_held(of: FromClause = message) -> ColumnElement[bool]:
    """A message that waits for the end of quiet hours or for room under a cap, in the words of its partial index."""
    reasons: list[ColumnElement[str]] = [literal_column("'quiet_hours'"), literal_column("'capped'")]
    return and_(of.c.state == literal_column("'queued'"), of.c.reason.in_(reasons))


UNSETTLED = message.c.state.in_([literal_column(f"'{state}'") for state in ("queued", "claimed", "dispatching")])
"""A message that has not been settled, in the words of its partial index."""
