"""What is kept is run again once the mapping knows it, and counts once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from engine.runtime import kept
from engine.store.tables import kept_hook
from engine.web import again
from engine.web.again import Again
from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import SECRET

BEARER = {"authorization": f"Bearer {SECRET}"}
LOYALTY: dict[str, Any] = {
    "source": "generic",
    "topic": "header:X-Topic",
    "key": "id",
    "customer": {"id": "member"},
    "properties": {"order_id": "receipt", "total": "sum"},
}
PURCHASE = {"events": {"receipt.paid": "purchase"}}


def replayed(here: Shop) -> list[Again]:
    with here.app.database.read() as connection:
        ids = kept.ids(connection)
    return list(again.replay(here.app, ids))


def send(here: Shop, body: Any, **headers: str) -> Any:
    given = BEARER | {"x-topic": "receipt.paid", "cookie": "theirs=1", "x-other": "unread"} | headers
    return here.post("/hooks/loyalty", json.dumps(body).encode(), given).json()


RECEIPT = {"id": "r1", "member": "amina", "receipt": "17", "sum": "49.90"}


def test_what_the_mapping_knows_by_now_is_taken_as_when_it_came_and_once(shop: Open) -> None:
    early = shop({"loyalty": LOYALTY})
    assert send(early, RECEIPT) == {"accepted": 0, "duplicates": 0, "kept": 1}
    [before] = replayed(early)
    assert (before.became, before.reason) == ("kept", "unknown topic")

    late = shop({"loyalty": LOYALTY | PURCHASE})
    late.app.clock.advance_to(NOW + timedelta(hours=1))  # type: ignore[attr-defined]
    with late.app.database.read() as connection:
        [number] = kept.ids(connection)
    assert [one.became for one in again.replay(late.app, [number])] == ["taken"]
    [(who, name, source, key, at, properties)] = late.events()
    assert (who, name, source, key, at) == ("amina", "purchase", "loyalty", "receipt.paid:r1", NOW)
    assert properties["order_id"] == "17"
    assert not late.kept()
    assert [one.became for one in again.replay(late.app, [number])] == ["gone"]
    assert send(late, RECEIPT) == {"accepted": 0, "duplicates": 1}
    assert len(late.events()) == 1


def test_what_the_shop_has_sent_again_meanwhile_counts_once(shop: Open) -> None:
    early = shop({"loyalty": LOYALTY})
    send(early, RECEIPT)
    late = shop({"loyalty": LOYALTY | PURCHASE})
    assert send(late, RECEIPT)["accepted"] == 1
    assert [one.became for one in replayed(late)] == ["before"]
    assert len(late.events()) == 1 and not late.kept()


def test_of_its_headers_those_are_kept_that_the_mapping_reads_and_no_secret(shop: Open) -> None:
    here = shop({"loyalty": LOYALTY | {"currency": "header:Authorization"}})
    send(here, RECEIPT)
    assert here.rows(kept_hook.c.reading) == [({"headers": {"x-topic": "receipt.paid"}, "part": False},)]


def test_a_part_of_a_request_is_run_again_and_the_others_are_not(shop: Open) -> None:
    each = LOYALTY | {"each": "all", "topic": "type"}
    early = shop({"loyalty": each | {"events": {"known": "purchase"}}})
    told = [RECEIPT | {"id": "r0", "type": "known"}, RECEIPT | {"type": "receipt.paid"}, RECEIPT | {"member": ""}]
    assert send(early, {"all": told})["accepted"] == 1
    late = shop({"loyalty": each | {"events": {"known": "purchase", "receipt.paid": "purchase"}}})
    assert sorted(one.became for one in replayed(late)) == ["kept", "taken"]
    assert [row.key for row in late.events()] == ["known:r0", "receipt.paid:r1"]


def test_a_fault_of_the_door_is_read_again_as_it_came(shop: Open) -> None:
    timed = LOYALTY | PURCHASE | {"time": "at"}
    here = shop({"loyalty": timed})
    send(here, RECEIPT | {"at": "2026-03-05T15:00:00Z"})
    assert not here.events()
    assert [one.became for one in replayed(here)] == ["kept"]
    here.app.clock.advance_to(NOW + timedelta(days=4))  # type: ignore[attr-defined]
    assert [one.became for one in replayed(here)] == ["taken"]
    assert len(here.events()) == 1


def test_what_is_to_be_ignored_is_kept_no_longer(shop: Open) -> None:
    early = shop({"loyalty": LOYALTY})
    send(early, RECEIPT)
    late = shop({"loyalty": LOYALTY | {"events": {"receipt.paid": "ignore"}}})
    assert [one.became for one in replayed(late)] == ["nothing"]
    assert not late.kept() and not late.events()
    assert replayed(late) == []


def test_while_the_database_refuses_nothing_is_lost(shop: Open) -> None:
    early = shop({"loyalty": LOYALTY})
    send(early, RECEIPT)
    late = shop({"loyalty": LOYALTY | PURCHASE})
    with late.app.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE event RENAME TO away")
    assert [one.became for one in replayed(late)] == ["refused"]
    with late.app.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO event")
    assert [one.became for one in replayed(late)] == ["taken"]


def test_a_source_that_is_gone_and_a_body_that_was_cut_stay(shop: Open) -> None:
    early = shop({"loyalty": LOYALTY})
    send(early, RECEIPT)
    send(early, RECEIPT | {"id": "r2", "note": "x" * kept.LONGEST})
    late = shop({"other": LOYALTY})
    assert [one.reason for one in replayed(late)] == ["project.yaml names no such source"] * 2
    back = shop({"loyalty": LOYALTY | PURCHASE})
    assert [one.became for one in replayed(back)] == ["taken", "kept"]
