"""Attacks on consent: nothing that comes late, or twice, undoes what the customer has said since."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from engine.runtime.feedback import opt_out
from engine.store.database import Database
from tests.engine.shop import START, Shop

SEND = {"hi": "enter: {event: shipped}\nsteps:\n  - send: email/hello\n"}


def opts_out(shop: Shop, customer: str) -> None:
    with shop.runtime.database.write() as connection:
        assert opt_out(connection, customer, "email", "offers", shop.clock.now(), "page")


def test_an_event_sent_again_says_nothing_of_the_customer_any_more(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    shop.happens("amina", "purchase", key="k", total=1)
    shop.later(minutes=1)
    opts_out(shop, "amina")
    shop.later(minutes=1)
    assert shop.happens("amina", "purchase", key="k", total=1).duplicates == 1
    assert shop.rows("SELECT state FROM consent") == [("off",)]


def test_an_event_that_comes_late_does_not_undo_an_opt_out(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    shop.happens("amina", "purchase", total=1)
    shop.later(days=2)
    opts_out(shop, "amina")
    shop.later(minutes=1)
    shop.happens("amina", "shipped", at=START + timedelta(days=1))
    shop.settle()
    assert shop.rows("SELECT state FROM consent") == [("off",)]
    assert shop.sink.sent == []


def test_an_event_of_a_clock_that_runs_ahead_leaves_the_opt_out_after_it_standing(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    shop.happens("amina", "purchase", total=1, at=START + timedelta(days=1))
    shop.later(minutes=1)
    opts_out(shop, "amina")
    assert shop.rows("SELECT state FROM consent") == [("off",)]
