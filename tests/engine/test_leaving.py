"""What is committed between the claim of a message and its leaving counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.channels.base import Outgoing, Result
from engine.runtime import versions
from engine.runtime.feedback import opt_out
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import Shop, Sink, person

SEND = {"hi": "enter: {event: purchase}\nexit:\n  - {event: closed}\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}
BUYERS = [f"c{n}" for n in range(20)]


def purchases(shop: Shop) -> None:
    now = shop.clock.now()
    shop.runtime.ingest([Incoming(name, "purchase", name, now, {"total": 1}, person(name)) for name in BUYERS])


def while_rendering(shop: Shop, done: Callable[[], object]) -> None:
    """Have something done when the first message has been claimed and is being rendered."""
    real, once = shop.runtime.post.unsubscribe, [done]

    def link(subscription: Any) -> str:
        if once:
            once.pop()()
        return real(subscription)

    shop.runtime.post = replace(shop.runtime.post, unsubscribe=link)


def opts_out(shop: Shop, name: str) -> None:
    with shop.runtime.database.write() as connection:
        assert opt_out(connection, name, "email", "offers", shop.clock.now(), "page")


def test_an_opt_out_while_messages_are_rendered_counts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    purchases(shop)
    while_rendering(shop, lambda: opts_out(shop, "c7"))
    shop.runtime.advance()
    assert sorted(message.to for message in shop.sink.sent) == sorted(
        f"{name}@shop.example" for name in BUYERS if name != "c7"
    )
    assert "send_1 not_sent no_consent" in shop.decisions("c7")


def test_a_slow_template_takes_its_time_and_every_message_leaves(database: Database, tmp_path: Path) -> None:
    """A batch takes longer to render than its claim is good for: what has been rendered leaves, the rest comes after."""
    shop = Shop.of(tmp_path, database, SEND)
    names = [f"c{n}" for n in range(300)]
    now, made = shop.clock.now(), []
    shop.runtime.ingest([Incoming(name, "purchase", name, now, {"total": 1}, person(name)) for name in names])

    def slowly(subscription: Any) -> str:
        made.append(subscription)
        assert len(made) < 2 * len(names), "rendered again and again"
        shop.clock.advance_to(shop.clock.now() + timedelta(seconds=0.7))
        return "https://duka.example/u"

    shop.runtime.post = replace(shop.runtime.post, unsubscribe=slowly)
    shop.runtime.advance()
    assert sorted(message.to for message in shop.sink.sent) == sorted(f"{name}@shop.example" for name in names)


def test_an_exit_while_messages_are_rendered_counts(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    purchases(shop)
    while_rendering(shop, lambda: shop.happens("c7", "closed"))
    shop.runtime.advance()
    assert len(shop.sink.sent) == 19 and not shop.sink.to("c7@shop.example")
    assert shop.rows("SELECT state, reason FROM message WHERE state <> 'accepted'") == [("stopped", "left_journey")]


def test_a_stop_while_messages_are_rendered_keeps_them_all_in_the_queue(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    purchases(shop)

    def stop() -> None:
        with database.write() as connection:
            versions.stop(connection, "hi")

    while_rendering(shop, stop)
    shop.runtime.advance()
    assert shop.sink.sent == []
    assert shop.rows("SELECT DISTINCT state, attempts FROM message") == [("queued", 0)]
    shop.runtime.publish()
    shop.settle()
    assert len(shop.sink.sent) == 20


class Slow(Sink):
    """A channel that takes its time for each message, by the shop's clock, and lets the test act after the first."""

    def __init__(self, shop: Shop, takes: timedelta, after_the_first: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.shop, self.takes, self.after = shop, takes, after_the_first

    def send(self, message: Outgoing) -> Result:
        result = super().send(message)
        if len(self.sent) == 1:
            self.after()
        self.shop.clock.advance_to(self.shop.clock.now() + self.takes)
        return result


def hand_to(shop: Shop, channel: Slow, threads: int) -> None:
    shop.runtime.post = replace(shop.runtime.post, channels={"email": channel}, threads=threads)


@pytest.mark.parametrize("takes", [timedelta(milliseconds=600), timedelta(seconds=90)])
def test_what_has_waited_its_turn_behind_a_slow_provider_is_asked_about_again(
    database: Database, tmp_path: Path, takes: timedelta
) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    purchases(shop)
    slow = Slow(shop, takes, lambda: opts_out(shop, "c7"))
    hand_to(shop, slow, threads=1)
    shop.runtime.advance()
    assert sorted(message.to for message in slow.sent) == sorted(
        f"{name}@shop.example" for name in BUYERS if name != "c7"
    )
    assert shop.rows("SELECT DISTINCT attempts FROM message WHERE state = 'accepted'") == [(1,)]


def test_a_batch_that_takes_longer_than_its_lease_is_sent_once(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    purchases(shop)
    other = shop.beside(database)
    slow = Slow(shop, timedelta(minutes=1))
    recover = slow.send

    def send(message: Outgoing) -> Result:
        assert other.runtime.recover() == {"queued": 0, "in_doubt": 0, "failed": 0}
        return recover(message)

    slow.send = send  # type: ignore[method-assign]
    hand_to(shop, slow, threads=1)
    shop.runtime.advance()
    assert len(slow.sent) == len({message.ref for message in slow.sent}) == 20
    assert shop.rows("SELECT DISTINCT state, attempts FROM message") == [("accepted", 1)]
