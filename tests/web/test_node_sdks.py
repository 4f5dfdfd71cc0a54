"""The SDKs for Node that shops have already, unchanged, against the service as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.web.conftest import Start
from tests.web.test_keys import made
from tests.web.test_real_sdks import events

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1] / "node"
NAMES = ["segment", "rudderstack"]

Send = Callable[..., list[str]]


@pytest.fixture
def send(node: str, packages: Path) -> Send:
    """Runs one of tests/node to its end; the failures that its SDK has told."""

    def run(name: str, url: str, key: str, count: int = 0) -> list[str]:
        environment = {**os.environ, "NODE_PATH": str(packages), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        ran = subprocess.run(
            [node, str(HERE / f"{name}.cjs"), url, key, str(count)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        told: list[str] = json.loads(ran.stdout.splitlines()[-1])
        return told

    return run


def test_the_lock_pins_each_package_with_its_hash_and_names_no_address() -> None:
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    locked.pop("")
    assert locked
    for name, package in locked.items():
        assert package["version"] and package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


@pytest.mark.parametrize("name", NAMES)
def test_what_an_sdk_for_node_sends_is_in_the_journeys(start: Start, send: Send, name: str) -> None:
    service = start()
    app = service.app()
    key = made(app.database).text
    app.close()
    assert send(name, service.url, key, 100) == []
    found = events(service)
    assert sorted(row.properties["n"] for row in found if row.name == "ping") == list(range(100))
    hers = [row for row in found if row.name != "ping" and row.name != "customer_merged"]
    assert {row.external_id for row in hers} == {"amina"}, "what browser-1 did is hers since the alias"
    assert sorted(row.name for row in hers) == [
        "alias_known",
        "customer_updated",
        "group_joined",
        "page_viewed",
        "product_viewed",
        "purchase",
        "screen_viewed",
    ]
    (bought,) = (row for row in hers if row.name == "purchase")
    assert (bought.properties["total"], bought.properties["items"]) == (4990, [{"sku": "MUG-1", "qty": 2}])
    assert abs(bought.occurred_at - (datetime.now(UTC) - timedelta(hours=1))) < timedelta(minutes=10)
    amina = service.client().get("/v1/customers/amina").json()
    assert (amina["profile"]["email"], amina["profile"]["first_name"], amina["profile"]["tier"]) == (
        "amina@shop.example",
        "Amina",
        "gold",
    )
    assert [one["journey"] for one in amina["journeys"]] == ["order"]


@pytest.mark.parametrize("name", NAMES)
def test_an_sdk_for_node_with_a_wrong_key_hears_so(start: Start, send: Send, name: str) -> None:
    service = start()
    assert send(name, service.url, "another")
    assert not events(service)
