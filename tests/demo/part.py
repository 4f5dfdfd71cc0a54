"""A part of the demo's shop, for tests that run it more than once."""

from __future__ import annotations

import polars as pl

from engine.demo.data import Shop, load


def part(last: str) -> Shop:
    """The real shop with those of its customers alone whose id ends in one of the digits `last`: some tenth for each."""
    shop = load()

    def mine(frame: pl.DataFrame, column: str) -> pl.DataFrame:
        return frame.filter(pl.col(column).str.slice(-1).is_in(list(last)))

    return Shop(
        known=mine(shop.known, "id"),
        arriving=mine(shop.arriving, "id"),
        history=mine(shop.history, "customer"),
        replay=mine(shop.replay, "customer"),
    )
