"""The rate of a channel: kept by all engines together, used up when there is enough, and never in the way of orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from engine.language.gate import Rate
from engine.runtime import rates
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from tests.engine.shop import START, Shop, person

SEND = {"hi": "enter: {event: purchase}\nsteps:\n  - send: email/hello\n  - wait: 1d\n"}


def many(shop: Shop, count: int, event: str = "purchase") -> None:
    names = [f"{event[0]}{n}" for n in range(count)]
    shop.runtime.ingest([Incoming(name, event, name, shop.clock.now(), {}, person(name)) for name in names])


def test_no_more_leave_than_the_rate_lets_and_no_fewer_in_the_long_run(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    shop.runtime.post = replace(shop.runtime.post, rates={"email": Rate(20, "s")})
    other = shop.beside(database)
    many(shop, 150)
    sent = []
    for look in range(12):
        (shop if look % 2 else other).runtime.advance()
        other.runtime.advance()
        sent.append(len(shop.sink.sent))
        shop.clock.advance_to(shop.clock.now() + timedelta(seconds=0.5))
    assert sent == [18, *(28 + 10 * n for n in range(11))]
    assert shop.rows("SELECT max(attempts) FROM message") == [(1,)]


def test_a_slow_rate_lets_one_go_at_a_time(database: Database, tmp_path: Path) -> None:
    shop = Shop.of(tmp_path, database, SEND)
    shop.runtime.post = replace(shop.runtime.post, rates={"email": Rate(6, "h")})
    many(shop, 3)
    for minutes, sent in ((0, 1), (9, 1), (10, 2), (19, 2), (20, 3)):
        shop.clock.advance_to(max(shop.clock.now(), shop.clock.now().replace(hour=6, minute=minutes)))
        shop.runtime.advance()
        assert len(shop.sink.sent) == sent
        assert [work.steps for work in shop.runtime.work()] == []  # nobody looks in vain


def test_a_tenth_is_kept_for_transactional_messages_and_what_is_unused_is_lost(database: Database) -> None:
    rate = Rate(20, "s")
    with database.write() as connection:
        assert rates.hold(connection, "email", rate, START, transactional=False) == 18
        rates.spend(connection, "email", rate, START, 18)
        assert rates.used_up(connection, {"email": rate}, START, transactional=False) == {"email"}
        assert rates.hold(connection, "email", rate, START, transactional=True) == 2
        rates.spend(connection, "email", rate, START, 2)
        assert rates.used_up(connection, {"email": rate}, START, transactional=True) == {"email"}
        assert rates.hold(connection, "email", rate, START + timedelta(hours=1), transactional=True) == 20
