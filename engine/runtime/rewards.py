"""What events do to coupons and points, as project.yaml says: in the transaction that takes them in, before any journey
judges them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection

from engine.cohort.facts import PAGE
from engine.language.project import Project
from engine.language.rewards import Points, Tier
from engine.runtime import coupons, points
from engine.runtime.coupons import Used
from engine.runtime.points import Spent, TakenBack

MOST = 2**53


class Happened(Protocol):
    """An event that was just taken in."""

    @property
    def event_id(self) -> int: ...
    @property
    def customer_id(self) -> int: ...
    @property
    def incoming(self) -> Any: ...


@dataclass(frozen=True)
class Rules:
    """`redeems`: the pools whose codes stand in which property of which event, by (event, property)."""

    redeems: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    points: Points = field(default_factory=Points)
    tiers: Sequence[Tier] = ()

    @classmethod
    def of(cls, project: Project) -> Rules:
        redeems: dict[tuple[str, str], list[str]] = {}
        for name, pool in project.coupons.items():
            if (by := pool.redeemed_by) is not None:
                redeems.setdefault((by.event, by.property), []).append(name)
        return cls(redeems, project.points, project.tiers)

    def apply(self, connection: Connection, fresh: Iterable[Happened], now: datetime) -> None:
        """Do what these events mean, of which each customer has one at most. What came with a browser key may be
        anybody's word: it spends nobody's points, takes none back, and uses up no code."""
        happened = [one for one in fresh if not one.incoming.source.endswith(PAGE)]
        for (name, property_), pools in self.redeems.items():
            used = [
                Used(code, one.event_id, one.incoming.occurred_at)
                for one in happened
                if one.incoming.name == name and isinstance(code := one.incoming.properties.get(property_), str)
            ]
            coupons.redeem(connection, used, pools)
        if (by := self.points.spent_by) is not None:
            spent = [
                Spent(one.customer_id, one.event_id, int(number))
                for one in happened
                if one.incoming.name == by.event
                and isinstance(number := one.incoming.properties.get(by.property), int | float)
                and not isinstance(number, bool)  # true is no number of points
                and 1 <= number <= MOST
            ]
            points.spend(connection, spent, now)
        if (by := self.points.taken_back_by) is not None:
            taken = [
                TakenBack(one.customer_id, one.event_id, value)
                for one in happened
                if one.incoming.name == by.event and isinstance(value := one.incoming.properties.get(by.property), str)
            ]
            points.take_back(connection, taken, by.property, self.tiers, now)
