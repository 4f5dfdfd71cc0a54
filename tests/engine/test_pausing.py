"""The kill switch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from engine.runtime.pausing import ALL, pause, pauses, resume
from engine.store.database import Database
from tests.engine.shop import Shop

JOURNEYS = {
    "hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n  - send: email/again\n",
    "bye": "enter: {event: closed}\nsteps:\n  - send: email/hello\n",
}


@pytest.mark.parametrize("journey", [ALL, "hi"])
def test_nothing_leaves_while_it_is_paused_and_the_gate_is_asked_on_release(
    database: Database, tmp_path: Path, journey: str
) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    with database.write() as connection:
        assert pause(connection, journey, shop.clock.now(), "wrong price")
        assert not pause(connection, journey, shop.clock.now())
    for name in ("amina", "baraka"):
        shop.happens(name, "purchase")
        shop.happens(name, "closed")
    shop.settle()
    shop.later(days=1)
    assert len(shop.sink.sent) == (0 if journey == ALL else 2)
    with database.write() as connection:
        assert [(name, one.why) for name, one in pauses(connection).items()] == [(journey, "wrong price")]
        from engine.runtime.feedback import opt_out

        opt_out(connection, "amina", "email", "offers", shop.clock.now(), "page")
        assert resume(connection, journey) and not resume(connection, journey)
    shop.settle()
    assert "amina@shop.example" not in [message.to for message in shop.sink.sent[2 if journey == "hi" else 0 :]]
    assert len(shop.sink.to("baraka@shop.example")) == 2


def test_a_pause_while_messages_are_rendered_counts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    real = shop.runtime.post.unsubscribe

    def link(subscription: object) -> str:
        with database.write() as connection:
            pause(connection, ALL, shop.clock.now())
        return real(subscription)  # type: ignore[arg-type]

    shop.runtime.post = replace(shop.runtime.post, unsubscribe=link)
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.sink.sent == []
    with database.write() as connection:
        assert resume(connection, ALL)
    shop.runtime.post = replace(shop.runtime.post, unsubscribe=real)
    shop.settle()
    assert len(shop.sink.sent) == 1


def test_an_old_database_sends_nothing_until_a_person_has_looked(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    assert shop.runtime.awake(starting=True) is None  # a new one
    shop.happens("amina", "purchase")
    shop.settle()
    shop.runtime.awake()
    last = shop.clock.now()
    shop.clock.advance_to(last + timedelta(minutes=59))
    assert shop.runtime.awake(starting=True) is None  # a short stop
    shop.clock.advance_to(last + timedelta(days=2))
    assert shop.beside(database).runtime.awake(starting=True) == last + timedelta(minutes=59)
    shop.settle()
    assert len(shop.sink.sent) == 1
    with database.read() as connection:
        assert pauses(connection)[ALL].why.startswith("nobody was at work here since 2026-03-02 06:59 UTC")
    assert shop.runtime.awake(starting=True) is None  # it has been looked at the clock, and stays paused
    shop.settle()
    assert len(shop.sink.sent) == 1
    with database.write() as connection:
        resume(connection, ALL)
    shop.settle()
    assert len(shop.sink.sent) == 2


def test_an_old_database_with_nothing_to_send_needs_no_look(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.runtime.awake()
    shop.clock.advance_to(shop.clock.now() + timedelta(days=2))
    assert shop.runtime.awake(starting=True) is None
