"""What `karibu explain` tells of a message that was in doubt: what really became of it, and who decided so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.channels.base import Accepted, InDoubt, Refused
from engine.runtime.doubts import NoReason, Outcome, resolve
from engine.runtime.explain import explain
from engine.runtime.feedback import Feedback, take
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.engine.test_doubts import ADDRESS, in_doubt, passes

UNSURE = "email/plain is in doubt: nobody can say whether the provider took it; "
WAS = "email/plain was in doubt; "
WHY = "asked their support"


def lines(shop: Shop, who: str = "amina") -> list[str]:
    """What is told of the messages, in order."""
    with shop.runtime.database.read() as connection:
        told = explain(connection, shop.runtime.content, shop.runtime.registry, who, shop.clock.now(), ["hi"])
    return [line.words for line in told.stories[0].ways[0].lines if "email/plain" in line.words]


def decide(shop: Shop, outcome: Outcome, why: str = WHY) -> None:
    with shop.runtime.database.write() as connection:
        assert resolve(connection, shop.sink.sent[0].ref, outcome, why, shop.clock.now())


def test_marketing_is_not_sent_again_and_a_receipt_is_when_the_provider_stays_silent(
    database: Database, tmp_path: Path
) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    assert lines(shop) == [UNSURE + "it is not sent again"]
    passes(shop, days=1)
    assert lines(shop) == [UNSURE + "it is not sent again"]


def test_a_receipt_is_told_to_be_sent_once_more_before_and_after(database: Database, tmp_path: Path) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    assert lines(shop) == [UNSURE + "it is sent once more when the provider stays silent for 10 minutes"]
    repeated = "email/plain is sent once more, as the provider was silent for 10 minutes"
    shop.sink.answers[ADDRESS] = Accepted("second")
    shop.clock.advance_to(shop.clock.now() + timedelta(minutes=10))
    shop.runtime.recover()
    assert lines(shop) == [WAS + "it is to be sent once more", repeated]
    shop.settle()
    assert lines(shop) == [WAS + "it was sent once more", repeated]


@pytest.mark.parametrize(("answer", "why"), [(InDoubt("reset"), "reset"), (Refused("bad"), "bad")])
def test_a_repeat_that_settles_nothing_is_told_so(
    database: Database, tmp_path: Path, answer: InDoubt | Refused, why: str
) -> None:
    shop = in_doubt(tmp_path, database, "transactional")
    shop.sink.answers[ADDRESS] = answer
    passes(shop, minutes=10)
    nothing = f"it was to be sent once more, which settled nothing ({why}), and is not sent again"
    assert lines(shop)[0] == UNSURE + nothing


@pytest.mark.parametrize("topic", ["offers", "transactional"])
def test_the_word_of_the_provider_is_told(database: Database, tmp_path: Path, topic: str) -> None:
    shop = in_doubt(tmp_path, database, topic)
    with database.write() as connection:
        take(connection, [Feedback(shop.sink.sent[0].ref, "delivered", shop.clock.now())], shop.clock.now())
    assert lines(shop)[0] == WAS + "the provider spoke of it, so it was sent"


DECIDED = {"sent": "it was sent", "not-sent": "it was not sent"}


@pytest.mark.parametrize("outcome", DECIDED)
@pytest.mark.parametrize("topic", ["offers", "transactional"])
def test_what_a_person_decided_is_told_with_their_reason(
    database: Database, tmp_path: Path, topic: str, outcome: Outcome
) -> None:
    shop = in_doubt(tmp_path, database, topic)
    decide(shop, outcome)
    passes(shop, days=1)
    assert lines(shop) == [
        f"{WAS}decided by a person: {DECIDED[outcome]} ({WHY})",
        f"somebody decided of email/plain: {DECIDED[outcome]}, because {WHY}",
    ]


def test_each_decision_of_a_message_that_comes_into_doubt_again_stays(database: Database, tmp_path: Path) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    decide(shop, "again", "it is not on their page")
    once_more = "somebody decided of email/plain: it is sent once more, because it is not on their page"
    assert lines(shop) == [WAS + "it is to be sent once more", once_more]
    passes(shop, minutes=1)
    assert lines(shop)[0].endswith("which settled nothing (timeout), and is not sent again")
    decide(shop, "again", "nor now")
    shop.sink.answers[ADDRESS] = Accepted("third")
    passes(shop, minutes=1)
    last = "somebody decided of email/plain: it is sent once more, because nor now"
    assert lines(shop) == [WAS + "it was sent once more", once_more, last]
    assert len(shop.sink.sent) == 3
    rows = shop.rows("SELECT kind, outcome, reason, step FROM decision WHERE kind LIKE 'settles:%' ORDER BY kind")
    assert rows == [
        ("settles:1", "again", "it is not on their page", "send_1"),
        ("settles:2", "again", "nor now", "send_1"),
    ]


def test_a_decision_is_told_when_it_was_made_and_ends_no_way(database: Database, tmp_path: Path) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    passes(shop, days=9)
    decide(shop, "sent", "event:purchase")  # a reason that looks like a code of ours
    with database.read() as connection:
        told = explain(connection, shop.runtime.content, shop.runtime.registry, "amina", shop.clock.now(), ["hi"])
    (way,) = told.stories[0].ways
    assert way.state == "finished"
    assert [line.kind for line in way.lines][-1] == "settles:1"
    assert [line.at for line in way.lines] == sorted(line.at for line in way.lines)


def test_an_answer_that_came_late_is_told(database: Database, tmp_path: Path) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    with database.write() as connection:  # what `record` makes of a late yes
        connection.execute(text("UPDATE message SET state = 'accepted', reason = NULL"))
    assert lines(shop) == [WAS + "the answer came late: it was sent"]


@pytest.mark.parametrize("why", ["", " \n\t"])
def test_nobody_decides_without_a_reason(database: Database, tmp_path: Path, why: str) -> None:
    shop = in_doubt(tmp_path, database, "offers")
    with database.write() as connection, pytest.raises(NoReason):
        resolve(connection, shop.sink.sent[0].ref, "sent", why, shop.clock.now())
    assert shop.rows("SELECT state, reason FROM message") == [("in_doubt", "timeout")]
