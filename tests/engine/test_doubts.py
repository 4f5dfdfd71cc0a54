"""Messages in doubt: marketing is never repeated, a transactional one once; the provider's word or a person settles it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import text, update

from engine.channels.base import Accepted, InDoubt, Outgoing, Refused, Result
from engine.language.content import load
from engine.runtime.delivery import LEASE
from engine.runtime.doubts import SILENT, Outcome, resolve
from engine.runtime.feedback import Feedback, Taken, take
from engine.runtime.outbox import doubtful, latest
from engine.store.database import Database
from engine.store.tables import message
from tests.engine.shop import MAIL, Shop, Sink
from tests.engine.test_attacks_sending import Meddling
from tests.patience import PATIENCE, eventually

MARKETING = {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/plain\n  - wait: 9d\n"}
ADDRESS = "amina@shop.example"


def mailing(tmp_path: Path, database: Database, topic: str) -> Shop:
    """A shop that answers a purchase with a mail of this topic."""
    shop = Shop.of(tmp_path, database, {}, publish=False)
    (tmp_path / "workflows/hi.yaml").write_text(f"journey: hi\ntopic: {topic}\n{MARKETING['hi']}")
    (tmp_path / "templates/email/plain.mjml").write_text(re.sub("<a .*</a>", "", MAIL))
    shop.runtime.renew(load(tmp_path, shop.runtime.registry), shop.runtime.post)
    shop.runtime.publish()
    return shop


def in_doubt(tmp_path: Path, database: Database, topic: str) -> Shop:
    """Amina's message is in doubt."""
    shop = mailing(tmp_path, database, topic)
    shop.sink.answers[ADDRESS] = InDoubt("timeout")
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.rows("SELECT state, reason, doubts FROM message") == [("in_doubt", "timeout", 1)]
    return shop


LATE = {"no answer": InDoubt("timeout"), "a no": Refused("provider: 400"), "a yes": Accepted("1")}


@pytest.mark.parametrize("answer", LATE.values(), ids=list(LATE))
@pytest.mark.parametrize("queued", [False, True], ids=["in doubt by then", "about to be repeated by then"])
def test_an_answer_that_comes_when_it_was_given_up_costs_a_receipt_no_repeat(
    database: Database, tmp_path: Path, answer: Result, queued: bool
) -> None:
    shop = mailing(tmp_path, database, "transactional")

    def sleeps() -> None:
        shop.clock.advance_to(shop.clock.now() + LEASE)
        assert shop.runtime.recover()["in_doubt"] == 1
        if queued:
            shop.clock.advance_to(shop.clock.now() + SILENT)
            assert shop.runtime.recover()["queued"] == 1

    sink = Meddling(sleeps, answer)
    shop.runtime.post.channels["email"] = sink  # type: ignore[index]
    shop.happens("amina", "purchase")
    shop.runtime.advance()
    shop.clock.advance_to(shop.clock.now() + SILENT)
    shop.runtime.recover()
    shop.settle()
    assert len(sink.sent) == (1 if isinstance(answer, Accepted) else 2)
    assert shop.rows("SELECT state FROM message") == [("accepted",)]


def passes(shop: Shop, **length: float) -> None:
    shop.clock.advance_to(shop.clock.now() + timedelta(**length))
    shop.runtime.recover()
    shop.settle()


def test_a_marketing_message_in_doubt_is_never_sent_again(database: Database, tmp_path: Path) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    for _ in range(3):
        passes(shop, days=1)
    assert len(shop.sink.sent) == 1


def test_a_transactional_message_in_doubt_is_sent_once_more_ten_minutes_later(
    database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    passes(shop, minutes=9)
    assert len(shop.sink.sent) == 1
    passes(shop, minutes=1)
    assert len(shop.sink.to(ADDRESS)) == 2 and len(set(shop.sink.to(ADDRESS))) == 1
    for _ in range(3):
        passes(shop, days=1)
    assert len(shop.sink.sent) == 2
    assert shop.rows("SELECT state, doubts FROM message") == [("in_doubt", 2)]


def test_a_repeat_that_the_provider_takes_is_accepted_and_the_customer_has_gone_on_once(
    database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    stood = shop.decisions("amina")
    shop.sink.answers[ADDRESS] = Accepted("second")
    passes(shop, minutes=10)
    assert shop.rows("SELECT state, provider_id FROM message") == [("accepted", "second")]
    decided = shop.decisions("amina")
    decided.remove("send_1 again silence")
    assert decided == stood


@pytest.mark.parametrize("late", [False, True], ids=["before the repeat", "while the repeat is queued"])
def test_what_the_provider_says_of_a_message_ends_the_doubt(database: Database, tmp_path: Path, late: bool) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    if late:
        shop.clock.advance_to(shop.clock.now() + timedelta(minutes=10))
        assert shop.runtime.recover() == {"queued": 1, "in_doubt": 0, "failed": 0}
    with database.write() as connection:
        take(connection, [Feedback(shop.sink.sent[0].ref, "delivered", shop.clock.now())], shop.clock.now())
    passes(shop, days=1)
    assert len(shop.sink.sent) == 1
    assert shop.rows("SELECT state, reason FROM message") == [("accepted", "the provider spoke of it")]


def test_what_the_provider_says_before_it_is_known_that_there_is_a_doubt_ends_it(
    database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    quick = QuickToTell(shop)
    shop.runtime.post = replace(shop.runtime.post, channels={"email": quick})
    shop.happens("baraka", "purchase")
    shop.settle()
    assert quick.told.recorded == 1
    rows = shop.rows("SELECT m.state, m.reason, m.delivery FROM message m ORDER BY m.id DESC LIMIT 1")
    assert rows == [("accepted", "the provider spoke of it", "delivered")]
    assert shop.decisions("baraka")[-2] == "send_1 sent the provider spoke of it"
    passes(shop, days=1)
    assert len(quick.sent) == 1 + 1  # the second is amina's, whom it had told nothing


def test_what_the_provider_says_before_its_message_is_found_abandoned_ends_the_doubt(
    database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    ref, now = shop.sink.sent[0].ref, shop.clock.now()
    with database.write() as connection:  # as an engine leaves it that dies while it hands over
        connection.execute(update(message).values(state="dispatching", lease_until=now, settled_at=None))
        assert take(connection, [Feedback(ref, "delivered", now)], now).recorded == 1
    assert shop.rows("SELECT state FROM message") == [("dispatching",)]
    passes(shop, minutes=10)
    assert shop.rows("SELECT state, delivery FROM message") == [("accepted", "delivered")]


@pytest.mark.postgres
def test_what_the_provider_says_just_while_the_doubt_is_written_down_ends_it(
    postgres_database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, postgres_database, "offers")
    other = Database(postgres_database.url.render_as_string(hide_password=False))
    told, over = Event(), Event()

    def tell(ref: str) -> None:
        """Its hook has written what it tells, and commits when the doubt waits to be written."""
        with other.write() as connection:
            assert take(connection, [Feedback(ref, "processed", shop.clock.now())], shop.clock.now()).recorded == 1
            told.set()
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            eventually(lambda: over.is_set() or connection.scalar(waiting))

    class Beside(Sink):
        def send(self, message: Outgoing) -> Result:
            thread.extend([Thread(target=tell, args=(message.ref,))])
            thread[0].start()
            assert told.wait(PATIENCE)
            return InDoubt("reset")

    thread: list[Thread] = []
    shop.runtime.post = replace(shop.runtime.post, channels={"email": Beside()})
    shop.happens("baraka", "purchase")
    shop.settle()
    over.set()
    thread[0].join(PATIENCE)
    other.dispose()
    newest = "SELECT state, reason FROM message ORDER BY id DESC LIMIT 1"
    assert shop.rows(newest) == [("accepted", "the provider spoke of it")]


class QuickToTell(Sink):
    """A provider whose webhook is here before it breaks the connection off."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop, self.told = shop, Taken()

    def send(self, message: Outgoing) -> Result:
        super().send(message)
        if message.to != ADDRESS:
            self.told = self.shop.runtime.hear([Feedback(message.ref, "delivered", self.shop.clock.now())])
        return InDoubt("reset")


@pytest.mark.parametrize(
    ("outcome", "state", "sent"), [("sent", "accepted", 1), ("not-sent", "refused", 1), ("again", "accepted", 2)]
)
def test_a_person_settles_a_doubt(database: Database, tmp_path: Path, outcome: Outcome, state: str, sent: int) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    shop.sink.answers[ADDRESS] = Accepted("second")
    with database.write() as connection:
        (one,) = latest(connection, 10, in_doubt=True)
        assert (one.customer, one.journey, one.reason, one.repeats) == ("amina", "hi", "timeout", False)
        assert latest(connection, 10) == [one] and doubtful(connection) == 1
        assert not resolve(connection, "nobody's", outcome, "their page", shop.clock.now())
        assert resolve(connection, one.ref, outcome, "asked their support", shop.clock.now())
        assert not resolve(connection, one.ref, "sent", "again", shop.clock.now())
    passes(shop, days=1)
    assert len(shop.sink.sent) == sent
    assert shop.rows("SELECT state FROM message") == [(state,)]
