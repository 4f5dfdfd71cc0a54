from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, select

from engine.cohort.fires import Fire, Look, Timed
from engine.store.database import Database
from engine.store.local_time import ensure_zones
from engine.store.tables import customer, touched
from engine.store.types import EPOCH

BRAND = "Africa/Nairobi"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass
class Shop:
    """Customers, and one journey of theirs that looks at the clock when it is told to."""

    database: Database
    published: datetime
    journey: str = "birthday"
    ids: dict[int, str] = field(default_factory=dict)

    def add(self, name: str, timezone: str | None = BRAND, **columns: Any) -> str:
        common = {"attributes": {}, "bucket": 1, "created_at": EPOCH, "updated_at": EPOCH}
        with self.database.write() as connection:
            ensure_zones(connection, [BRAND, timezone])
            row = insert(customer).values(external_id=name, timezone=timezone, **(common | columns))
            (key,) = connection.execute(row).inserted_primary_key or (0,)
        self.ids[key] = name
        return name

    def look(self, trigger: Timed, now: datetime) -> list[tuple[str, str]]:
        """(customer, cause) of everybody who comes in at this moment."""
        with self.database.write() as connection:
            look = Look(connection, self.journey, self.published, BRAND, now)
            fires = trigger.claim(look, trigger.due(look))
            named = [trigger.named(look, Fire.read(fire.written())) for fire in fires]
            return [
                (self.ids[row.customer_id], row.cause)
                for rows in (*named, *trigger.overlooked(look, touched))
                for row in connection.execute(rows.order_by(customer.c.id))
            ]

    def looks(self, trigger: Timed, *moments: datetime) -> list[list[tuple[str, str]]]:
        return [self.look(trigger, now) for now in moments]

    def customer_id(self, name: str) -> int:
        with self.database.read() as connection:
            found: int = connection.execute(select(customer.c.id).where(customer.c.external_id == name)).scalar_one()
            return found


@pytest.fixture
def shop(database: Database) -> Callable[..., Shop]:
    def make(published: str, journey: str = "birthday") -> Shop:
        return Shop(database, utc(published), journey)

    return make
