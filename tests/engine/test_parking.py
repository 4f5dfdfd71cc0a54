"""An event that one journey can't be matched with costs nobody anything and is tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from sqlalchemy import Select, Table

from engine.builtins import registry
from engine.cohort.scope import Scope
from engine.language.fields import EventName
from engine.language.registry import Registry, trigger
from engine.store.database import Database
from tests.engine.shop import Shop
from triggers.event import EventTrigger


@trigger("fragile")
class Fragile(EventTrigger):
    """A third party's trigger with a fault that can be mended."""

    broken: ClassVar[bool] = True
    event: EventName = "purchase"
    fragile: str = Field(description="Any text.")

    def named(self, scope: Scope, arrived: Table) -> Select[Any]:
        if Fragile.broken:
            raise ZeroDivisionError("a fault of its own")
        return super().named(scope, arrived)


JOURNEYS = {
    "fragile": "enter: {fragile: yes}\nsteps:\n  - send: email/hello\n",
    "sound": "enter: {event: purchase}\nsteps:\n  - send: email/again\n",
}


def test_a_parked_event_lets_its_customer_in_once_the_journey_is_mended(database: Database, tmp_path: Path) -> None:
    known = registry()
    words = Registry.of(*known.steps.values(), *known.triggers.values(), *known.channels.values(), Fragile)
    Fragile.broken = True
    shop = Shop.of(tmp_path, database, JOURNEYS, words=words)
    receipt = shop.happens("amina", "purchase", total=4000)
    assert (receipt.accepted, receipt.parked) == (1, 1)
    shop.settle()
    assert [message.labels["journey"] for message in shop.sink.sent] == ["sound"]
    shop.later(minutes=6)
    assert shop.rows("SELECT journey, error, attempts FROM parked") == [("fragile", "ZeroDivisionError", 2)]
    Fragile.broken = False
    shop.later(minutes=6)
    assert shop.rows("SELECT count(*) FROM parked") == [(0,)]
    assert sorted(message.labels["journey"] for message in shop.sink.sent) == ["fragile", "sound"]
