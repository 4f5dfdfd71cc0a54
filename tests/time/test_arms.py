from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from pydantic import TypeAdapter
from sqlalchemy import Integer, insert, literal, select

from engine.cohort.arms import HOLDOUT, LOTS, PRIME, arm, arm_of, bucket_of
from engine.language.fields import NewStepId
from engine.store.database import Database
from engine.store.tables import customer
from engine.store.types import EPOCH

BUCKETS = [bucket_of(f"customer-{n}") for n in range(50_000)]
DRAWS = [
    ("welcome", "split_1"),
    ("welcome", "split_2"),
    ("win-back", "split_1"),
    ("welcome", HOLDOUT),
    ("win-back", HOLDOUT),
]


def chi_square(found: Counter[int], cells: int, total: int) -> float:
    return float(sum((found[cell] - total / cells) ** 2 / (total / cells) for cell in range(cells)))


def bound(cells: int) -> float:
    """The chi-square of `cells` equal cells lies below this in all but one of a million fair draws."""
    freedom = cells - 1
    return float(freedom) * float(1 - 2 / (9 * freedom) + 4.75 * (2 / (9 * freedom)) ** 0.5) ** 3


def test_buckets_are_spread_evenly() -> None:
    assert all(0 <= bucket < PRIME for bucket in BUCKETS)
    assert chi_square(Counter(bucket * 100 // PRIME for bucket in BUCKETS), 100, len(BUCKETS)) < bound(100)


@pytest.mark.parametrize(("journey", "step"), DRAWS)
def test_every_share_of_a_split_gets_its_share(journey: str, step: str) -> None:
    lots = Counter(arm_of(bucket, journey, step) * 100 // LOTS for bucket in BUCKETS)
    assert chi_square(lots, 100, len(BUCKETS)) < bound(100)


@pytest.mark.parametrize(("one", "other"), list(combinations(DRAWS, 2)))
def test_a_split_says_nothing_about_another_nor_about_a_holdout(one: tuple[str, str], other: tuple[str, str]) -> None:
    pairs = Counter(
        (arm_of(bucket, *one) * 10 // LOTS) * 10 + arm_of(bucket, *other) * 10 // LOTS for bucket in BUCKETS
    )
    assert chi_square(pairs, 100, len(BUCKETS)) < bound(100)


def test_the_same_customer_draws_the_same_lot_for_ever() -> None:
    # Written down: whoever changes these numbers moves people between the arms of running journeys.
    assert bucket_of("amina") == 82557421
    assert bucket_of("") == 1356739882
    assert arm_of(82557421, "welcome", "split_1") == 6335
    assert arm_of(82557421, "welcome", HOLDOUT) == 544


def test_sql_draws_what_python_draws(database: Database) -> None:
    buckets = [0, 1, 2, PRIME - 1, PRIME - 2, *BUCKETS[:500]]
    with database.write() as connection:
        connection.execute(
            insert(customer),
            [
                {"external_id": str(n), "bucket": bucket, "attributes": {}, "created_at": EPOCH, "updated_at": EPOCH}
                for n, bucket in enumerate(buckets)
            ],
        )
        for journey, step in DRAWS:
            rows = connection.execute(select(customer.c.bucket, arm(customer.c.bucket, journey, step)))
            assert [lot for _, lot in rows] == [arm_of(bucket, journey, step) for bucket in buckets]


def test_the_largest_product_fits_64_bits(database: Database) -> None:
    with database.read() as connection:
        largest = literal(PRIME - 1, Integer)
        lots = connection.execute(select(*(arm(largest, "j", f"s{n}") for n in range(200)))).one()
        assert list(lots) == [arm_of(PRIME - 1, "j", f"s{n}") for n in range(200)]
    assert (PRIME - 1) * (PRIME - 1) + PRIME - 1 < 2**63


def test_no_step_can_be_named_like_the_holdout() -> None:
    with pytest.raises(ValueError):
        TypeAdapter(NewStepId).validate_python(HOLDOUT)
