"""An event that one journey can't be matched with costs nobody anything and is tried again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field
from sqlalchemy import Connection, Select, Table, func, select

from engine.builtins import registry
from engine.cohort.program import Program
from engine.cohort.scope import Scope
from engine.language.content import load
from engine.language.fields import EventName
from engine.language.registry import Registry, trigger
from engine.runtime import matching
from engine.runtime.ingest import Incoming
from engine.runtime.parking import TRIES, pause
from engine.runtime.status import status
from engine.store.database import Database, DatabaseError
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


MOMENT = timedelta(microseconds=1)
JOURNEYS = {
    "fragile": "enter: {fragile: yes}\nsteps:\n  - send: email/hello\n",
    "sound": "enter: {event: purchase}\nsteps:\n  - send: email/again\n",
}


def opened(tmp_path: Path, database: Database, journeys: dict[str, str]) -> Shop:
    known = registry()
    words = Registry.of(*known.steps.values(), *known.triggers.values(), *known.channels.values(), Fragile)
    Fragile.broken = True
    return Shop.of(tmp_path, database, journeys, words=words)


def test_a_parked_event_lets_its_customer_in_once_the_journey_is_mended(database: Database, tmp_path: Path) -> None:
    shop = opened(tmp_path, database, JOURNEYS)
    receipt = shop.happens("amina", "purchase", total=4000)
    assert (receipt.accepted, receipt.parked) == (1, 1)
    shop.settle()
    assert [message.labels["journey"] for message in shop.sink.sent] == ["sound"]
    shop.later(minutes=6)
    assert shop.rows("SELECT journey, error, attempts FROM parked") == [("fragile", "ZeroDivisionError", 2)]
    Fragile.broken = False
    shop.later(minutes=11)
    assert shop.rows("SELECT count(*) FROM parked") == [(0,)]
    assert sorted(message.labels["journey"] for message in shop.sink.sent) == ["fragile", "sound"]


def test_each_try_waits_longer_and_after_the_last_status_tells_of_the_event(database: Database, tmp_path: Path) -> None:
    shop = opened(tmp_path, database, JOURNEYS)
    shop.happens("amina", "purchase", total=4000)
    for attempts in range(1, TRIES):
        length = pause(attempts)
        shop.clock.advance_to(shop.clock.now() + length - MOMENT)
        shop.runtime.tick()
        assert told(shop) == (1, 0, attempts)
        shop.clock.advance_to(shop.clock.now() + MOMENT)
        shop.runtime.tick()
    assert told(shop) == (0, 1, TRIES)
    shop.later(days=30)
    assert told(shop) == (0, 1, TRIES)
    Fragile.broken = False
    (tmp_path / "workflows/fragile.yaml").write_text(
        "journey: fragile\ntopic: offers\nenter: {fragile: yes}\nsteps:\n  - send: email/again\n"
    )
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    shop.runtime.publish()
    shop.settle()
    assert shop.rows("SELECT count(*) FROM parked") == [(0,)]
    assert shop.rows("SELECT count(*) FROM enrolment WHERE journey = 'fragile'") == [(1,)]


def told(shop: Shop) -> tuple[int, int, int]:
    """Of the fragile journey: events that are tried again, those that no longer are, and the tries."""
    runtime = shop.runtime
    with runtime.database.read() as connection:
        (one,) = status(connection, runtime.content, runtime.registry, shop.clock.now(), ["fragile"]).journeys
    ((attempts,),) = shop.rows("SELECT attempts FROM parked")
    return one.parked, one.given_up, attempts


def test_an_event_that_an_older_version_could_not_hear_is_heard_by_it_once_it_can(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions have customers inside; the exit of the older one fails at first. The newer one has a goal that
    sends its customers back, and is not to do so twice."""
    old = "enter: {event: purchase}\nexit: [{event: closed}]\nsteps:\n  - wait: 30d\n"
    new = "enter: {event: purchase}\ngoal: {event: closed, within: 9d, jump: again}\nsteps:\n  - {wait: 1d, id: again}\n  - wait: 30d\n"
    shop = Shop.of(tmp_path, database, {"hi": old})
    shop.happens("amina", "purchase")
    shop.settle()
    (tmp_path / "workflows/hi.yaml").write_text(f"journey: hi\ntopic: offers\n{new}")
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    shop.runtime.publish()
    shop.happens("baraka", "purchase")
    shop.later(days=2)
    assert shop.rows("SELECT step FROM enrolment ORDER BY id") == [("wait_1",), ("wait_2",)]
    exits = matching.exit_by_event

    def broken(connection: Any, program: Program, *rest: Any) -> None:
        if program.exit_events:
            raise ArithmeticError
        exits(connection, program, *rest)

    monkeypatch.setattr(matching, "exit_by_event", broken)
    shop.runtime.ingest([Incoming(name, "closed", name, shop.clock.now()) for name in ("amina", "baraka")])
    shop.runtime.advance()
    assert shop.rows("SELECT step FROM enrolment ORDER BY id") == [("wait_1",), ("again",)]
    assert shop.rows("SELECT count(*) FROM parked") == [(2,)]
    monkeypatch.undo()
    shop.later(days=2)
    assert shop.rows("SELECT count(*) FROM parked") == [(0,)]
    assert shop.rows("SELECT outcome, step FROM enrolment ORDER BY id") == [("exited", None), (None, "wait_2")]


@pytest.mark.postgres
def test_a_connection_that_is_lost_while_a_journey_is_matched_is_no_fault_of_the_journey(
    postgres_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop.of(tmp_path, postgres_database, {"sound": JOURNEYS["sound"]})

    def lost(connection: Connection, *_: Any, **__: Any) -> None:
        connection.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))

    with monkeypatch.context() as once:
        once.setattr(matching, "match", lost)
        with pytest.raises(DatabaseError):
            shop.happens("amina", "purchase", key="k")
    assert "sound" not in caplog.text
    receipt = shop.happens("amina", "purchase", key="k")
    assert (receipt.accepted, receipt.parked) == (1, 0)
