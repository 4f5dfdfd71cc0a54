"""Whatever schemathesis thinks of, right and wrong, gets the answers that /v1/openapi.json promises."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from engine.web import openapi
from tests.depth import times
from tests.patience import eventually
from tests.web.conftest import KEY, Start

CUSTOMER, MERGE = "/v1/customers/{id}", "/v1/customers/merge"
ENTER = "/v1/journeys/{journey}/enter"
RECALL = "journey: recall\ntopic: offers\nenter: {manual: true}\nsteps:\n  - wait: 1d\n"

schemathesis = pytest.importorskip("schemathesis")


def lines(ctx: Any, value: Any) -> bytes:
    """A stream of lines."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in (value if isinstance(value, list) else [value]))


schemathesis.serializer("application/x-ndjson")(lines)

ids = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x17F, categories=["L", "N", "P"]), min_size=1, max_size=200
)
# Some are met again and again, so that there is somebody to read, to merge and to set anew.
schemathesis.openapi.format("id", st.sampled_from(["amina", "asha", "baraka"]) | ids)
schemathesis.openapi.format("journey", st.sampled_from(["recall", "hello"]) | ids)
schemathesis.openapi.format("email", st.integers(0, 99).map("c{}@shop.example".format))
schemathesis.openapi.format("phone", st.integers(700_000_000, 729_999_999).map("+254{}".format))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC))
schemathesis.openapi.format("date-time", moments.map(datetime.isoformat))


OURS = (("format", "id"), ("format", "journey"), ("format", "phone"))


def without_formats(value: Any) -> Any:
    """The document without formats of ours, which schemathesis takes every text to be a violation of."""
    if isinstance(value, dict):
        return {name: without_formats(one) for name, one in value.items() if (name, one) not in OURS}
    return [without_formats(one) for one in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_schemathesis_finds_nothing(start: Start, request: pytest.FixtureRequest, mode: Any, database: str) -> None:
    service = start(request.getfixturevalue(database), publish=False)
    (service.root / "workflows/recall.yaml").write_text(RECALL)
    app = service.app()
    app.runtime.publish()
    app.close()
    client = service.client()
    eventually(lambda: "recall" in [one["journey"] for one in client.get("/v1/status").json()["journeys"]])
    document = openapi.document()
    if mode is schemathesis.GenerationMode.NEGATIVE:
        document = without_formats(document)
    loaded = schemathesis.openapi.from_dict(document)
    loaded.config.update(base_url=service.url)
    loaded.config.generation.update(allow_x00=False)
    rejected = schemathesis.checks.CHECKS.get_one("negative_data_rejection")
    allowed = {"Authorization": f"Bearer {KEY}"}
    statuses: Counter[tuple[str, int]] = Counter()
    for result in loaded.get_all_operations():
        operation = result.ok()

        @settings(max_examples=times(60), suppress_health_check=list(HealthCheck), derandomize=True, database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def every(case: Any) -> None:
            answer = case.call(headers=allowed)
            statuses[case.path, answer.status_code] += 1
            # Of a list with a faulty event the others are taken, and the fault is told: that is no false yes.
            told = answer.status_code == 202 and "errors" in answer.json()
            # A wrong key isn't sent: ours is.
            sent = any(where != "header" and how.mode.is_negative for where, how in case.meta.components.items())
            case.validate_response(answer, headers=allowed, excluded_checks=[rejected] if told or not sent else [])

        try:
            every()
        except Unsatisfiable:
            assert mode is schemathesis.GenerationMode.NEGATIVE  # what takes nothing can be given nothing wrong
    print(f"schemathesis, {mode.value}: {dict(statuses)}")
    if mode is schemathesis.GenerationMode.POSITIVE:
        reached = {("/v1/events", 202), *((CUSTOMER, status) for status in (200, 201, 404)), (MERGE, 200)}
        reached |= {(ENTER, status) for status in (200, 404, 409)}
    else:
        reached = {("/v1/events", 422), (CUSTOMER, 422), (MERGE, 422), (ENTER, 422)}
    assert reached <= statuses.keys()
