"""How often the clock is looked at."""

from __future__ import annotations

import threading

import pytest

from engine.beat import REST, Beat, rest
from tests.patience import PATIENCE, eventually


@pytest.mark.parametrize(("took", "then"), [(0.0, 0.5), (0.2, 0.3), (0.5, REST), (0.6, REST), (7.0, REST)])
def test_quick_looks_keep_the_beat_and_slow_ones_rest_shortly_instead_of_missing_the_next(
    took: float, then: float
) -> None:
    assert rest(took, 0.5) == pytest.approx(then)


def test_looks_follow_each_other_and_who_stops_the_beat_waits_for_the_one_under_way() -> None:
    may_end = threading.Semaphore(3)
    begun: list[str] = []
    ended: list[str] = []

    def look() -> None:
        begun.append(threading.current_thread().name)
        assert may_end.acquire(timeout=PATIENCE)
        ended.append(threading.current_thread().name)

    beat = Beat(look, 0.001)
    beat.start()
    eventually(lambda: (len(begun), len(ended)) == (4, 3))
    stopping = threading.Thread(target=beat.stop)
    stopping.start()
    assert (len(begun), len(ended)) == (4, 3)
    assert stopping.is_alive()
    may_end.release()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert begun == ended == ["karibu-beat"] * 4
