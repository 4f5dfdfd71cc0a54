"""The document at /v1/openapi.json is what the service does, by its routes and its examples."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from starlette.routing import Route

from engine.web import openapi
from engine.web.api import build
from engine.web.site import Site
from engine.web.tracking import SHORT
from tests.patience import eventually
from tests.web.conftest import Start
from triggers.sources.segment_spec import CALLS

NOT_HERE = frozenset(f"/v1/{call}" for call in (*CALLS, "batch", *SHORT))
"""Routes below /v1 that Segment's specification describes."""


def test_every_route_below_v1_is_described_and_every_description_is_a_route(start: Start, registry: Any) -> None:
    service = start(wait=False)
    service.process.kill()
    app = service.app()
    web = build(Site(lambda: app, None, dict, lambda: True))  # type: ignore[arg-type]  # nothing is called
    served = {
        (route.path.replace("{name:anything}", "{id}"), method.lower())
        for route in _routes(web.routes)
        if route.path.startswith("/v1/") and route.path not in NOT_HERE
        for method in route.methods or ()
    }
    app.close()
    paths = openapi.document()["paths"].items()
    described = {(path, method) for path, methods in paths for method in methods if method != "parameters"}
    assert served == described


def _routes(found: Any) -> list[Route]:
    routes = []
    for one in found:
        if isinstance(one, Route):
            routes.append(one)
        routes += _routes(getattr(getattr(one, "original_router", None), "routes", []))
    return routes


@pytest.mark.slow
def test_its_examples_are_taken_and_it_needs_no_key(start: Start) -> None:
    service = start()
    document = service.client(None).get(openapi.PATH).json()
    body = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    for example in body["application/json"]["examples"].values():
        answer = service.post(example["value"])
        assert answer.status_code == 202, answer.text
    assert answer.json()["duplicates"] == 1


@pytest.mark.slow
def test_the_examples_of_customers_are_taken_and_answered(start: Start) -> None:
    client = start().client()
    paths = openapi.document()["paths"]
    said, merge = (
        paths[path][method]["requestBody"]["content"]["application/json"]["example"]
        for path, method in (("/v1/customers/{id}", "put"), ("/v1/customers/merge", "post"))
    )
    assert client.put("/v1/customers/asha", json={}).json() == {"customer": "asha"}
    put = client.put("/v1/customers/amina", json=said)
    assert (put.status_code, put.json()) == (201, {"customer": "amina"})
    answer = paths["/v1/customers/merge"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert client.post("/v1/customers/merge", json=merge).json() == answer
    assert client.post("/v1/events", json=openapi.EVENT).status_code == 202
    shown = paths["/v1/customers/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    eventually(lambda: client.get("/v1/customers/amina").json()["messages"])
    told = client.get("/v1/customers/amina").json()
    for one in ("events", "journeys", "messages", "consents"):
        assert told[one][0].keys() == shown[one][0].keys(), one
    assert told["journeys"][0]["decisions"][0].keys() == shown["journeys"][0]["decisions"][0].keys()
    assert shown["profile"].keys() <= told["profile"].keys()
    schema = {"$ref": "#/components/schemas/Portrait"}
    assert [one.message for one in _validator(openapi.document(), schema).iter_errors(told)] == []


def test_every_example_is_of_its_schema() -> None:
    document = openapi.document()
    found = 0
    for operations in document["paths"].values():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (one for body in bodies for one in body.get("content", {}).values()):
                examples = [one["value"] for one in content.get("examples", {}).values()]
                for example in examples + ([content["example"]] if "example" in content else []):
                    found += 1
                    assert not list(_validator(document, content["schema"]).iter_errors(example)), example
    assert found > 30


@pytest.mark.parametrize(
    "customer",
    ["amina", 7, *({name: "+254712345678"} for name in ("id", "anonymous_id", "phone")), {"email": "a@b.co"}],
)
def test_each_name_of_a_customer_is_enough(customer: Any) -> None:
    document = openapi.document()
    schema = {"$ref": "#/components/schemas/Event"}
    assert _validator(document, schema).is_valid({"event": "closed", "customer": customer})
    assert not _validator(document, schema).is_valid({"event": "closed", "customer": {"first_name": "Amina"}})


def test_every_way_to_show_a_key_is_described() -> None:
    document = openapi.document()
    schemes = document["components"]["securitySchemes"]
    assert {one.get("scheme", one.get("name")) for one in schemes.values()} == {"bearer", "X-API-Key", "basic"}
    assert [[*one] for one in document["security"]] == [[name] for name in schemes]


def _validator(document: Any, schema: Any) -> Any:
    return Draft202012Validator({**schema, "components": document["components"]})
