"""What comes before its order waits for it, and comes out the same as if it had come after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from engine.app import App
from engine.runtime import kept
from engine.runtime.kept import Kept, Reading
from engine.store.database import Database
from engine.store.tables import kept_hook, kept_wait
from engine.web import again, taking
from tests.sources.conftest import NOW, Open, Shop
from tests.sources.samples import sample
from tests.sources.test_shopify import FULFILLMENT, ORDER, REFUND, send

PARCEL = FULFILLMENT | {"email": None}
REQUESTS: dict[str, Any] = {"orders/paid": ORDER, "refunds/create": REFUND, "fulfillments/create": PARCEL}


def lies(here: Shop) -> list[Any]:
    return sorted((row.external_id, row.name, row.key, row.occurred_at, str(row.properties)) for row in here.events())


def nothing_waits(here: Shop) -> bool:
    return not here.rows(kept_hook.c.id) and not here.rows(kept_wait.c.key)


@pytest.fixture
def in_order(database: Database, shop: Open) -> list[Any]:
    """The events of the same requests in the right order, of a shop of another name in the same database."""
    here = shop({"other": {"source": "shopify"}})
    for topic, payload in REQUESTS.items():
        body = json.dumps(payload).encode()
        headers = sample("shopify").signed(body, NOW, **{"X-Shopify-Topic": topic})
        assert here.post("/hooks/other", body, headers).json()["accepted"] == 1
    return lies(here)


@pytest.mark.parametrize("times", [1, 2])
def test_a_refund_and_a_parcel_before_their_order_are_taken_when_it_comes(
    times: int, shop: Open, in_order: list[Any]
) -> None:
    here = shop({"shopify": {}})
    for topic in ("refunds/create", "fulfillments/create", "orders/paid"):
        for _ in range(times):
            send(here, topic, REQUESTS[topic])
    for topic in ("refunds/create", "fulfillments/create") if times == 2 else ():
        assert send(here, topic, REQUESTS[topic]) == {"accepted": 0, "duplicates": 1}
    both = lies(here)
    assert both == sorted(in_order + in_order) and len(both) == 6
    assert next(row.name for row in here.events() if row.source == "shopify") == "purchase"
    assert nothing_waits(here)


def test_an_order_of_somebody_else_wakes_nothing(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "refunds/create", REFUND)
    send(here, "orders/paid", ORDER | {"id": 18})
    assert [row.name for row in here.events()] == ["purchase"]
    assert [row.topic for row in here.kept()] == ["refunds/create"]


def test_what_waits_is_under_the_topic_of_the_shop(shop: Open) -> None:
    here = shop({"shopify": {}})
    send(here, "refunds/create", REFUND)
    with here.app.database.read() as connection:
        assert len(kept.ids(connection, topic="refunds/create")) == 1
        assert kept.ids(connection, topic="refunded") == []
        assert [heap.topic for heap in kept.heaps(connection)] == ["refunds/create"]


def test_an_order_that_commits_while_its_refund_is_being_kept_finds_it_or_is_found(
    shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = shop({"shopify": {}}), shop({"shopify": {}})
    keep = taking._keep

    def meanwhile(app: App, name: str, left: Sequence[Kept]) -> None:
        monkeypatch.setattr(taking, "_keep", keep)
        send(beside, "orders/paid", ORDER)
        keep(app, name, left)

    monkeypatch.setattr(taking, "_keep", meanwhile)
    send(here, "refunds/create", REFUND)
    assert [row.name for row in here.events()] == ["purchase", "refunded"]
    assert nothing_waits(here)


def test_an_order_whose_refund_could_not_be_taken_is_sent_again_and_takes_it(
    shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shop({"shopify": {}})
    send(here, "refunds/create", REFUND)

    async def gone(*_: Any) -> Any:
        raise OSError("the process went away")

    with monkeypatch.context() as patched:
        patched.setattr(again, "late", gone)
        body = json.dumps(ORDER).encode()
        headers = sample("shopify").signed(body, NOW, **{"X-Shopify-Topic": "orders/paid"})
        assert here.post("/hooks/shopify", body, headers).status_code == 503
    assert [row.name for row in here.events()] == ["purchase"]
    assert send(here, "orders/paid", ORDER) == {"accepted": 0, "duplicates": 1}
    assert [row.name for row in here.events()] == ["purchase", "refunded"]
    assert nothing_waits(here)


def test_an_order_that_is_run_again_takes_what_waits_for_it(shop: Open) -> None:
    here = shop({"shopify": {"events": {"orders/paid": "purchase"}}})
    ahead = ORDER | {"updated_at": (NOW + timedelta(days=3)).isoformat()}
    assert send(here, "refunds/create", REFUND)["kept"] == send(here, "orders/paid", ahead)["kept"] == 1
    with here.app.database.read() as connection:
        [refund, order] = kept.ids(connection)
    assert [(one.id, one.became) for one in again.replay(here.app, [refund])] == [(refund, "kept")]
    here.app.clock.advance_to(NOW + timedelta(days=4))  # type: ignore[attr-defined]
    ran = list(again.replay(here.app, [order, refund]))
    assert [(one.id, one.became) for one in ran] == [(order, "taken"), (refund, "taken")]
    assert [row.name for row in here.events()] == ["purchase", "refunded"]
    assert nothing_waits(here)


def test_what_falls_out_or_can_not_be_read_again_waits_for_nothing(database: Database) -> None:
    reading = Reading({}, False)
    long = Kept("t", "whose", "x" * kept.LONGEST + "x", "long", reading, ("order",))
    odd = Kept("t", "whose", "odd", "odd", reading, ("k" * 300, "a\0b"))
    with database.write() as connection:
        kept.keep(connection, "s", [long, odd, Kept("t", "whose", "one", "one", None, ("order",))], NOW, 9)
        assert not connection.execute(kept_wait.select()).all()
        for n in range(12):
            kept.keep(connection, "s", [Kept("t", "whose", f"{n}", f"{n}", reading, ("order", "paid"))], NOW, 9)
        hooks = set(connection.scalars(kept_hook.select().with_only_columns(kept_hook.c.id)))
        waits = list(connection.scalars(kept_wait.select().with_only_columns(kept_wait.c.hook_id)))
        assert {*waits} == hooks and len(waits) == 18
        kept.settle(connection, waits[0], None)
        kept.settle(connection, waits[-1], "something else")
        left = set(connection.scalars(kept_wait.select().with_only_columns(kept_wait.c.hook_id)))
    assert left == hooks - {waits[0], waits[-1]}
