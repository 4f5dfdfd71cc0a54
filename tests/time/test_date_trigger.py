from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from engine.cohort.fires import Look
from engine.store.tables import customer, enrolment, journey_version, refusal, touched
from tests.time.conftest import BRAND, Shop, utc
from triggers.date import DateTrigger

NAIROBI_NINE = timedelta(hours=6)  # 09:00 in Nairobi, in UTC


def trigger(**fields: Any) -> DateTrigger:
    return DateTrigger.model_validate({"date": "customer.birthday"} | fields)


def nine(day: str) -> datetime:
    return utc(day) + NAIROBI_NINE


Make = Callable[..., Shop]


def test_a_birthday_comes_at_nine_in_the_customers_own_zone(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20, birth_year=1990)
    here.add("maria", "Asia/Manila", birth_month=5, birth_day=20)
    here.add("nobody", birth_month=5, birth_day=21)
    before, manila, between, nairobi, after = here.looks(
        trigger(),
        utc("2026-05-20 00:59"),
        utc("2026-05-20 01:00"),
        utc("2026-05-20 05:59"),
        utc("2026-05-20 06:00"),
        utc("2026-05-20 06:01"),
    )
    assert (before, between, after) == ([], [], [])
    assert manila == [("maria", "date:2026")]
    assert nairobi == [("amina", "date:2026")]


def test_an_unknown_or_missing_zone_is_the_brands(shop: Make) -> None:
    here = shop("2026-05-01")
    for name, zone in (("none", None), ("mars", "Mars/Olympus")):
        here.add(name, zone, birth_month=5, birth_day=20)
    assert here.look(trigger(), nine("2026-05-20")) == [("none", "date:2026"), ("mars", "date:2026")]


def test_the_day_of_birth_itself_is_no_anniversary(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("baby", birth_month=5, birth_day=20, birth_year=2026)
    here.add("unborn", birth_month=5, birth_day=20, birth_year=2027)
    assert here.look(trigger(), nine("2026-05-20")) == []


def test_an_offset_goes_by_the_anniversarys_own_year(shop: Make) -> None:
    here = shop("2026-12-01")
    here.add("amina", birth_month=1, birth_day=3)
    assert here.look(trigger(offset="-7d"), nine("2026-12-27")) == [("amina", "date:2027")]
    here.journey = "after"
    assert here.look(trigger(offset="7d"), nine("2027-01-10")) == [("amina", "date:2027")]


@pytest.mark.parametrize(
    ("leap_day", "day"),
    [("feb28", "2027-02-28"), ("mar1", "2027-03-01"), ("feb28", "2028-02-29"), ("mar1", "2028-02-29")],
)
def test_somebody_born_on_29_february_has_one_birthday_a_year(shop: Make, leap_day: str, day: str) -> None:
    here = shop(f"{day[:4]}-02-01")
    here.add("leap", birth_month=2, birth_day=29, birth_year=2000)
    days = [f"{day[:4]}-{d}" for d in ("02-27", "02-28", *(["02-29"] if day[:4] == "2028" else []), "03-01", "03-02")]
    came = {d: here.look(trigger(leap_day=leap_day), nine(d)) for d in days}
    assert {d: who for d, who in came.items() if who} == {day: [("leap", f"date:{day[:4]}")]}


def test_an_attribute_counts_if_it_is_a_day_of_the_calendar_in_an_earlier_year(shop: Make) -> None:
    here = shop("2026-05-01")
    values = ["2020-05-20", "2026-05-20", "2020-05-21", "0000-05-20", "05-20", 20200520, None, "2020-05-20T10:00"]
    for n, value in enumerate(values):
        here.add(str(n), attributes={"renewal": value})
    here.add("without")
    assert here.look(trigger(date="customer.renewal"), nine("2026-05-20")) == [("0", "date:2026")]


def test_29_february_of_a_year_without_one_is_no_date(shop: Make) -> None:
    here = shop("2028-02-01")
    here.add("real", attributes={"renewal": "2024-02-29"})
    here.add("typed", attributes={"renewal": "2023-02-29"})
    assert here.look(trigger(date="customer.renewal"), nine("2028-02-29")) == [("real", "date:2028")]


def test_once_takes_each_value_once_and_only_on_its_day(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("trial", attributes={"trial_end": "2026-05-20"})
    here.add("past", attributes={"trial_end": "2025-05-20"})
    here.add("born", birth_year=2026, birth_month=5, birth_day=20)
    once = trigger(date="customer.trial_end", repeat="once", offset="-2d")
    assert here.look(once, nine("2026-05-18")) == [("trial", "date:2026-05-20")]
    here.journey = "arrival"
    assert here.look(trigger(repeat="once"), nine("2026-05-20")) == [("born", "date:2026-05-20")]


def test_the_anniversary_of_joining_goes_by_the_local_day(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("late evening", "America/New_York", created_at=utc("2024-05-21 02:00"))  # 20 May there
    here.add("this year", created_at=utc("2026-05-20 10:00"))
    here.add("night", created_at=utc("2023-05-19 22:00"))  # 20 May in Nairobi
    joined = trigger(date="customer.created")
    assert here.look(joined, nine("2026-05-20")) == [("night", "date:2026")]
    assert here.look(joined, utc("2026-05-20 13:00")) == [("late evening", "date:2026")]


def test_who_has_no_date_at_that_moment_is_not_taken(shop: Make) -> None:
    here = shop("2026-05-01")
    here.look(trigger(), nine("2026-05-20"))
    here.add("late", birth_month=5, birth_day=20)
    assert here.looks(trigger(), nine("2026-05-20"), nine("2026-05-21")) == [[], []]


def answer(shop: Shop, name: str, table: Any, cause: str, at: datetime) -> None:
    with shop.database.write() as connection:
        version = insert(journey_version).values(
            journey=shop.journey, number=1, digest="", source="", state="live", published_at=shop.published
        )
        (version_id,) = connection.execute(version).inserted_primary_key or (0,)
        row = {"journey": shop.journey, "customer_id": shop.customer_id(name), "key": "", "cause": cause}
        if table is enrolment:
            row |= {"state": "ready", "visit": 1, "entered_at": at, "moved_at": at, "side_by_side": False}
        else:
            row |= {"reason": "audience", "at": at}
        connection.execute(insert(table).values(version_id=version_id, **row))


@pytest.mark.parametrize("table", [enrolment, refusal])
def test_with_late_a_date_that_arrives_late_counts_once(shop: Make, table: Any) -> None:
    here = shop("2026-05-01")
    late = trigger(late="7d")
    here.look(late, nine("2026-05-20"))
    here.add("late", birth_month=5, birth_day=20)
    assert here.look(late, nine("2026-05-20") + timedelta(hours=1)) == []  # nobody has said that they changed
    with here.database.write() as connection:
        connection.execute(insert(touched).values(customer_id=here.customer_id("late")))
    came = here.look(late, nine("2026-05-20") + timedelta(hours=2))
    assert came == [("late", "date:2026")]
    answer(here, "late", table, "date:2026", nine("2026-05-20"))
    assert here.looks(late, nine("2026-05-20") + timedelta(hours=3), nine("2026-05-21")) == [[], []]


def test_with_late_the_next_fire_also_takes_who_was_overlooked(shop: Make) -> None:
    here = shop("2026-05-01")
    late = trigger(late="2d")
    here.looks(late, nine("2026-05-19"), nine("2026-05-20"))
    here.add("two days late", birth_month=5, birth_day=19)
    here.add("three days late", birth_month=5, birth_day=18)
    assert here.look(late, nine("2026-05-21")) == [("two days late", "date:2026")]


def test_late_takes_nobody_whose_date_was_before_the_journey_was_published(shop: Make) -> None:
    here = shop("2026-05-20 07:00")
    here.add("before", birth_month=5, birth_day=20)
    with here.database.write() as connection:
        connection.execute(insert(touched).values(customer_id=here.customer_id("before")))
    assert here.looks(trigger(late="7d"), utc("2026-05-20 07:01"), nine("2026-05-21")) == [[], []]


def test_late_over_new_year_keeps_the_years_apart(shop: Make) -> None:
    here = shop("2026-12-01")
    late = trigger(late="7d")
    here.looks(late, *(nine(f"2026-12-{day}") for day in range(25, 32)))
    here.add("old year", birth_month=12, birth_day=30)
    here.add("new year", birth_month=1, birth_day=1)
    assert here.look(late, nine("2027-01-01")) == [("old year", "date:2026"), ("new year", "date:2027")]


def test_a_date_corrected_within_the_year_has_the_same_cause(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    first = here.look(trigger(), nine("2026-05-20"))
    with here.database.write() as connection:
        connection.execute(update(customer).values(birth_day=22))
    assert here.look(trigger(), nine("2026-05-22")) == first == [("amina", "date:2026")]


def test_dates_that_passed_while_nothing_ran_are_made_up_for_three_days_long(shop: Make) -> None:
    here = shop("2026-05-12")
    for day in range(10, 21):
        here.add(str(day), birth_month=5, birth_day=day)
    assert here.look(trigger(), nine("2026-05-12")) == [("12", "date:2026")]
    came = here.look(trigger(), nine("2026-05-20") - timedelta(minutes=1))
    assert [name for name, _ in came] == ["17", "18", "19"]


def test_publishing_in_the_afternoon_greets_nobody_for_the_morning(shop: Make) -> None:
    here = shop("2026-05-20 12:00")
    here.add("today", birth_month=5, birth_day=20)
    here.add("tomorrow", birth_month=5, birth_day=21)
    assert here.look(trigger(), utc("2026-05-20 12:01")) == []
    assert here.look(trigger(), nine("2026-05-21")) == [("tomorrow", "date:2026")]


def test_another_time_of_day_in_a_new_version_greets_nobody_twice_and_forgets_nobody(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    here.look(trigger(at="10:00"), nine("2026-05-19"))
    here.published = nine("2026-05-20") + timedelta(minutes=5)
    assert here.look(trigger(at="09:00"), nine("2026-05-20") + timedelta(minutes=6)) == [("amina", "date:2026")]
    assert here.look(trigger(at="10:00"), nine("2026-05-20") + timedelta(hours=1)) == []


def test_the_first_customer_of_a_zone_is_not_greeted_for_the_days_before(shop: Make) -> None:
    here = shop("2026-05-01")
    here.looks(trigger(), *(nine("2026-05-18") + timedelta(hours=n) for n in range(0, 48, 4)))
    here.add("maria", "Asia/Manila", birth_month=5, birth_day=19)
    assert here.look(trigger(), nine("2026-05-20")) == []


def test_a_clock_that_is_put_back_fires_nothing_again(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    moment = nine("2026-05-20") - timedelta(minutes=30)
    came = here.looks(trigger(), moment, moment + timedelta(hours=1), moment, moment + timedelta(minutes=40))
    assert came == [[], [("amina", "date:2026")], [], []]


def test_a_clock_that_was_a_year_ahead_stops_nothing(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    assert here.look(trigger(), utc("2027-05-19 12:00")) == []
    assert here.looks(trigger(), nine("2026-05-19"), nine("2026-05-20")) == [[], [("amina", "date:2026")]]


def test_what_was_claimed_in_a_transaction_that_failed_comes_again(shop: Make) -> None:
    here = shop("2026-05-01")
    here.add("amina", birth_month=5, birth_day=20)
    here.ids.clear()
    with pytest.raises(KeyError):
        here.look(trigger(), nine("2026-05-20"))
    here.ids[here.customer_id("amina")] = "amina"
    assert here.look(trigger(), nine("2026-05-20")) == [("amina", "date:2026")]


@pytest.mark.parametrize(
    "fields",
    [{"offset": "-7d", "late": "5d"}, {"leap_day": "mar1", "at": "00:00"}, {"repeat": "once", "offset": "3d"}],
    ids=str,
)
@pytest.mark.parametrize("attribute", ["customer.birthday", "customer.created"])
def test_the_sieve_lets_through_every_moment_that_names_somebody(
    shop: Make, attribute: str, fields: dict[str, str]
) -> None:
    here, rule = shop("2028-02-12"), trigger(date=attribute, **fields)
    for zone in ("Pacific/Kiritimati", "Pacific/Midway"):
        for born in ("2028-02-27", "2024-02-29"):
            year, month, day = map(int, born.split("-"))
            columns = {"birth_year": year, "birth_month": month, "birth_day": day, "created_at": utc(f"{born} 23:00")}
            here.add(f"{zone} {born}", zone, **columns)
    moments = [here.published + n * timedelta(hours=19) for n in range(32)]
    came = {now: bool(here.look(rule, now)) for now in moments}
    with here.database.read() as connection:
        look = Look(connection, here.journey, here.published, BRAND, here.published)
        let_through = {now: rule.names_anybody(look, now, now + timedelta(seconds=1)) for now in moments}
        assert rule.names_anybody(look, moments[0], moments[-1])
    assert not [now for now in moments if came[now] and not let_through[now]]
    assert any(came.values()) and not all(let_through.values())


def test_the_next_fire_is_the_next_nine_oclock_of_any_zone() -> None:
    zones = ["Asia/Manila", "Africa/Nairobi"]
    assert trigger().next_fire(utc("2026-05-20 02:00"), zones, "Africa/Nairobi") == utc("2026-05-20 06:00")
    assert trigger().next_fire(utc("2026-05-20 06:00"), zones, "Africa/Nairobi") == utc("2026-05-21 01:00")


@pytest.mark.parametrize(
    ("fields", "path"), [({"offset": "-7h"}, "offset"), ({"late": "90m"}, "late"), ({"late": "90d"}, "late")]
)
def test_an_offset_or_lateness_that_is_not_in_days_is_refused(fields: dict[str, str], path: str) -> None:
    assert [complaint.path for complaint in trigger(**fields).complaints()] == [(path,)]


def test_the_date_is_an_attribute_of_the_customer() -> None:
    with pytest.raises(ValueError):
        trigger(date="birthday")
