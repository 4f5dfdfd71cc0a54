"""The team hears once of each time a pool falls below its mark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import update

from engine.language.rewards import Pool
from engine.runtime import lowpools
from engine.runtime.coupons import stock
from engine.store.database import Database
from engine.store.scratch import insert_into
from engine.store.tables import coupon
from tests.engine.shop import START, Shop, Sink

POOLS = {
    "rolls": Pool.model_validate({"from": "codes.csv", "warn_below": 3}),
    "quiet": Pool.model_validate({"from": "codes.csv"}),
}


def load(database: Database, codes: str) -> None:
    with database.write() as connection:
        for code in codes:
            row = {"pool": "rolls", "code": code, "folded": code.lower(), "state": "available", "asked": 0}
            connection.execute(insert_into(connection, coupon).values(row))


def give(database: Database, *codes: str) -> None:
    with database.write() as connection:
        connection.execute(update(coupon).where(coupon.c.code.in_(codes)).values(state="issued"))


def test_a_fall_is_told_once_and_the_next_one_again(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    chat = Sink()
    post = replace(
        shop.runtime.post,
        channels={**shop.runtime.post.channels, "team": chat},
        team={"shop": "team@duka.example", "ops": "apprise"},
    )

    def look() -> list[str]:
        return lowpools.look(database, POOLS, post, START)

    load(database, "ABC")
    assert look() == [] and not shop.sink.sent
    give(database, "A")
    assert look() == ["rolls"]
    assert look() == [] == look()
    [mail], [said] = shop.sink.sent, chat.sent
    assert (mail.to, said.to) == ("team@duka.example", "ops")
    assert "rolls" in mail.content.subject and "2 codes are left" in said.content.text
    give(database, "B", "C")
    assert look() == []
    load(database, "DEF")
    assert look() == []
    give(database, "D")
    assert look() == ["rolls"]
    assert len(shop.sink.sent) == 2


def test_of_two_engines_that_see_the_fall_one_tells(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, {})
    with database.read() as connection:
        low = [one for one in stock(connection, POOLS) if one.low]
    assert [one.pool for one in low] == ["rolls"]
    first = database.written(lambda connection: lowpools._cross(connection, low, START))
    second = database.written(lambda connection: lowpools._cross(connection, low, START))
    assert (len(first), len(second)) == (1, 0)
    assert not shop.sink.sent
