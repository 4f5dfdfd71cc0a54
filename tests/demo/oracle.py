"""Who must enter which journey of the demo, on which day: by Polars, straight from the data, without the engine.

The replay looks at its clock once a day, and sees then what has happened. So an entry stands at the first look at
or after what caused it, and its day is the customer's own date at that look.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from engine.demo.data import END, START, Shop
from engine.demo.replay import looks

LOOKS = pl.DataFrame({"look": looks()}, schema={"look": pl.Datetime("us", "UTC")}).with_columns(
    pl.col("look").set_sorted()
)


def first_purchase(shop: Shop) -> pl.DataFrame:
    """`enter: {event: purchase, where: times("purchase") == 1}`: the first purchase ever, if it is replayed."""
    first = _purchases(shop).group_by("customer").agg(at=pl.col("at").min()).filter(pl.col("at") >= START)
    return _days(shop, _seen(first))


def birthday(shop: Shop) -> pl.DataFrame:
    """`enter: {date: customer.birthday, offset: -7d, at: "09:00", late: 6d}`: nine o'clock their time, a week before.

    Who signs up within six days after that moment is taken then.
    """
    rows = []
    for id, text, zone, created in _people(shop).select("id", "birthday", "timezone", "created").drop_nulls().rows():
        month, day = int(text[-5:-3]), int(text[-2:])
        for year in (START.year, END.year):
            anniversary = date(year, month, day if (month, day) != (2, 29) else 28)
            moment = datetime.combine(anniversary - timedelta(days=7), time(9), ZoneInfo(zone)).astimezone(UTC)
            if START < moment <= END and created <= moment + timedelta(days=6):
                rows.append((id, max(moment, created)))
    entries = pl.DataFrame(rows, schema={"customer": pl.String, "at": pl.Datetime("us", "UTC")}, orient="row")
    return _days(shop, _seen(entries))


def win_back(shop: Shop) -> pl.DataFrame:
    """`enter: {segment: lapsed}` with elapsed("purchase") > 30d and elapsed("purchase") > usual_gap("purchase") * 2.5.

    After each purchase somebody is lapsed from the moment that is so much later until their next purchase. Those who
    are lapsed when the journey is published don't enter; nobody enters twice within 180 days.
    """
    runs = (
        _purchases(shop)
        .sort("customer", "at")
        .with_columns(
            n=pl.int_range(pl.len()).over("customer"),
            gap=(pl.col("at") - pl.col("at").shift(1)).over("customer").dt.total_microseconds(),
            following=pl.col("at").shift(-1).over("customer"),
        )
    )
    # Only where thirty days pass can anybody be lapsed; there the median of the gaps so far is needed.
    long = runs.filter((pl.col("following").fill_null(END + timedelta(days=400)) - pl.col("at")) > timedelta(days=30))
    own = (
        long.select("customer", "n")
        .join(runs.select("customer", "gap", before="n"), on="customer")
        .filter((pl.col("before") <= pl.col("n")) & pl.col("gap").is_not_null())
        .group_by("customer", "n")
        .agg(gaps=pl.len(), median=pl.col("gap").median())
        .with_columns(median=pl.when(pl.col("gaps") >= 3).then("median"))
    )
    usual = pl.coalesce("median", pl.lit(shops_gap(shop)))
    floor = pl.lit(30 * 86_400_000_000.0)
    lapsed = long.join(own.select("customer", "n", "median"), on=["customer", "n"], how="left").with_columns(
        # Lapsed means strictly longer, so a look at that very moment is not yet it.
        late=(pl.col("at") + pl.max_horizontal(floor, usual * 2.5).cast(pl.Duration("us"))) + timedelta(microseconds=1),
        by_the_floor=usual * 2.5 <= floor,
    )
    late = lapsed.filter(pl.col("late") > START).select("customer", "following", "by_the_floor", at="late")
    joins = _judged(shop, _seen(late))
    # A purchase that is seen at the look at which they would have joined undoes it.
    stands = pl.col("following").is_null() | (pl.col("following") > pl.col("at"))
    entries = joins.filter(stands).sort("at").group_by("customer", maintain_order=True).first()
    return _days(shop, entries.select("customer", "at"))


def _judged(shop: Shop, late: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `at` moved to the first look at which the customer is judged.

    Who turns by the thirty days alone is judged at once: that moment can be told. For a multiple of a rhythm it can't, so
    everybody is judged once a day, and in between whoever did something since the last look.
    """
    whole = [START]
    for look in looks():
        if look - whole[-1] >= timedelta(days=1):
            whole.append(look)
    daily = pl.DataFrame({"day": whole}, schema={"day": pl.Datetime("us", "UTC")})
    rows = late.with_row_index("row").sort("at").join_asof(daily, left_on="at", right_on="day", strategy="forward")
    did = _seen(shop.replay.select("customer", "at")).select("customer", did="at")
    active = rows.select("row", "customer", "at").join(did, on="customer").filter(pl.col("did") >= pl.col("at"))
    rows = rows.join(active.group_by("row").agg(did=pl.col("did").min()), on="row", how="left")
    first = pl.when("by_the_floor").then("at").otherwise(pl.min_horizontal("day", "did"))
    return rows.with_columns(at=first).drop_nulls("at")


def shops_gap(shop: Shop) -> float:
    """The median over customers with three gaps of their own median gap, at the start of the replay (microseconds)."""
    past = shop.history.filter(pl.col("name") == "purchase").sort("customer", "at")
    gaps = past.select("customer", gap=(pl.col("at") - pl.col("at").shift(1)).over("customer").dt.total_microseconds())
    own = gaps.drop_nulls().group_by("customer").agg(number=pl.len(), median=pl.col("gap").median())
    median = own.filter(pl.col("number") >= 3)["median"].median()
    assert isinstance(median, float)
    return median


def orders_of_a_week_ago(shop: Shop) -> pl.DataFrame:
    """The orders that were first looked at a week or more before the end, and whether each was `lost`: never shipped."""
    events = shop.replay.with_columns(order=pl.col("properties").str.json_path_match("$.order_id"))
    orders = _seen(events.filter(pl.col("name") == "purchase").select("order", "at").drop_nulls())
    shipped = events.filter(pl.col("name") == "shipped")["order"].implode()
    old = orders.filter(pl.col("at") <= END - timedelta(days=7))
    return old.with_columns(lost=~pl.col("order").is_in(shipped))


def _purchases(shop: Shop) -> pl.DataFrame:
    events = pl.concat([shop.history, shop.replay])
    return events.filter(pl.col("name") == "purchase").select("customer", "at")


def _people(shop: Shop) -> pl.DataFrame:
    return pl.concat([shop.known, shop.arriving])


def _seen(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `at` moved to the first look at or after it; what comes after the last look is not seen."""
    at = rows.with_columns(at=pl.col("at").cast(pl.Datetime("us", "UTC"))).sort("at")
    seen = at.join_asof(LOOKS, left_on="at", right_on="look", strategy="forward")
    return seen.drop_nulls("look").with_columns(at=pl.col("look")).drop("look")


def _days(shop: Shop, entries: pl.DataFrame) -> pl.DataFrame:
    """Rows of customer and day (their own date at the entry), in order."""
    zones = _people(shop).select(customer="id", zone="timezone")
    rows = entries.join(zones, on="customer").select("customer", "zone", "at").rows()
    days = [(customer, at.astimezone(ZoneInfo(zone)).date()) for customer, zone, at in rows]
    return pl.DataFrame(days, schema={"customer": pl.String, "day": pl.Date}, orient="row").sort("customer", "day")
