"""The small forms of the language: durations, times, percentages, literals with holes, values from outside."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.language.errors import Wrong, did_you_mean
from engine.language.fields import parse_percent, percent_text
from engine.language.holes import Hole, pieces
from engine.language.moments import duration_text, parse_date, parse_duration, parse_local, parse_time, parse_weekday
from engine.language.types import read_type
from engine.language.values import stored


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("12h", 720), ("90d", 129600), ("2w", 20160), ("0m", 0)])
def test_a_duration_is_a_number_and_a_unit(text: str, minutes: int) -> None:
    assert parse_duration(text) == timedelta(minutes=minutes)


@given(st.integers(0, 36525 * 1440))
def test_a_duration_is_written_as_it_is_read(minutes: int) -> None:
    assert parse_duration(duration_text(timedelta(minutes=minutes))) == timedelta(minutes=minutes)


@given(st.text(max_size=20))
def test_any_text_is_a_moment_or_told(text: str) -> None:
    for parse in (parse_duration, parse_time, parse_weekday, parse_date, parse_local, parse_percent):
        try:
            parse(text)
        except Wrong as wrong:
            assert wrong.message


def test_moments_are_read_as_they_are_written() -> None:
    assert parse_time("9:05") == time(9, 5)
    assert parse_weekday("Monday") == 0
    assert parse_weekday("sun") == 6
    assert parse_date("2024-02-29") == date(2024, 2, 29)
    assert parse_local("2026-12-24 18:00") == datetime(2026, 12, 24, 18)


@given(st.integers(0, 10000))
def test_a_share_is_written_as_it_is_read(parts: int) -> None:
    assert parse_percent(percent_text(parts)) == parts


def test_holes_are_found_with_their_places() -> None:
    text = 'a {{ x }} b {{  y == "}}" }}'
    assert pieces(text) == ("a ", Hole("x", 5), " b ", Hole('y == "}}"', 16))
    assert text[16:].startswith("y ==")
    assert pieces("plain } { text") == ("plain } { text",)
    assert pieces("") == ()


@given(st.text(alphabet="{}%#\"' ab\\", max_size=30))
def test_any_literal_is_pieces_or_told(text: str) -> None:
    try:
        found = pieces(text)
    except Wrong as wrong:
        assert wrong.offset is not None and 0 <= wrong.offset <= len(text)
        return
    for piece in found:
        if isinstance(piece, Hole):
            assert text[piece.offset :].startswith(piece.text)


@pytest.mark.parametrize(
    ("value", "type_", "kept"),
    [
        ("x", "text", "x"),
        (17, "text", "17"),
        ("49.90", "money", 4990),
        (49.9, "money", 4990),
        (49, "money", 4900),
        (-49, "money", -4900),
        (10**11, "money", 10**13),
        (0.1 + 0.2, "number", 0.1 + 0.2),
        ("12", "number", 12),
        ("1e3", "number", 1000),
        ("yes", "boolean", True),
        (False, "boolean", False),
        ("2026-12-24", "date", "2026-12-24"),
        ("1970-01-01T00:00:01Z", "instant", 1_000_000),
        ("1970-01-01 03:00", "instant", 0),
        ([{"sku": "A", "price": "2"}], [{"sku": "text", "price": "money"}], [{"sku": "A", "price": 200}]),
    ],
)
def test_a_value_from_outside_gets_its_kept_form(value: Any, type_: Any, kept: Any) -> None:
    assert stored(value, read_type(type_), 2, "Africa/Nairobi") == kept


@pytest.mark.parametrize(
    ("value", "type_", "message"),
    [
        (True, "text", "a text is expected, and this is True"),
        ("a\0b", "text", "U+0000 is not allowed in a text"),
        ("4.999", "money", 'an amount has 2 digits after the point at most, and this is "4.999"'),
        ("1e30", "money", "this amount is too large"),
        (2**53 // 100 + 1, "money", "this amount is too large"),
        ("nan", "number", 'a number is expected, and this is "nan"'),
        ("1e200", "number", 'a number is expected, and this is "1e200"'),
        ("1e-105", "number", "this number is too large or too small"),
        (1, "boolean", "true or false is expected, and this is 1"),
        ("2026-02-30", "date", 'a date like 2026-12-24 is expected, and this is "2026-02-30"'),
        ("soon", "instant", 'a time like 2026-12-24T18:00:00+03:00 is expected, and this is "soon"'),
        ({"sku": "A"}, [{"sku": "text"}], "a list is expected, and this is a mapping"),
        ([{"skuh": "A"}], [{"sku": "text"}], 'unknown name "skuh"'),
        (None, "text", "a text is expected, and this is nothing"),
    ],
)
def test_a_value_of_another_type_is_told(value: Any, type_: Any, message: str) -> None:
    with pytest.raises(Wrong) as caught:
        stored(value, read_type(type_), 2)
    assert caught.value.message == message


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_is_kept_or_told(value: Any) -> None:
    for type_ in ("text", "number", "boolean", "date", "instant", "money", [{"a": "text"}], {"a": "money"}):
        try:
            stored(value, read_type(type_), 2)
        except Wrong as wrong:
            assert wrong.message


@given(st.text("0123456789.-+e_ ٣", max_size=14), st.sampled_from([0, 2, 3]))
@example("0e1000", 2)
@example("9e1000000", 0)
def test_an_amount_is_read_as_the_decimal_it_is_however_it_is_written(text: str, digits: int) -> None:
    try:
        number = Decimal(text.strip())
        # From 1e120 on it is no amount, not even of nothing; and Decimal can't scale all of those.
        number = number.scaleb(digits) if number.is_finite() and number.adjusted() < 120 else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    right = number.is_finite() and number == number.to_integral_value() and abs(number) <= 2**53
    try:
        assert stored(text, read_type("money"), digits) == int(number) and right
    except Wrong:
        assert not right


def test_an_instant_is_kept_to_the_microsecond() -> None:
    moment = datetime(2026, 3, 2, 9, 0, 0, 123456, tzinfo=UTC)
    assert stored(moment.isoformat(), read_type("instant"), 2) == round(moment.timestamp()) * 1_000_000 + 123456


def test_a_hint_names_the_nearest_word_or_all_of_a_few() -> None:
    assert did_you_mean("wiat", ["wait", "send"]) == 'did you mean "wait"?'
    assert did_you_mean("xyz", ["wait", "send"]) == "known: send, wait"
    assert did_you_mean("xyz", []) is None
