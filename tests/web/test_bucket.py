"""The token bucket, with the clock handed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.web.bucket import Bucket


def test_a_full_bucket_gives_a_second_s_worth_and_then_says_how_long_to_wait() -> None:
    bucket = Bucket.full(4, 100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.25]
    assert bucket.take(100.125) == 0.125
    assert bucket.take(100.25) == 0.0
    assert bucket.take(100.25) == 0.25


def test_a_pause_fills_it_no_further_than_its_rim() -> None:
    bucket = Bucket.full(2, 0.0)
    assert [bucket.take(3600.0) for _ in range(3)] == [0.0, 0.0, 0.5]


@given(st.integers(1, 50), st.lists(st.floats(0, 3), max_size=200))
def test_no_stretch_of_time_lets_through_more_than_the_rate_and_one_bucketful(rate: int, gaps: list[float]) -> None:
    bucket, now, passed = Bucket.full(rate, 0.0), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now) == 0.0:
            passed.append(now)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= (passed[last] - start) * rate + rate + 1e-6


@given(st.integers(1, 50), st.lists(st.floats(0, 0.2), min_size=1, max_size=60))
def test_who_waits_as_long_as_it_says_is_let_through(rate: int, gaps: list[float]) -> None:
    bucket, now = Bucket.full(rate, 0.0), 0.0
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        if wait:
            now += wait + 1e-9
            assert bucket.take(now) == 0.0
