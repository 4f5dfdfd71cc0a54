"""The document at /v1/openapi.json is what the service does, by its routes and its examples."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Route

from engine.web import openapi
from engine.web.api import build
from engine.web.site import Site
from engine.web.tracking import SHORT
from tests.web.conftest import Start
from triggers.sources.segment_spec import CALLS

NOT_HERE = frozenset(f"/v1/{call}" for call in (*CALLS, "batch", *SHORT, "customers/{name:anything}", "customers/merge"))
"""Routes below /v1 that are described elsewhere: by Segment's specification, and in docs/events.md."""


def test_every_route_below_v1_is_described_and_every_description_is_a_route(start: Start, registry: Any) -> None:
    service = start(wait=False)
    service.process.kill()
    app = service.app()
    web = build(Site(lambda: app, None, dict, lambda: True))  # type: ignore[arg-type]  # nothing is called
    served = {
        (route.path, method.lower())
        for route in _routes(web.routes)
        if route.path.startswith("/v1/") and route.path not in NOT_HERE
        for method in route.methods or ()
    }
    app.close()
    described = {(path, method) for path, methods in openapi.document()["paths"].items() for method in methods}
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
