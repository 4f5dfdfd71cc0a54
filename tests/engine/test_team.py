"""Whom of the shop's people `notify` tells, and by what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.store.database import Database
from tests.engine.shop import Shop, Sink

JOURNEYS = {"hi": "enter: {event: purchase}\nsteps:\n  - notify: {to: shop, text: A purchase}\n"}


def test_a_notice_goes_by_chat_where_project_yaml_says_so_and_else_by_mail(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, JOURNEYS)
    shop.happens("amina", "purchase")
    shop.settle()
    assert shop.sink.to("team@duka.example")
    chat = Sink()
    post = shop.runtime.post
    shop.runtime.post = replace(post, channels={**post.channels, "team": chat}, team={"shop": "apprise"})
    shop.happens("baraka", "purchase")
    shop.settle()
    assert len(chat.sent) == 1 and chat.sent[0].to == "shop" and chat.sent[0].content.text == "A purchase"
    assert len(shop.sink.sent) == 1
