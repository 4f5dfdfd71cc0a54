"""What a provider says of an address as it refuses a message counts for every journey."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from engine.channels.base import Refused
from engine.channels.sendgrid import SendGrid, SendGridOptions
from engine.channels.smtp import Smtp, SmtpOptions
from engine.channels.smtp_line import Relay
from engine.runtime.gone import Gone, suppress
from engine.store.database import Database
from engine.store.tables import customer
from tests.channels.conftest import fake, fake_sendgrid
from tests.engine.shop import Shop
from tests.patience import PATIENCE

JOURNEYS = {
    "hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n  - send: email/again\n",
    "other": "enter: {event: shipped}\nsteps:\n  - send: email/hello\n",
}


@pytest.mark.parametrize("reason", ["stop", "gone", "bounced"])
def test_an_address_that_is_none_any_more_gets_nothing_of_any_journey(
    reason: str, database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.sink.answers["amina@shop.example"] = Refused("no such thing", ends=reason)
    for name in ("amina", "baraka"):
        shop.happens(name, "purchase")
    shop.settle()
    assert shop.rows("SELECT channel, reason FROM suppression") == [("email", reason)]
    shop.sink.answers.clear()
    for name in ("amina", "baraka"):
        shop.happens(name, "shipped")
    shop.later(hours=25)
    assert len(shop.sink.to("amina@shop.example")) == 1
    assert len(shop.sink.to("baraka@shop.example")) == 3
    assert shop.rows("SELECT state, reason FROM message WHERE state <> 'accepted'") == [("refused", "no such thing")]


def test_a_new_address_of_the_same_customer_is_not_harmed(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.sink.answers["amina@shop.example"] = Refused("gone", ends="gone")
    shop.happens("amina", "purchase")
    shop.settle()
    with database.write() as connection:
        connection.execute(update(customer).values(email="new@shop.example", email_hash="hash-new"))
        suppress(connection, [Gone(1, "email", "amina@shop.example", "gone")], shop.clock.now())
    assert shop.rows("SELECT address_hash FROM suppression") == [("hash-amina",)]


def test_a_recipient_whom_the_relay_does_not_know_is_written_to_once_by_whatever_journey(
    database: Database, tmp_path: Path
) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    with fake("fake_smtp", tmp_path) as relay:
        relay.mode("unknown")
        smtp = Smtp(Relay("127.0.0.1", relay.port, "none"), SmtpOptions(timeout=120))
        post = shop.runtime.post
        shop.runtime.renew(shop.runtime.content, replace(post, channels={**post.channels, "email": smtp}))
        for event in ("purchase", "shipped"):
            for name in ("nobody", "baraka"):
                shop.happens(name, event)
            shop.settle()
        smtp.close()
        assert [one["to"] for one in relay.taken()] == [["baraka@shop.example"]] * 2
    assert shop.rows("SELECT channel, reason FROM suppression") == [("email", "bounced")]
    assert shop.rows("SELECT state, reason FROM message WHERE state <> 'accepted'") == [
        ("refused", "provider: 550 5.1.1")
    ]
    assert shop.decisions("nobody")[-1].endswith("suppressed")


def test_one_recipient_whom_sendgrid_refuses_costs_nobody_else_their_mail(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    names = ["refused", *(f"c{n}" for n in range(19))]
    with fake_sendgrid(tmp_path) as provider:
        sendgrid = SendGrid("SG.test", provider.url, SendGridOptions().model_copy(update={"timeout": PATIENCE}))
        post = shop.runtime.post
        shop.runtime.renew(shop.runtime.content, replace(post, channels={**post.channels, "email": sendgrid}))
        for name in names:
            shop.happens(name, "shipped")
        shop.settle()
        sendgrid.close()
        sent = [person["to"][0]["email"] for one in provider.taken() for person in one["personalizations"]]
    assert sorted(sent) == sorted(f"{name}@shop.example" for name in names[1:])
    told = shop.rows("SELECT state, reason FROM message ORDER BY state")
    assert told == [("accepted", None)] * 19 + [("refused", "provider: 400 personalizations.0.to")]
