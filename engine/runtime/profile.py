"""What is said of a customer at the door: columns, attributes, consents and tags, and the row itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import Connection, Integer, Select, Text, and_, bindparam, delete, not_, or_, select, true, update

from engine.cohort.arms import bucket_of
from engine.cohort.facts import CREATED, Facts
from engine.runtime.identity import known
from engine.store.given import among, given, listed, packed
from engine.store.local_time import ensure_zones
from engine.store.said import COLUMNS as WORD
from engine.store.said import remember
from engine.store.scratch import insert_ignore, insert_into, touch
from engine.store.tables import consent, consent_said, customer, customer_tag
from engine.store.types import Instant, id_type, json_type, micros

COLUMNS = frozenset(
    {
        "email",
        "email_hash",
        "phone",
        "phone_hash",
        "push_token",
        "push_hash",
        "telegram",
        "telegram_hash",
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
    """A yes or no to a topic on a channel, when it was said, how (`source`), and with what words (`proof`).

    `confirmed`: who tells it knows that the address is theirs who said it. A pending `state` is a yes that still wants
    to be confirmed."""

    channel: str
    topic: str
    state: str = "on"
    source: str = "api"
    proof: str | None = None
    at: datetime | None = None
    confirmed: bool = False


@dataclass(frozen=True)
class Profile:
    """What is to be set: columns of the customer (checked, addresses with their hashes), attributes (typed), consents,
    tags.

    None as a value clears it. What isn't mentioned stays. `at`: when it was said (None: now); what was said later of
    the same thing stands, whenever this comes. `page`: it came with a browser key, so anybody may have said it."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    consents: tuple[Consented, ...] = ()
    tags: tuple[str, ...] = ()
    untags: tuple[str, ...] = ()
    created_at: datetime | None = None
    at: datetime | None = None
    page: bool = False


class Writer:
    """Writes customers in the caller's transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._profiles: list[tuple[int, Profile]] = []

    def customers(self, external_ids: Iterable[str], created: Mapping[str, datetime] | None = None) -> dict[str, int]:
        """The row ids of these customers, by any name of `identity`; those nobody has heard of yet are created."""
        wanted = sorted(set(external_ids))
        found = known(self.connection, wanted)
        missing = [external_id for external_id in wanted if external_id not in found]
        if missing:
            now, since = micros(self.now), created or {}
            rows = [
                (external_id, bucket_of(external_id), micros(since.get(external_id, self.now)), now, "{}")
                for external_id in missing
            ]
            self.connection.execute(_strangers(self.connection.dialect.name), packed(rows))
            found |= known(self.connection, missing)
        return found

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
        touch(self.connection, {row_id for row_id, _ in profiles})

    def _columns(self, profiles: list[tuple[int, Profile]]) -> None:
        telling = [(row_id, one) for row_id, one in profiles if one.columns or one.attributes or one.created_at]
        people = known_facts(self.connection, {row_id for row_id, _ in telling}) if telling else {}
        for row_id, profile in telling:
            if unknown := profile.columns.keys() - COLUMNS:
                raise ValueError(f"no column of a customer: {sorted(unknown)}")
            created = {} if profile.created_at is None else {CREATED: profile.created_at}
            if row_id in people:
                columns, at = {**profile.columns, **created}, profile.at or self.now
                people[row_id].hear(columns, profile.attributes, at, page=profile.page)
        told: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for row_id, facts in people.items():
            if facts.heard:
                new = news(facts, self.now)
                told.setdefault(tuple(new), []).append((row_id, *map(_given, new.values())))
        for names, rows in told.items():
            self.connection.execute(_rewritten(self.connection.dialect.name, names), packed(rows))

    def began(self, first: Mapping[int, datetime]) -> None:
        """Somebody has been a customer since their first event, if nobody has said since when."""
        dialect = self.connection.dialect.name
        whose = {"ids": listed(dialect, sorted(first)), "first": min(first.values())}
        for row in self.connection.execute(_late(dialect), whose).all():
            if first[row.id] < row.created_at and CREATED not in (row.said_at or {}):
                lower = update(customer).where(customer.c.id == row.id, customer.c.created_at > first[row.id])
                self.connection.execute(lower.values(created_at=first[row.id]))

    def _consents(self, profiles: list[tuple[int, Profile]]) -> None:
        rows: dict[tuple[int, str, str], tuple[Any, ...]] = {}
        words: list[tuple[Any, ...]] = []
        for row_id, profile in profiles:
            for said in profile.consents:
                key = (row_id, said.channel, said.topic)
                at = min(said.at or profile.at or self.now, self.now)  # else no later no would be newer
                when = micros(at)
                words.append((*key, when, said.state, micros(self.now), said.source, said.proof))
                before = rows.get(key)
                if before is None or (before[4], before[3] == "off") <= (when, said.state == "off"):
                    rows[key] = (*key, said.state, when, said.source, said.proof)
        if not rows:
            return
        self.connection.execute(
            _remembered(self.connection.dialect.name), packed(sorted(words, key=itemgetter(slice(5))))
        )
        self.connection.execute(_latest(self.connection.dialect.name), packed(rows[key] for key in sorted(rows)))

    def _tags(self, profiles: list[tuple[int, Profile]]) -> None:
        adds = [{"customer_id": row_id, "tag": tag} for row_id, profile in profiles for tag in profile.tags]
        if adds:
            self.connection.execute(insert_ignore(self.connection, customer_tag), adds)
        for row_id, profile in profiles:
            if profile.untags:
                gone = customer_tag.c.tag.in_(profile.untags)
                self.connection.execute(delete(customer_tag).where(customer_tag.c.customer_id == row_id, gone))


@cache
def _strangers(dialect: str) -> Any:
    """Makes customers, unless they are there."""
    rows = given(
        dialect,
        external_id=Text(),
        bucket=Integer(),
        created_at=Instant(),
        updated_at=Instant(),
        attributes=json_type(),
    )
    return insert_ignore(dialect, customer).from_select([*rows.c.keys()], select(rows).where(true()))


@cache
def _remembered(dialect: str) -> Any:
    """Keeps the words that change something."""
    return remember(dialect, given(dialect, **{name: consent_said.c[name].type for name in WORD}))


@cache
def _latest(dialect: str) -> Any:
    """What stands of each topic: the newest word."""
    columns = ("customer_id", "channel", "topic", "state", "at", "source", "proof")
    rows = given(dialect, **{name: consent.c[name].type for name in columns})
    add = insert_into(dialect, consent).from_select(list(columns), select(rows).where(true()))
    new = {name: add.excluded[name] for name in ("state", "at", "source", "proof")}
    # An older word doesn't undo a newer one, and of two of one moment the no stands.
    at_once = and_(consent.c.at == add.excluded.at, or_(consent.c.state != "off", add.excluded.state == "off"))
    newer = or_(consent.c.at < add.excluded.at, at_once)
    # Who asks again for what they have needs to confirm nothing.
    stands = and_(consent.c.state == "on", add.excluded.state == "pending")
    keys = ["customer_id", "channel", "topic"]
    return add.on_conflict_do_update(index_elements=keys, set_=new, where=and_(newer, not_(stands)))


@lru_cache(64)
def _rewritten(dialect: str, names: tuple[str, ...]) -> Any:
    """Writes these columns of customers, each row with its own values."""
    rows = given(dialect, id=id_type(), **{name: customer.c[name].type for name in names})
    new = update(customer).where(customer.c.id == rows.c.id)
    return new.values({name: rows.c[name] for name in names})


def _given(value: Any) -> Any:
    """A column's value as `given` takes it."""
    if isinstance(value, datetime):
        return micros(value)
    return orjson.dumps(value).decode() if isinstance(value, dict) else value


@cache
def _late(dialect: str) -> Select[int, datetime, Any]:
    """Those who came later than a moment."""
    late = select(customer.c.id, customer.c.created_at, customer.c.said_at)
    since = customer.c.created_at > bindparam("first", type_=Instant())
    return late.where(among(dialect, customer.c.id, "ids"), since).order_by(customer.c.id)


def known_facts(connection: Connection, ids: Iterable[int]) -> dict[int, Facts]:
    """These customers as they are, their rows locked until the end of the transaction: two writers must not pass each
    other."""
    found = connection.execute(_facts(connection.dialect.name), {"ids": listed(connection.dialect.name, sorted(ids))})
    return {
        row_id: Facts(
            dict(zip(_TOLD, values, strict=True)),
            {name: value for name, value in attributes.items() if value is not None},
            dict(said_at or {}),
        )
        for row_id, attributes, said_at, *values in found
    }


_TOLD = (*sorted(COLUMNS), CREATED)


@cache
def _facts(dialect: str) -> Any:
    told = [customer.c[name] for name in _TOLD]
    mine = select(customer.c.id, customer.c.attributes, customer.c.said_at, *told)
    mine = mine.where(among(dialect, customer.c.id, "ids")).order_by(customer.c.id)
    return mine.with_for_update(key_share=True)


def news(facts: Facts, now: datetime) -> dict[str, Any]:
    """What to write of facts that were heard or joined."""
    values: dict[str, Any] = {name: facts.columns[name] for name in sorted(facts.changed)}
    if facts.moved:
        values["attributes"] = facts.attributes
    if facts.said_at:
        values["said_at"] = facts.said_at
    return values | {"updated_at": now}
