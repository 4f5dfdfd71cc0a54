"""The JSON that the pages show is taken by the service as it stands there, without a warning."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.app import App
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.site import Site
from tests.docs.blocks import Fence, every
from tests.docs.shop import files_of

RECALL = "journey: recall\ntopic: offers\nenter: {manual: true}\nsteps:\n  - wait: 1d\n"


@pytest.fixture
def client(project: Callable[..., Path]) -> Iterator[TestClient]:
    """A client of the service over the pages' shop, in this process."""
    app = App.of(project(files_of() | {"workflows/recall.yaml": RECALL}))
    app.runtime.publish(["recall"])
    intake = Intake(app.runtime, lambda *names: None)
    intake.start()
    web = build(Site(lambda: app, intake, dict, lambda: True))
    with TestClient(web, headers={"X-API-Key": app.settings.key}) as made:
        yield made
    intake.close()
    app.close()


@pytest.mark.parametrize("fence", every("event"), ids=str)
def test_an_event_is_accepted(fence: Fence, client: TestClient) -> None:
    answer = client.post("/v1/events", content=fence.text)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0})


@pytest.mark.parametrize("fence", every("customer"), ids=str)
def test_what_is_told_of_a_customer_is_taken(fence: Fence, client: TestClient) -> None:
    answer = client.put("/v1/customers/amina", content=fence.text)
    assert (answer.status_code, answer.json()) == (201, {"customer": "amina"})
    assert client.get("/v1/customers/amina").json()["consents"]


@pytest.mark.parametrize("fence", every("by-hand"), ids=str)
def test_who_is_let_in_by_hand_is_told_as_the_page_says(fence: Fence, client: TestClient) -> None:
    asked, _, answer = fence.text.partition("\n{")
    found = re.search(r"http://localhost:8000(/\S+) -d '(.*)'", asked)
    assert found is not None
    path, body = found.groups()
    for name in ("amina", "baraka"):
        assert client.put(f"/v1/customers/{name}", json={}).status_code == 201
    assert client.post(path, json={"customer": "baraka"}).json()["entered"] == 1
    assert client.post(path, content=body).json() == json.loads("{" + answer)
