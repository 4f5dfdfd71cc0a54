"""What is said of a customer at the door: columns, attributes, consents and tags, and the row itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from engine.cohort.arms import bucket_of
from engine.store.local_time import ensure_zones
from engine.store.scratch import insert_ignore, insert_into, insert_touched
from engine.store.tables import consent, customer, customer_tag

COLUMNS = frozenset(
    {
        "email",
        "email_hash",
        "phone",
        "phone_hash",
        "push_token",
        "push_hash",
        "first_name",
        "last_name",
        "locale",
        "timezone",
        "country",
        "birth_month",
        "birth_day",
        "birth_year",
    }
)


@dataclass(frozen=True)
class Consented:
    """A yes or no to a topic on a channel, when it was said, and how."""

    channel: str
    topic: str
    state: str = "on"
    source: str = "api"
    proof: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Profile:
    """What is to be set: columns of the customer (checked, addresses with their hashes), attributes (typed), consents,
    tags.

    None as a value clears it. What isn't mentioned stays. `created_at` counts only for a customer who is new."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    consents: tuple[Consented, ...] = ()
    tags: tuple[str, ...] = ()
    untags: tuple[str, ...] = ()
    created_at: datetime | None = None


class Writer:
    """Writes customers in the caller's transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._profiles: list[tuple[int, Profile]] = []

    def customers(self, external_ids: Iterable[str], created: Mapping[str, datetime] | None = None) -> dict[str, int]:
        """The row ids of these customers; those nobody has heard of yet are created."""
        wanted = sorted(set(external_ids))
        found = self._find(wanted)
        missing = [external_id for external_id in wanted if external_id not in found]
        if missing:
            rows = [
                {
                    "external_id": external_id,
                    "attributes": {},
                    "bucket": bucket_of(external_id),
                    "created_at": (created or {}).get(external_id, self.now),
                    "updated_at": self.now,
                }
                for external_id in missing
            ]
            self.connection.execute(insert_ignore(self.connection, customer), rows)
            found |= self._find(missing)
        return found

    def _find(self, external_ids: list[str]) -> dict[str, int]:
        statement = select(customer.c.external_id, customer.c.id).where(
            customer.c.external_id.in_(bindparam("ids", expanding=True))
        )
        rows = self.connection.execute(statement, {"ids": external_ids})
        return dict(rows.all())

    def apply(self, customer_id: int, profile: Profile) -> None:
        """Remember what to write; `flush` writes it."""
        self._profiles.append((customer_id, profile))

    def flush(self) -> None:
        """Write what was remembered, in order."""
        profiles, self._profiles = self._profiles, []
        if not profiles:
            return
        ensure_zones(self.connection, {profile.columns.get("timezone") for _, profile in profiles})
        self._columns(profiles)
        self._consents(profiles)
        self._tags(profiles)
        ids = sorted({row_id for row_id, _ in profiles})
        self.connection.execute(insert_touched(self.connection), [{"customer_id": row_id} for row_id in ids])

    def _columns(self, profiles: list[tuple[int, Profile]]) -> None:
        merging = [row_id for row_id, profile in profiles if profile.attributes]
        current = self._attributes(merging) if merging else {}
        for row_id, profile in profiles:
            values: dict[str, Any] = dict(profile.columns)
            if unknown := values.keys() - COLUMNS:
                raise ValueError(f"no column of a customer: {sorted(unknown)}")
            if profile.attributes:
                current[row_id] = {**current.get(row_id, {}), **profile.attributes}
                values["attributes"] = {k: v for k, v in current[row_id].items() if v is not None}
            if values:
                values["updated_at"] = self.now
                self.connection.execute(update(customer).where(customer.c.id == row_id).values(values))

    def _attributes(self, ids: list[int]) -> dict[int, dict[str, Any]]:
        """The attributes as they are, their rows locked until the end of the transaction: two merges must not pass each
        other."""
        rows = select(customer.c.id, customer.c.attributes).where(customer.c.id.in_(ids)).order_by(customer.c.id)
        return dict(self.connection.execute(rows.with_for_update(key_share=True)).all())

    def _consents(self, profiles: list[tuple[int, Profile]]) -> None:
        rows = {
            (row_id, said.channel, said.topic): {
                "customer_id": row_id,
                "channel": said.channel,
                "topic": said.topic,
                "state": said.state,
                "at": said.at or self.now,
                "source": said.source,
                "proof": said.proof,
            }
            for row_id, profile in profiles
            for said in profile.consents
        }
        if not rows:
            return
        add = insert_into(self.connection, consent)
        new = {name: add.excluded[name] for name in ("state", "at", "source", "proof")}
        keys = ["customer_id", "channel", "topic"]
        # An older word doesn't undo a newer one.
        add = add.on_conflict_do_update(index_elements=keys, set_=new, where=consent.c.at <= add.excluded.at)
        self.connection.execute(add, list(rows.values()))

    def _tags(self, profiles: list[tuple[int, Profile]]) -> None:
        adds = [{"customer_id": row_id, "tag": tag} for row_id, profile in profiles for tag in profile.tags]
        if adds:
            self.connection.execute(insert_ignore(self.connection, customer_tag), adds)
        for row_id, profile in profiles:
            if profile.untags:
                gone = customer_tag.c.tag.in_(profile.untags)
                self.connection.execute(delete(customer_tag).where(customer_tag.c.customer_id == row_id, gone))
