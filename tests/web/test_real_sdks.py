"""The SDKs that shops have already, unchanged, against the service as a process of its own."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from engine.store.tables import customer, event
from tests.patience import eventually
from tests.web.conftest import Service, Start
from tests.web.test_keys import made

pytestmark = pytest.mark.slow

NAMES = ["segment.analytics", "rudderstack.analytics"]
TOTALS = {
    "order_id": "17",
    "total": 49.9,
    "currency": "KES",
    "products": [{"sku": "MUG-1", "quantity": 2, "price": 20}],
}


class Failures:
    """What an SDK reports to its `on_error`. (Not a list: an SDK takes an empty one for no hook at all.)"""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __call__(self, error: Any, items: Any) -> None:
        self.found.append(error)


def client(name: str, service: Service, key: str, failures: Failures, **more: Any) -> Any:
    sdk = pytest.importorskip(f"{name}.client", reason=f"{name} is not installed")
    return sdk.Client(key, host=service.url, on_error=failures, max_retries=1, **more)


def events(service: Service) -> list[Any]:
    app = service.app()
    columns = customer.c.external_id, event.c.name, event.c.source, event.c.properties, event.c.occurred_at
    with app.database.read() as connection:
        rows = select(*columns).join(customer, customer.c.id == event.c.customer_id).order_by(event.c.id)
        found = list(connection.execute(rows).all())
    app.close()
    return found


@pytest.fixture
def service(start: Start, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return start()


@pytest.fixture
def key(service: Service) -> str:
    app = service.app()
    minted = made(app.database)
    app.close()
    return minted.text


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
@pytest.mark.parametrize("name", NAMES)
def test_what_an_sdk_sends_is_in_the_journeys(service: Service, key: str, name: str, packed: bool) -> None:
    failures = Failures()
    sdk = client(name, service, key, failures, gzip=packed)
    then = datetime.now(UTC) - timedelta(hours=1)
    sdk.identify("amina", {"email": "amina@shop.example", "firstName": "Amina", "tier": "gold"})
    sdk.track("amina", "Order Completed", TOTALS, timestamp=then)
    sdk.page("amina", "shop", "Home", {"url": "https://duka.example"})
    sdk.screen("amina", "shop", "Home")
    sdk.group("amina", "g1", {"plan": "pro"})
    sdk.alias("anonymous-1", "amina")
    sdk.flush()
    sdk.join()
    assert not failures.found
    found = events(service)
    assert {row.name for row in found} == {
        "customer_updated",
        "purchase",
        "page_viewed",
        "screen_viewed",
        "group_joined",
        "alias_known",
    }
    assert {(row.external_id, row.source) for row in found} == {("amina", "segment")}
    (bought,) = (row for row in found if row.name == "purchase")
    assert bought.properties["total"] == 4990
    assert bought.properties["items"] == [{"sku": "MUG-1", "qty": 2}]
    assert abs(bought.occurred_at - then) < timedelta(minutes=5)
    app = service.app()
    with app.database.read() as connection:
        (amina,) = connection.execute(select(customer.c.email, customer.c.first_name, customer.c.attributes)).all()
    app.close()
    assert tuple(amina) == ("amina@shop.example", "Amina", {"tier": "gold"})
    eventually(lambda: service.client().get("/v1/status").json()["journeys"][1]["inside"] == 1)


@pytest.mark.parametrize("name", NAMES)
def test_an_sdk_sends_hundreds_in_batches_of_its_own(service: Service, key: str, name: str) -> None:
    failures = Failures()
    sdk = client(name, service, key, failures)
    for n in range(300):
        sdk.track(f"c{n % 7}", "Ping", {"n": n})
    sdk.flush()
    sdk.join()
    assert not failures.found
    assert sorted(row.properties["n"] for row in events(service)) == list(range(300))


@pytest.mark.parametrize("name", NAMES)
def test_an_sdk_with_a_wrong_key_hears_so(service: Service, name: str) -> None:
    failures = Failures()
    sdk = client(name, service, "another", failures)
    sdk.track("amina", "Ping")
    sdk.flush()
    sdk.join()
    module = importlib.import_module(f"{name}.request")
    assert [type(error) for error in failures.found] == [module.APIError]
    assert "API key" in str(failures.found[0])
    assert not events(service)
