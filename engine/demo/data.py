"""The demo's shop: real baskets, up to eight weeks before the end as history and the rest to replay; made facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from engine.demo import households, visits
from engine.demo.households import END, START
from engine.demo.people import people

__all__ = ["END", "START", "Shop", "load"]


@dataclass(frozen=True)
class Shop:
    """Frames of `people.SCHEMA` (customers) and `visits.EVENT_SCHEMA` (events), in order of time.

    `known` are the customers of the history, `arriving` those whose `created` lies in the eight weeks. `properties` is
    a JSON object as the events API takes it: money as a number in the currency's unit. No journey asks for the lines of
    past baskets, so history has totals only.
    """

    known: pl.DataFrame
    arriving: pl.DataFrame
    history: pl.DataFrame
    replay: pl.DataFrame


def load() -> Shop:
    """Read and make everything: the same every time, in a few seconds. DataMissing when the package isn't installed."""
    baskets = households.baskets().with_columns(
        customer=pl.format("hh-{}", pl.col("household").cast(pl.String).str.zfill(4))
    )
    past = baskets.filter(pl.col("at") < START)
    replayed = visits.drawn(baskets.filter((pl.col("at") >= START) & (pl.col("at") < END)))

    created = _created(baskets) | visits.guests()
    ages = {f"hh-{household:04}": band for household, band in households.age_bands().items()}
    everybody = people(created, ages).sort("created", "id")
    arriving = everybody.filter(pl.col("created") >= START)
    arrivals = dict(arriving.select("id", "created").rows())
    made = [visits.sign_ups(arrivals), visits.carts(replayed), visits.parcels(replayed)]
    replay = pl.concat([_purchases(replayed, "cart_id", "order_id", "items"), *(visits.frame(part) for part in made)])
    return Shop(
        known=everybody.filter(pl.col("created") < START),
        arriving=arriving,
        history=_purchases(past),
        replay=replay.sort("at", "source", "key"),
    )


def _created(baskets: pl.DataFrame) -> dict[str, datetime]:
    """A household becomes a customer (signs up) a while before its first basket: made, since the data doesn't say."""
    first = baskets.group_by("customer").agg(at=pl.col("at").min(), number=pl.col("household").first())
    return {id: at - timedelta(minutes=5 + number % 55) for id, at, number in first.rows()}


def _purchases(baskets: pl.DataFrame, *more: str) -> pl.DataFrame:
    item = pl.element().struct
    price = (item.field("price") / 100).round(2)
    line = pl.struct(item.field("sku"), item.field("name"), item.field("category"), item.field("qty"), price=price)
    total = (pl.col("total") / 100).round(2)
    priced = baskets.with_columns(total=total, items=pl.col("items").list.eval(line))
    return priced.select(
        source=pl.lit("completejourney"),
        key=pl.col("basket"),
        customer="customer",
        name=pl.lit(visits.PURCHASE),
        at="at",
        properties=pl.struct("total", *more).struct.json_encode(),
    )
