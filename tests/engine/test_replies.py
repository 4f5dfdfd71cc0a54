"""STOP, START and HELP: what an answer from a number does, in any order and sent twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.profile import Consented, Profile
from engine.runtime.replies import Heard, heard, meant
from engine.store.database import Database
from engine.store.suppressions import suppress
from tests.engine.shop import START as NOW
from tests.engine.shop import Shop

PHONE = "hash-of-a-number"
SECOND = timedelta(seconds=1)
STATES = "SELECT c.external_id, topic, state FROM consent JOIN customer c ON c.id = customer_id ORDER BY 1, 2"


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    """Amina and Baraka share a telephone; he has agreed to less, and has said no to the news himself."""
    made = Shop.of(tmp_path, database, {})
    people = made.runtime.people()
    phone = {"phone": "+254712345678", "phone_hash": PHONE}
    both = (Consented("sms", "offers"), Consented("sms", "news"), Consented("email", "offers"))
    people.describe("amina", Profile(phone, consents=both))
    people.describe("baraka", Profile(phone, consents=(Consented("sms", "offers"), Consented("sms", "news", "off"))))
    return made


def says(shop: Shop, text: str, seconds: int = 0, address: str = PHONE) -> Heard:
    at = NOW + (60 + seconds) * SECOND
    with shop.runtime.database.write() as connection:
        return heard(connection, address, text, at, at + SECOND)


def states(shop: Shop) -> dict[str, str]:
    return {f"{who}/{topic}": state for who, topic, state in shop.rows(STATES.replace("topic", "channel || topic", 1))}


def suppressed(shop: Shop) -> list[Any]:
    return shop.rows("SELECT channel, address_hash, reason FROM suppression")


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("stop", ("STOP", "stop.", " Stop\n", "STOPALL", "Unsubscribe", "cancel", "END", "quit", "S T O P", "“Stop”")),
        ("start", ("START", "unstop", "Yes!")),
        ("help", ("HELP", "info")),
        (None, ("", "stop it", "please stop", "don't stop", "no", "yes please", "ＳＴＯＰＰ", "stopp", "?", "🛑")),
    ],
)
def test_an_answer_counts_if_it_is_the_word_alone(word: str | None, texts: tuple[str, ...]) -> None:
    assert {text: meant(text) for text in texts} == dict.fromkeys(texts, word)


def test_stop_ends_the_number_and_the_consents_of_all_who_have_it(shop: Shop) -> None:
    assert says(shop, "Stop") == Heard("stop", True, ("amina", "baraka"))
    assert suppressed(shop) == [("sms", PHONE, "stop")]
    assert states(shop) == {
        "amina/emailoffers": "on",
        "amina/smsnews": "off",
        "amina/smsoffers": "off",
        "baraka/smsnews": "off",
        "baraka/smsoffers": "off",
    }
    told = "SELECT source, proof FROM consent_said WHERE state = 'off' AND topic = 'offers' ORDER BY customer_id"
    assert shop.rows(told) == [("sms reply", "Stop")] * 2


def test_start_brings_back_what_stop_has_ended_and_no_more(shop: Shop) -> None:
    before = states(shop)
    says(shop, "STOP")
    assert says(shop, "START", 1).changed
    assert suppressed(shop) == []
    assert states(shop) == before
    assert shop.rows("SELECT state, reason, source FROM suppression_said ORDER BY at") == [
        ("on", "stop", "sms reply"),
        ("off", "stop", "sms reply"),
    ]


def test_yes_means_nothing_where_nobody_said_stop(shop: Shop) -> None:
    before = states(shop)
    assert says(shop, "YES") == Heard("start", False, ("amina", "baraka"))
    assert states(shop) == before


def test_an_answer_that_is_sent_again_changes_nothing(shop: Shop) -> None:
    assert says(shop, "STOP").changed and not says(shop, "STOP").changed
    assert says(shop, "START", 1).changed
    assert not says(shop, "STOP").changed and suppressed(shop) == []
    assert not says(shop, "START", 1).changed


def test_a_start_that_comes_late_undoes_no_later_stop(shop: Shop) -> None:
    says(shop, "STOP", 10)
    assert not says(shop, "START", 5).changed
    assert not says(shop, "START", 10).changed
    assert suppressed(shop) == [("sms", PHONE, "stop")]
    assert states(shop)["amina/smsoffers"] == "off"


def test_start_does_not_undo_another_reason(shop: Shop) -> None:
    says(shop, "STOP")
    with shop.runtime.database.write() as connection:
        assert suppress(connection, "sms", PHONE, "manual", NOW + 61 * SECOND, "command line")
    assert not says(shop, "START", 5).changed
    assert suppressed(shop) == [("sms", PHONE, "manual")]


def test_help_and_everything_else_change_nothing(shop: Shop) -> None:
    before = states(shop)
    assert says(shop, "HELP") == Heard("help") and says(shop, "when does it come?") == Heard(None)
    assert (suppressed(shop), states(shop)) == ([], before)


def test_stop_of_a_number_nobody_has_is_kept_for_whoever_will(shop: Shop) -> None:
    assert says(shop, "STOP", address="another") == Heard("stop", True, ())
    assert suppressed(shop) == [("sms", "another", "stop")]


def test_start_confirms_no_yes_that_waited_for_it(shop: Shop) -> None:
    """A number can be made to say STOP and START by whoever holds it, who needn't be who asked for the news."""
    shop.runtime.people().describe("amina", Profile(consents=(Consented("sms", "deals", "pending"),)))
    before = states(shop)
    says(shop, "STOP")
    assert states(shop)["amina/smsdeals"] == "off"
    assert says(shop, "START", 1).changed
    assert states(shop) == before and before["amina/smsdeals"] == "pending"
