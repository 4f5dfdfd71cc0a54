"""What `karibu explain` and `karibu coupons` say of rewards."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runtime.coupons import stock as pools
from engine.runtime.explain import explain
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.rewards.giving import giving, stock, told


def lines(shop: Shop, who: str) -> list[str]:
    runtime = shop.runtime
    with runtime.database.read() as connection:
        found = explain(connection, runtime.content, runtime.registry, who, shop.clock.now(), ["j"])
    return [line.words for way in found.stories[0].ways for line in way.lines]


def test_explain_tells_of_codes_and_points(database: Database, tmp_path: Path) -> None:
    steps = "  - coupon: back\n  - send: email/code\n  - points: {give: 100, pending: 10d}\n  - points: 1\n  - points: entry.total\n"
    shop = giving(tmp_path, database, steps)
    shop.happens("amina", "purchase")
    shop.settle()
    (code,) = told(shop)["amina@shop.example"]
    said = lines(shop, "amina")
    assert f"got the code {code} of back" in said
    assert {"got 100 points, pending for 10d", "got 1 point", "got no points: entry.total came to none"} < set(said)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("few", "got no code of few: there was none left"),
        ("patient", "waits for a code of patient, until 2026-03-03 09:00"),
        ("leave", "ended at coupon_1: there was no coupon for them"),
    ],
)
def test_explain_tells_of_an_empty_pool(database: Database, tmp_path: Path, pool: str, words: str) -> None:
    shop = giving(tmp_path, database, f"  - coupon: {pool}\n  - send: email/code\n")
    shop.happens("amina", "purchase")
    shop.settle()
    said = lines(shop, "amina")
    assert words in said
    if pool == "few":
        assert "email/code was not sent: there was no coupon code for them, or theirs was no longer good" in said


def test_a_pool_that_runs_low_is_told(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: email/code\n")
    stock(shop, "few", *(f"F-{n}" for n in range(6)))
    for who in ("amina", "baraka"):
        with database.read() as connection:
            assert not next(
                one for one in pools(connection, shop.runtime.content.project.coupons) if one.pool == "few"
            ).low
        shop.happens(who, "purchase")
        shop.settle()
        if who == "amina":
            stock(shop, "patient", "P-1")  # of another pool
    with database.read() as connection:
        found = {one.pool: one for one in pools(connection, shop.runtime.content.project.coupons)}
    assert found["few"].low and found["few"].left == 4 and found["few"].counts["issued"] == 2
    assert found["back"].left is None and found["scarce"].left == 12
