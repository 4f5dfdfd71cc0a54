"""The reference is what the code says today."""

from __future__ import annotations

from docs.generate import PAGE, TOUR, page, tour


def test_the_reference_is_made_from_this_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_picture_in_the_tour_is_of_the_journey_as_it_is() -> None:
    assert TOUR.read_text(encoding="utf-8") == tour(), "run `make docs`"
