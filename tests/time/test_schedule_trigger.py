from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from engine.store.tables import customer
from tests.time.conftest import Shop, utc
from triggers.schedule import ScheduleTrigger

Make = Callable[..., Shop]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def trigger(schedule: str | None = None, **fields: Any) -> ScheduleTrigger:
    return ScheduleTrigger.model_validate(fields | ({"schedule": schedule} if schedule else {}))


def test_everybody_comes_when_the_time_comes_in_the_brands_zone(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    here.add("maria", "Asia/Manila")
    monday = utc("2026-11-23 06:00")  # 09:00 in Nairobi
    before, now, after, sunday, next_week = here.looks(
        trigger("0 9 * * mon"), monday - MINUTE, monday, monday + MINUTE, monday + 6 * DAY, monday + 7 * DAY
    )
    assert (before, after, sunday) == ([], [], [])
    assert now == [("amina", "schedule:2026-11-23T09:00"), ("maria", "schedule:2026-11-23T09:00")]
    assert [cause for _, cause in next_week] == ["schedule:2026-11-30T09:00"] * 2


def test_with_zone_customer_each_comes_at_their_own_local_time(shop: Make) -> None:
    here = shop("2026-11-20")
    for name, zone in (("amina", "Africa/Nairobi"), ("maria", "Asia/Manila"), ("nobody knows", None)):
        here.add(name, zone)
    weekly = trigger("0 9 * * mon", zone="customer")
    assert here.look(weekly, utc("2026-11-23 01:00")) == [("maria", "schedule:2026-11-23T09:00")]
    assert [name for name, _ in here.look(weekly, utc("2026-11-23 06:00"))] == ["amina", "nobody knows"]


def test_a_named_zone_says_whose_clock_it_is(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    manila = trigger("0 9 * * mon", zone="Asia/Manila")
    assert here.looks(manila, utc("2026-11-23 00:59"), utc("2026-11-23 01:00")) == [
        [],
        [("amina", "schedule:2026-11-23T09:00")],
    ]


def test_at_comes_once(shop: Make) -> None:
    here = shop("2026-12-01")
    here.add("amina")
    once = trigger(at="2026-12-24 09:00")
    eve = utc("2026-12-24 06:00")
    assert here.looks(once, eve - MINUTE, eve, eve + MINUTE, eve + 365 * DAY) == [
        [],
        [("amina", "schedule:2026-12-24T09:00")],
        [],
        [],
    ]


def test_a_traveller_comes_for_the_same_cause(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("traveller", "Asia/Manila")
    weekly = trigger("0 9 * * mon", zone="customer")
    first = here.look(weekly, utc("2026-11-23 01:00"))
    with here.database.write() as connection:
        connection.execute(update(customer).values(timezone="Africa/Nairobi"))
    assert here.look(weekly, utc("2026-11-23 06:00")) == first


def test_a_time_that_the_clock_shows_twice_goes_off_the_first_time_only(shop: Make) -> None:
    here = shop("2026-10-20", "night")
    here.add("greta", "Europe/Berlin")
    night = trigger("30 2 * * *", zone="customer")
    start = utc("2026-10-25 00:00")
    came = here.looks(night, *(start + n * 15 * MINUTE for n in range(12)))
    assert [(n, found) for n, found in enumerate(came) if found] == [(2, [("greta", "schedule:2026-10-25T02:30")])]


def test_a_time_of_the_doubled_hour_that_was_missed_is_found_in_its_second_pass(shop: Make) -> None:
    here = shop("2026-10-20", "night")
    here.add("greta", "Europe/Berlin")
    night = trigger("45 2 * * *", zone="customer")
    # 02:45 was at 00:45 UTC; at 01:10 UTC the clock shows 02:10 again.
    assert here.looks(night, utc("2026-10-25 00:40"), utc("2026-10-25 01:10"), utc("2026-10-25 01:50")) == [
        [],
        [("greta", "schedule:2026-10-25T02:45")],
        [],
    ]


def test_times_that_the_clock_skips_go_off_as_one_at_the_jump(shop: Make) -> None:
    here = shop("2026-03-20", "night")
    here.add("greta", "Europe/Berlin")
    often = trigger("*/20 2 * * *", zone="customer")
    jump = utc("2026-03-29 01:00")  # 02:00 becomes 03:00
    assert here.looks(often, jump - MINUTE, jump, jump + MINUTE, jump + 30 * MINUTE, jump + 60 * MINUTE) == [
        [],
        [("greta", "schedule:2026-03-29T02:40")],
        [],
        [],
        [],
    ]


def test_a_skipped_time_and_the_one_right_after_the_jump_go_off_as_one(shop: Make) -> None:
    here = shop("2026-03-20", "night")
    here.add("greta", "Europe/Berlin")
    jump = utc("2026-03-29 01:00")
    came = here.looks(trigger("30 2,3 * * *", zone="customer"), jump, jump + 30 * MINUTE)
    assert came == [[("greta", "schedule:2026-03-29T02:30")], [("greta", "schedule:2026-03-29T03:30")]]
    here.journey = "whole hours"
    assert here.looks(trigger("0 2,3 * * *", zone="customer"), jump, jump + 30 * MINUTE) == [
        [("greta", "schedule:2026-03-29T03:00")],
        [],
    ]


@pytest.mark.parametrize(
    ("misfire", "late", "runs"),
    [
        ("run within 1h", HOUR, True),
        ("run within 1h", HOUR + MINUTE, False),
        ("run within 6h", 6 * HOUR, True),
        ("run within 6h", 6 * HOUR + MINUTE, False),
        ("run", 6 * DAY, True),
        ("skip", 5 * MINUTE, True),
        ("skip", 6 * MINUTE, False),
    ],
)
def test_a_missed_time_is_the_misfires(shop: Make, misfire: str, late: timedelta, runs: bool) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    weekly = trigger("0 9 * * mon", misfire=misfire)
    came = here.looks(weekly, utc("2026-11-20 12:00"), utc("2026-11-23 06:00") + late, utc("2026-11-23 06:00") + late)
    assert came == [[], [("amina", "schedule:2026-11-23T09:00")] if runs else [], []]


def test_a_missed_time_runs_within_an_hour_unless_said_otherwise() -> None:
    assert str(trigger("0 9 * * mon").misfire) == "run within 1h"


def test_of_several_missed_times_the_last_runs(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    hourly = trigger("0 * * * *", misfire="run")
    assert here.looks(hourly, utc("2026-11-20 12:00"), utc("2026-11-22 15:20"), utc("2026-11-22 16:00")) == [
        [("amina", "schedule:2026-11-20T15:00")],
        [("amina", "schedule:2026-11-22T18:00")],
        [("amina", "schedule:2026-11-22T19:00")],
    ]


def test_nothing_from_before_it_was_published_runs(shop: Make) -> None:
    here = shop("2026-11-23 06:30")
    here.add("amina")
    assert here.look(trigger("0 9 * * mon", misfire="run"), utc("2026-11-23 06:31")) == []


def test_another_schedule_in_a_new_version_begins_with_that_version(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    here.look(trigger("0 12 * * mon", misfire="run"), utc("2026-11-23 05:00"))
    here.published = utc("2026-11-23 07:00")
    assert here.look(trigger("0 9 * * mon", misfire="run"), utc("2026-11-23 07:01")) == []


def test_a_clock_that_is_put_back_runs_nothing_again(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    hourly = trigger("0 * * * *", misfire="run")
    noon = utc("2026-11-21 12:00")
    came = here.looks(hourly, noon - HOUR, noon, noon - HOUR, noon - 30 * MINUTE, noon, noon + HOUR)
    assert [[cause for _, cause in found] for found in came] == [
        ["schedule:2026-11-21T14:00"],
        ["schedule:2026-11-21T15:00"],
        [],
        [],
        [],
        ["schedule:2026-11-21T16:00"],
    ]


def test_a_clock_that_was_a_year_ahead_stops_nothing(shop: Make) -> None:
    here = shop("2026-11-20")
    here.add("amina")
    daily = trigger("0 9 * * *")
    here.look(daily, utc("2027-11-20 06:00"))
    assert here.looks(daily, utc("2026-11-21 05:59"), utc("2026-11-21 06:00")) == [
        [],
        [("amina", "schedule:2026-11-21T09:00")],
    ]


def test_the_next_fire_is_the_first_of_any_zone() -> None:
    zones, brand, now = ["Asia/Manila"], "Africa/Nairobi", utc("2026-11-22 12:00")
    assert trigger("0 9 * * mon").next_fire(now, zones, brand) == utc("2026-11-23 06:00")
    assert trigger("0 9 * * mon", zone="customer").next_fire(now, zones, brand) == utc("2026-11-23 01:00")
    assert trigger("0 9 * * mon").next_fire(utc("2026-11-23 06:00"), zones, brand) == utc("2026-11-30 06:00")
    assert trigger(at="2026-12-24 09:00").next_fire(now, zones, brand) == utc("2026-12-24 06:00")
    assert trigger(at="2026-12-24 09:00").next_fire(utc("2026-12-24 06:00"), zones, brand) is None
    # The autumn hour comes twice, its times don't.
    assert trigger("30 2 * * *").next_fire(utc("2026-10-25 00:30"), [], "Europe/Berlin") == utc("2026-10-26 01:30")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": "0 9 * *"}, "4 fields"),
        ({"schedule": "0 0 9 * * mon"}, "6 fields"),
        ({"schedule": "61 9 * * *"}, "minute"),
        ({"schedule": "0 9 31 2 *"}, "day-of-month"),
        ({"schedule": "@daily"}, "1 fields"),
        ({"at": "tomorrow"}, "date and time"),
        ({"schedule": "0 9 * * *", "at": "2026-12-24 09:00"}, "either"),
        ({}, "either"),
        ({"schedule": "0 9 * * *", "zone": "Mars/Olympus"}, "not a time zone"),
        ({"schedule": "0 9 * * *", "misfire": "perhaps"}, "missed"),
    ],
)
def test_what_is_no_schedule_is_refused(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScheduleTrigger.model_validate(fields)
