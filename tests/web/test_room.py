"""How many events may wait goes by how fast they are written."""

from __future__ import annotations

from engine.web.room import LEAST, MOST, SOON, Room


def test_nobody_knows_at_first_so_there_is_all_the_room() -> None:
    assert Room().events == MOST


def test_there_is_room_for_as_many_as_will_be_written_soon() -> None:
    room = Room()
    for _ in range(10):
        room.wrote(1000, 0.2)
    assert room.events == 5000 * SOON
    for _ in range(10):
        room.wrote(1000, 0.01)
    assert room.events == MOST


def test_a_stalled_disk_leaves_room_for_what_shows_that_it_is_back() -> None:
    room = Room()
    room.wrote(1000, 3600)
    assert room.events == LEAST
    room.wrote(1000, 0.0)  # a clock that stands still is no reason to divide by nothing
    assert room.events == MOST


def test_a_bound_of_the_callers_is_never_passed() -> None:
    room = Room(most=0)
    assert room.events == 0
    room.wrote(1000, 0.01)
    assert room.events == 0
