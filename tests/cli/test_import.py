"""Imports: what is taken, what is not, what a second time changes, and that nobody enters by history."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import func, select

from engine.app import App
from engine.imports import Import, Kind, NoKind, Outdated, Result, Unreadable, batches
from engine.imports.rows import Layout
from engine.runtime.clock import VirtualClock
from engine.runtime.profile import Consented, Profile, Writer
from engine.segments import membership
from engine.segments.survey import prepare
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import consent, customer, customer_tag, enrolment, event, segment_member, tally

NOW = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)

PROJECT = """\
brand: {name: Duka, timezone: Africa/Nairobi, locale: en, currency: KES}
customer: {tier: text, renewal: date, vip: boolean, spent: money}
events:
  purchase: {value: total, properties: {total: money, order_id: text, items: [{sku: text, qty: number}]}}
  shipped: {properties: {order_id: text}}
topics: {offers: {title: Offers}}
channels: {email: {provider: maildir}}
"""
LAPSED = "journey: lapsed\nenter: {segment: lapsed}\nsteps:\n  - tag: back\n"
FIRST = 'journey: first\nenter: {event: purchase, where: times("purchase") == 1}\nsteps:\n  - tag: first\n'


class Shop:
    """A project on a database, with a clock that stands."""

    def __init__(self, root: Path, database: Database, now: datetime = NOW) -> None:
        self.root = root
        self.clock = VirtualClock(now)
        self.app = App(Settings.of(root, secret_key="a secret of the tests"), self.clock)
        self.app.__dict__["database"] = database
        self.files = 0

    def take(self, file: Path | str, **how: Any) -> Result:
        if isinstance(file, str):
            self.files += 1
            path = self.root / f"file{self.files}.csv"
            path.write_text(file, encoding="utf-8")
            file = path
        return Import(self.app.runtime, self.app.door, **how).run(file, lambda done, rows: None)

    def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        with self.app.database.read() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(*columns))]

    def members(self) -> list[str]:
        """Who is in a segment."""
        m = segment_member.c
        names = select(customer.c.external_id).join(segment_member, m.customer_id == customer.c.id)
        with self.app.database.read() as connection:
            return list(connection.scalars(names.where(m.left_at.is_(None)).order_by(customer.c.external_id)))

    def count(self, table: Any) -> int:
        with self.app.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    files = {"project": PROJECT, "segments": 'lapsed: elapsed("purchase") > 30d\n', "lapsed": LAPSED, "first": FIRST}
    made = Shop(project({f"workflows/{name}.yaml": text for name, text in files.items()}), database)
    yield made
    made.app.close()


def test_customers_come_with_their_types_consents_and_tags(shop: Shop) -> None:
    result = shop.take(
        "id,email,country,birthday,created,consent,tags,renewal,vip,spent\n"
        'amina,Amina@Shop.example,KE,1990-03-08,2025-01-05,email/offers,"vip, early",2026-04-01,yes,49.90\n'
        "baraka,,TZ,03-09,,,,,,\n"
    )
    assert (result.kind, result.new, result.rejected) == (Kind.CUSTOMERS, 2, 0)
    with shop.app.database.read() as connection:
        amina, baraka = connection.execute(select(customer).order_by(customer.c.external_id)).all()
    assert (amina.email, amina.country, amina.birth_year) == ("Amina@shop.example", "KE", 1990)
    assert amina.attributes == {"renewal": "2026-04-01", "vip": True, "spent": 4990}
    assert amina.created_at == datetime(2025, 1, 4, 21, tzinfo=UTC)
    assert (baraka.birth_month, baraka.birth_day, baraka.birth_year, baraka.created_at) == (3, 9, None, NOW)
    assert shop.rows(consent.c.channel, consent.c.topic, consent.c.state) == [("email", "offers", "on")]
    assert shop.rows(customer_tag.c.tag) == [("early",), ("vip",)]


def test_what_a_later_file_does_not_say_stays(shop: Shop) -> None:
    shop.take("id,email,tier,vip\namina,amina@shop.example,gold,yes\n")
    result = shop.take("id,email,tier,country\namina,,silver,KE\n")
    assert (result.new, result.known) == (0, 1)
    with shop.app.database.read() as connection:
        (amina,) = connection.execute(select(customer)).all()
    assert (amina.email, amina.country, amina.attributes) == (
        "amina@shop.example",
        "KE",
        {"tier": "silver", "vip": True},
    )


def test_a_file_imported_again_brings_nobody_back_who_has_opted_out_since(shop: Shop) -> None:
    path = shop.root / "customers.csv"
    path.write_text("id,consent\namina,email/offers\n", encoding="utf-8")
    earlier = (NOW - timedelta(days=2)).timestamp()
    os.utime(path, (earlier, earlier))
    shop.take(path)
    with shop.app.database.write() as connection:
        writer = Writer(connection, NOW - timedelta(days=1))
        ids = writer.customers(["amina"])
        writer.apply(ids["amina"], Profile(consents=(Consented("email", "offers", "off"),)))
        writer.flush()
    shop.take(path)
    assert shop.rows(consent.c.state) == [("off",)]


def test_events_count_once_by_their_key_and_by_all_they_say(shop: Shop) -> None:
    text = (
        "customer,event,at,order_id,total,items\n"
        'amina,purchase,2026-01-01,A1,10,"[{""sku"": ""S"", ""qty"": 2}]"\n'
        "amina,purchase,2026-01-02,,20,\n"
        "amina,shipped,2026-01-03,A1,,\n"
    )
    assert shop.take(text).new == 3
    again = shop.take(text)
    assert (again.new, again.known) == (0, 3)
    assert shop.rows(tally.c.name, tally.c.count, tally.c.total) == [("purchase", 2, 3000), ("shipped", 1, 0)]
    assert {"order_id": "A1", "total": 1000, "items": [{"sku": "S", "qty": 2}]} in [row[0] for row in _properties(shop)]


def _properties(shop: Shop) -> list[tuple[Any, ...]]:
    with shop.app.database.read() as connection:
        return [tuple(row) for row in connection.execute(select(event.c.properties))]


def test_another_source_has_keys_of_its_own(shop: Shop) -> None:
    text = "customer,event,at,order_id\namina,purchase,2026-01-01,1\n"
    assert (shop.take(text).new, shop.take(text, source="tills").new, shop.take(text, source="tills").new) == (1, 1, 0)


def test_history_lets_nobody_in_not_even_by_a_segment_and_a_live_file_does(shop: Shop) -> None:
    shop.app.runtime.publish()
    shop.take("customer,event,at\namina,purchase,2026-01-01\nbaraka,purchase,2026-02-25\n")
    shop.clock.advance_to(NOW + timedelta(minutes=1))
    shop.app.runtime.tick()
    assert shop.count(enrolment) == 0
    assert [row[0] for row in shop.rows(segment_member.c.segment)] == ["lapsed"]
    shop.take("customer,event,at\nchanda,purchase,2026-03-01T06:30:00Z\n", live=True)
    assert shop.rows(enrolment.c.journey) == [("first",)]
    # Whoever was there before joins as ever, when their time comes.
    shop.clock.advance_to(NOW + timedelta(days=30))
    shop.app.runtime.tick()
    assert shop.rows(enrolment.c.journey) == [("first",), ("lapsed",)]


def test_one_who_joined_just_before_an_import_still_enters(shop: Shop) -> None:
    shop.take("customer,event,at\namina,purchase,2026-01-30T12:00:00+03:00\n")
    shop.app.runtime.publish()
    shop.clock.advance_to(NOW + timedelta(days=1))  # amina's 30 days are over, and no tick has looked yet
    shop.take("customer,event,at\nbaraka,purchase,2025-12-01\n")
    shop.app.runtime.tick()
    with shop.app.database.read() as connection:
        who = select(customer.c.external_id).join(enrolment, enrolment.c.customer_id == customer.c.id)
        assert list(connection.scalars(who)) == ["amina"]


def test_an_import_beside_a_publish_lets_nobody_in_and_goes_on_when_it_is_run_again(shop: Shop) -> None:
    shop.app.runtime.publish()
    work = Import(shop.app.runtime, shop.app.door)
    other = Shop(shop.root, shop.app.database)
    path = shop.root / "orders.csv"
    path.write_text("customer,event,at\n" + "".join(f"c{n},purchase,2026-01-01\n" for n in range(30_000)))
    told: list[int] = []

    def publishes(done: float, rows: int) -> None:
        if not told:
            other.app.runtime.publish()
        told.append(rows)

    with pytest.raises(Outdated):
        work.run(path, publishes)
    assert 0 < shop.count(event) < 30_000
    assert Import(other.app.runtime, other.app.door).run(path, lambda done, rows: None).resumed
    other.app.runtime.tick()
    assert shop.count(event) == shop.count(segment_member) == 30_000
    assert shop.count(enrolment) == 0


LONGING = 'longing: elapsed("purchase") > 2 * usual_gap("purchase")\n'
RHYTHM = "customer,event,at\nlonely,purchase,2026-01-01\n" + "".join(
    f"regular,purchase,2026-02-{day}\n" for day in ("01", "08", "15", "22")
)
"""The last rows make it a shop where one buys weekly, and so whoever comes in the first row is longing."""


@pytest.fixture
def longing(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    """A shop with a journey for those who buy less often than usual."""
    journey = LAPSED.replace("lapsed", "longing")
    files = {"project": PROJECT, "segments": LONGING, "longing": journey}
    made = Shop(project({f"workflows/{name}.yaml": text for name, text in files.items()}), database)
    made.app.runtime.publish()
    yield made
    made.app.close()


def test_the_look_after_an_import_judges_nobody_whole_in_the_only_writers_transaction(
    longing: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[str] = []
    judge = membership._judge_everybody

    def counted(connection: Any, segment: Any, *rest: Any) -> None:
        whole.append(segment.name)
        judge(connection, segment, *rest)

    monkeypatch.setattr(membership, "_judge_everybody", counted)
    longing.take(RHYTHM)
    assert longing.members() == ["lonely"]
    assert whole == ([] if longing.app.database.dialect == "sqlite" else ["longing"])
    longing.app.runtime.tick()
    assert longing.count(enrolment) == 0


def test_an_engine_that_looks_while_an_import_looks_once_more_takes_nothing_from_it(
    longing: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beside(*given: Any, **how: Any) -> Any:
        found = prepare(*given, **how)
        longing.clock.advance_to(NOW + timedelta(minutes=1))
        longing.app.runtime.tick()
        return found

    monkeypatch.setattr(batches, "prepare", beside)
    longing.take(RHYTHM)
    assert longing.members() == ["lonely"]
    longing.app.runtime.tick()
    assert longing.count(enrolment) == 0


def test_bad_rows_are_told_by_their_lines_kept_and_taken_once_they_are_mended(shop: Shop) -> None:
    path = shop.root / "orders.csv"
    path.write_bytes(
        b"\xef\xbb\xbfcustomer;event;at;total\n"
        b'"\namina";purchase;2026-01-01;10\n'
        b"baraka;purchase;2026-01-01;ten\n"
        b"\n"
        b"chanda;purchase;2026-01-01\n"
        b"dalila;purchase;\xff;1\n"
    )
    result = shop.take(path)
    assert (result.rows, result.new, result.rejected) == (4, 1, 3)
    assert result.faults == [
        (4, 'total: an amount is expected, and this is "ten"'),
        (6, "this row has 3 cells, and the first line names 4 columns"),
        (7, "it holds bytes that are no UTF-8"),
    ]
    rejects = shop.root / "orders.rejected.csv"
    assert result.reject_file == rejects
    with rejects.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert rows[0] == ["customer", "event", "at", "total", "line", "reason"]
    assert rows[1][:5] == ["baraka", "purchase", "2026-01-01", "ten", "4"]
    rejects.write_text(rejects.read_text(errors="replace").replace("ten;", "12;"), encoding="utf-8")
    mended = shop.take(rejects)
    assert (mended.new, mended.rejected, mended.reject_file) == (1, 2, shop.root / "orders.rejected.rejected.csv")


def test_the_file_of_rejected_rows_goes_when_all_are_taken(shop: Shop) -> None:
    path = shop.root / "orders.csv"
    path.write_text("customer,event,at\n,purchase,2026-01-01\n", encoding="utf-8")
    rejects = shop.take(path).reject_file
    assert rejects is not None and rejects.exists()
    path.write_text("customer,event,at\namina,purchase,2026-01-01\n", encoding="utf-8")
    assert shop.take(path).reject_file is None
    assert not rejects.exists()


def test_parquet_and_json_lines_say_the_same_as_csv(shop: Shop) -> None:
    at = datetime(2026, 1, 1, 9)
    frame = pl.DataFrame(
        {"customer": [7, 8], "when": [at, at], "total": [12.5, None], "items": [[{"sku": "S", "qty": 1}], None]}
    )
    frame.write_parquet(shop.root / "p.parquet")
    with (shop.root / "p.ndjson").open("w") as file:
        for who, total in ((7, 12.5), (8, None)):
            line = {"customer": who, "when": "2026-01-01T09:00:00", "with": {"total": total}}
            if who == 7:
                line["with"]["items"] = [{"sku": "S", "qty": 1}]  # type: ignore[index]
            file.write(json.dumps(line) + "\n")
    how: dict[str, Any] = {"event": "purchase", "named": {"at": "when"}}
    for n, name in enumerate(("p.parquet", "p.ndjson")):
        result = shop.take(shop.root / name, source=name, **how)
        assert (result.new, result.rejected, result.faults) == (2, 0, []), name
        assert shop.count(event) == 2 * (n + 1)
    assert {row[0] for row in shop.rows(event.c.occurred_at)} == {datetime(2026, 1, 1, 6, tzinfo=UTC)}
    assert shop.rows(tally.c.count, tally.c.total) == [(2, 0), (2, 2500)]
    with shop.app.database.read() as connection:
        assert sorted(connection.scalars(select(customer.c.external_id))) == ["7", "8"]


@pytest.mark.parametrize(
    ("columns", "event_name", "kind"),
    [
        (("id", "email"), None, Kind.CUSTOMERS),
        (("customer_id", "country"), None, Kind.CUSTOMERS),
        (("customer", "event", "at"), None, Kind.EVENTS),
        (("customer_id", "date", "total"), "purchase", Kind.EVENTS),
        (("id", "customer", "event", "timestamp"), None, Kind.EVENTS),
        (("customer", "date", "total"), None, None),
        (("email", "country"), None, None),
        (("customer", "total"), "purchase", None),
    ],
)
def test_the_columns_tell_what_a_file_holds(
    columns: tuple[str, ...], event_name: str | None, kind: Kind | None
) -> None:
    if kind is None:
        with pytest.raises(NoKind):
            Layout.of(columns, None, {}, event_name)
    else:
        assert Layout.of(columns, None, {}, event_name).kind is kind


def test_a_file_that_is_no_parquet_is_told(shop: Shop) -> None:
    (shop.root / "x.parquet").write_text("no")
    with pytest.raises(Unreadable, match="is no Parquet file"):
        shop.take(shop.root / "x.parquet")
