"""A provider that takes nothing is left alone for a while, and costs the messages behind nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from engine.channels.base import Accepted, InDoubt, Outgoing, Refused, Result
from engine.runtime.breakers import TRIPS
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import Shop, Sink, person

SEND = {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}


class Down(Sink):
    """Gives one answer to all until it is mended."""

    answer: Result = Refused("unreachable", retry_after=timedelta(seconds=5))

    def send(self, message: Outgoing) -> Result:
        super().send(message)
        return self.answer


def shop_with(channel: Sink, tmp_path: Path, database: Database, people: int) -> Shop:
    shop = Shop.of(tmp_path, database, SEND)
    shop.runtime.post.channels["email"] = channel  # type: ignore[index]
    names = [f"c{n}" for n in range(people)]
    shop.runtime.ingest([Incoming(name, "purchase", name, shop.clock.now(), {}, person(name)) for name in names])
    return shop


def test_an_outage_is_tried_with_one_message_at_a_time_and_none_is_given_up(database: Database, tmp_path: Path) -> None:
    down = Down()
    shop = shop_with(down, tmp_path, database, 100)
    for _ in range(60):
        shop.later(minutes=1)
    assert len(down.sent) < 40
    assert shop.rows("SELECT state, count(*) FROM message GROUP BY state") == [("queued", 100)]
    down.answer = Accepted("at last")
    for _ in range(120):
        shop.later(minutes=1)
    assert shop.rows("SELECT state, count(*) FROM message GROUP BY state") == [("accepted", 100)]
    assert len({message.to for message in down.sent}) == 100


def test_a_provider_that_answers_nothing_brings_few_messages_in_doubt(database: Database, tmp_path: Path) -> None:
    down = Down()
    down.answer = InDoubt("timeout")
    shop = shop_with(down, tmp_path, database, 100)
    shop.settle()
    in_doubt = len(down.sent)
    assert TRIPS <= in_doubt <= shop.runtime.post.threads
    shop.later(minutes=1)
    assert len(down.sent) == in_doubt + 1  # one message finds out
    down.answer = Accepted("at last")
    shop.later(minutes=20)
    assert len(down.sent) == len({message.to for message in down.sent}) == 100


def test_what_the_provider_refuses_for_good_is_no_outage(database: Database, tmp_path: Path) -> None:
    picky = Down()
    picky.answer = Refused("bad address")
    shop = shop_with(picky, tmp_path, database, 50)
    shop.settle()
    assert len(picky.sent) == 50
    assert shop.rows("SELECT DISTINCT state FROM message") == [("refused",)]


def test_what_they_ask_us_to_wait_is_kept(database: Database, tmp_path: Path) -> None:
    slow_down = Down()
    slow_down.answer = Refused("rate_limited", retry_after=timedelta(hours=2))
    shop = shop_with(slow_down, tmp_path, database, 50)
    shop.settle()
    tried = len(slow_down.sent)
    assert TRIPS <= tried <= shop.runtime.post.threads
    shop.later(minutes=119)
    assert len(slow_down.sent) == tried
    slow_down.answer = Accepted("thank you")
    shop.later(minutes=1)
    shop.later(minutes=30)
    assert len({message.to for message in slow_down.sent}) == 50
    assert len(slow_down.sent) == 50 + tried
