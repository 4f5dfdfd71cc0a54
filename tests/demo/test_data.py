"""The demo's data: the real part is as published, the made part is the same every time and says that it is made."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import polars as pl
import pytest

from engine.demo.data import END, START, Shop, load
from engine.demo.people import CONSENT


@pytest.fixture(scope="module")
def shop() -> Shop:
    return load()


def test_every_published_basket_is_either_history_or_replayed(shop: Shop) -> None:
    purchases = pl.concat([shop.history, shop.replay.filter(pl.col("name") == "purchase")])
    assert purchases.height == purchases["key"].n_unique() == 155_848
    assert purchases["customer"].n_unique() == 2_469
    assert set(purchases["source"]) == {"completejourney"}


def test_history_ends_eight_weeks_before_the_end(shop: Shop) -> None:
    assert END - START == timedelta(weeks=8)
    assert shop.history["at"].max() < START <= shop.replay["at"].min()  # type: ignore[operator]
    assert shop.replay["at"].max() < END  # type: ignore[operator]
    assert shop.replay["at"].is_sorted() and shop.history["at"].is_sorted()


def test_the_totals_are_those_of_the_published_lines(shop: Shop) -> None:
    purchases = pl.concat([shop.history, shop.replay.filter(pl.col("name") == "purchase")])
    total = sum(round(json.loads(text)["total"] * 100) for text in purchases["properties"])
    assert total == 459_603_958  # 4,596,039.58: the sum of sales_value over 1,469,307 lines


def test_what_is_made_says_so_and_no_address_is_anybodys(shop: Shop) -> None:
    assert set(shop.replay.filter(pl.col("name") != "purchase")["source"]) == {"made"}
    addresses = pl.concat([shop.known, shop.arriving])["email"].drop_nulls()
    assert all(re.fullmatch(r"[a-z]+\.\S+@(mail|home|post)\.example|\S+ at home", address) for address in addresses)


def test_everybody_is_known_before_their_first_event(shop: Shop) -> None:
    events = pl.concat([shop.history, shop.replay])
    first = events.group_by("customer").agg(first=pl.col("at").min())
    people = pl.concat([shop.known, shop.arriving])
    together = people.join(first, left_on="id", right_on="customer", how="left")
    assert together.filter(pl.col("first") < pl.col("created")).height == 0
    assert set(events["customer"]) <= set(people["id"])


def test_those_who_arrive_sign_up(shop: Shop) -> None:
    signed_up = shop.replay.filter(pl.col("name") == "signed_up")
    assert sorted(signed_up["customer"]) == sorted(shop.arriving["id"])


def test_event_keys_are_unique(shop: Shop) -> None:
    events = pl.concat([shop.history, shop.replay])
    assert events.select(pl.struct("source", "key").n_unique()).item() == events.height


def test_consents_come_near_their_shares(shop: Shop) -> None:
    people = pl.concat([shop.known, shop.arriving])
    for name, percent in CONSENT.items():
        share = people.filter(pl.col("consent").list.contains(name)).height / people.height
        assert abs(share * 100 - percent) < 3, name


def test_it_is_the_same_every_time(shop: Shop) -> None:
    again = load()
    for name in ("known", "arriving", "history", "replay"):
        assert getattr(again, name).equals(getattr(shop, name)), name
