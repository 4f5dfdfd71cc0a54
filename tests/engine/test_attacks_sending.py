"""Attacks on sending: a stop in the middle, two engines with one message, messages that can't be made."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.channels.base import Outgoing, Result
from engine.runtime import versions
from engine.runtime.advance import StepReport, move_step
from engine.runtime.delivery import Delivery
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import Shop, Sink, person

SEND = {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}


class Meddling(Sink):
    """Does something of the test's before it takes its first message, and gives another answer to that."""

    def __init__(self, meddle: Any, answer: Result | None = None) -> None:
        super().__init__()
        self.meddle = meddle
        self.answer = answer

    def send(self, message: Outgoing) -> Result:
        with self._lock:
            meddle, self.meddle = self.meddle, None
            answer, self.answer = self.answer, None
            if meddle is not None:
                meddle()
        usual = super().send(message)
        return usual if answer is None else answer


def many(shop: Shop, count: int) -> None:
    names = [f"c{n}" for n in range(count)]
    shop.runtime.ingest(
        [Incoming(name, "purchase", name, shop.clock.now(), {"total": 1}, person(name)) for name in names]
    )


def test_a_stop_while_messages_go_out_holds_the_batches_after_this_one(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    many(shop, 600)

    def stop() -> None:
        with database.write() as connection:
            versions.stop(connection, "hi")

    sink = Meddling(stop)
    shop.runtime.post.channels["email"] = sink  # type: ignore[index]
    shop.runtime.advance()
    assert len(sink.sent) <= shop.runtime.post.threads
    assert shop.runtime.advance() == []
    shop.runtime.publish()
    shop.settle()
    assert len(sink.sent) == len({message.to for message in sink.sent}) == 600


def test_an_engine_that_slept_over_its_claim_takes_nothing_from_who_took_it_over(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    many(shop, 3)
    runtime = shop.runtime
    (program,) = runtime.programs().values()
    move_step(database, program, "send_1", shop.clock.now(), "p")
    slept, awake = (
        Delivery(database, program, "send_1", shop.clock, runtime.post, name, StepReport("send_1")) for name in "pq"
    )
    old, _ = slept.claim()
    shop.clock.advance_to(shop.clock.now() + timedelta(minutes=6))
    assert runtime.recover()["queued"] == 3
    new, _ = awake.claim()
    slept.dispatch(old)
    assert shop.sink.sent == []
    awake.dispatch(new)
    assert len(shop.sink.sent) == 3
    assert shop.rows("SELECT DISTINCT state FROM message") == [("accepted",)]
    assert shop.rows("SELECT DISTINCT step FROM enrolment") == [("wait_1",)]


def test_a_message_that_cannot_be_made_costs_the_others_of_its_batch_nothing(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    real = shop.runtime.post.unsubscribe

    def breaks_for_one(subscription: Any) -> str:
        if subscription.customer == "c1":
            raise ZeroDivisionError
        return real(subscription)

    object.__setattr__(shop.runtime.post, "unsubscribe", breaks_for_one)
    many(shop, 3)
    shop.settle()
    assert sorted(message.to for message in shop.sink.sent) == ["c0@shop.example", "c2@shop.example"]
    assert shop.rows("SELECT reason FROM message WHERE state = 'stopped'") == [("render:ZeroDivisionError",)]
    assert shop.rows("SELECT DISTINCT step FROM enrolment") == [("wait_1",)]
