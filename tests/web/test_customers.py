"""Customers over HTTP, with a service as a process of its own."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx2
import pytest

from tests.patience import eventually
from tests.web.conftest import Start

LIVELY = {
    "event": "purchase",
    "customer": {
        "id": "amina",
        "email": "amina@shop.example",
        "spent": 12.5,
        "consent": ["email/offers"],
        "tags": ["a"],
    },
    "time": "2026-03-01T09:30:00+03:00",
    "key": "order-17",
    "properties": {"total": 49.9, "order_id": "17", "items": [{"sku": "A1", "qty": 2}], "colour": "red"},
}


@pytest.mark.slow
def test_a_customer_is_set_read_and_merged(start: Start) -> None:
    service = start()
    client = service.client()

    made = client.put("/v1/customers/amina", json={"first_name": "Amina", "birthday": "03-08", "teir": "gold"})
    assert made.status_code == 201
    assert made.json()["customer"] == "amina"
    assert [one["path"] for one in made.json()["warnings"]] == ["teir"]
    again = client.put("/v1/customers/amina", json={"tier": "gold", "renewal": "2027-01-01"})
    assert (again.status_code, again.json()) == (200, {"customer": "amina"})

    # An anonymous visitor, then a purchase with both ids.
    visit = {"event": "cart", "customer": {"anonymous_id": "b-1"}, "properties": {"total": 3}}
    assert client.post("/v1/events", json=visit).status_code == 202
    assert client.get("/v1/customers/anonymous:b-1").json()["id"] == "anonymous:b-1"
    bought = {**LIVELY, "customer": {**LIVELY["customer"], "anonymous_id": "b-1"}}  # type: ignore[dict-item]
    assert client.post("/v1/events", json=bought).status_code == 202
    assert client.post("/v1/events", json=bought).json()["duplicates"] == 1

    told = client.get("/v1/customers/anonymous:b-1").json()
    assert told["id"] == "amina" and told["anonymous_ids"] == ["b-1"] and told["merged_ids"] == []
    profile = told["profile"]
    assert (profile["first_name"], profile["email"], profile["birthday"]) == ("Amina", "amina@shop.example", "03-08")
    assert (profile["tier"], profile["renewal"], profile["spent"]) == ("gold", "2027-01-01", 12.5)
    assert [(one["topic"], one["state"]) for one in told["consents"]] == [("offers", "on")] and told["tags"] == ["a"]
    assert {name: tally["count"] for name, tally in told["tallies"].items()} == {
        "cart": 1,
        "customer_merged": 1,
        "purchase": 1,
    }
    assert told["tallies"]["purchase"]["total"] == 49.9
    purchase = next(one for one in told["events"] if one["event"] == "purchase")
    assert purchase["properties"] == LIVELY["properties"] and purchase["time"] == "2026-03-01T06:30:00Z"

    eventually(lambda: len(client.get("/v1/customers/amina").json()["messages"]) == 1)
    told = client.get("/v1/customers/amina").json()
    (journey,) = told["journeys"]
    assert (journey["journey"], journey["key"]) == ("order", "17")
    assert journey["decisions"][0]["words"] == "entered, because purchase came"
    assert told["messages"][0]["template"] == "email/order"

    # A second account of theirs.
    old = {**LIVELY, "customer": "asha", "key": "order-18"}
    assert client.post("/v1/events", json=old).json() == {"accepted": 1, "duplicates": 0}
    merged = client.post("/v1/customers/merge", json={"from": "asha", "into": "amina"})
    assert (merged.status_code, merged.json()) == (200, {"customer": "amina", "merged": True})
    assert client.post("/v1/customers/merge", json={"from": "asha", "into": "amina"}).json()["merged"] is False
    assert client.post("/v1/customers/merge", json={"from": "amina", "into": "asha"}).json()["merged"] is False
    assert client.get("/v1/customers/asha").json()["merged_ids"] == ["asha"]
    # Sent again under the old id it is still the same event, and another content is still a conflict.
    assert client.post("/v1/events", json=old).json() == {"accepted": 0, "duplicates": 1}
    assert client.post("/v1/events", json=old | {"properties": {"total": 1}}).status_code == 409
    late = old | {"key": "order-19"}
    assert client.post("/v1/events", json=late).status_code == 202
    assert client.get("/v1/customers/amina").json()["tallies"]["purchase"]["count"] == 3


@pytest.mark.slow
def test_who_is_known_by_an_address_only_is_found_by_it(start: Start) -> None:
    client = start().client()
    by_mail = {"event": "closed", "customer": {"email": "Baraka@shop.example", "first_name": "Baraka"}}
    assert client.post("/v1/events", json=by_mail).status_code == 202
    assert client.post("/v1/events", json=by_mail).status_code == 202
    assert client.put("/v1/customers/baraka", json={"email": "baraka@shop.example"}).status_code == 201
    assert client.post("/v1/events", json=by_mail).status_code == 202
    told = client.get("/v1/customers/baraka").json()
    assert told["tallies"]["closed"]["count"] == 3 and told["profile"]["first_name"] == "Baraka"


DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

REFUSED: list[tuple[str, str, Any, int, str | None]] = [
    ("PUT", "amina", ["x"], 422, ""),
    ("PUT", "amina", {"consent": "email/offers"}, 422, "consent"),
    ("PUT", "amina", {"tags": 5}, 422, "tags"),
    ("PUT", "amina", {"id": "asha"}, 422, "id"),
    ("PUT", "amina", {"anonymous_id": " x"}, 422, "anonymous_id"),
    ("PUT", "amina", {"first_name": "a\0b"}, 422, ""),
    ("PUT", "%20amina", {}, 422, "id"),
    ("PUT", "x" * 201, {}, 422, "id"),
    ("PUT", "amina", {"zone": DEEP}, 422, ""),
    ("GET", "nobody", None, 404, "id"),
    ("GET", "%00", None, 404, "id"),
    ("GET", "a%0Ab", None, 404, "id"),
    ("PUT", "a%0Ab", {}, 422, "id"),
    ("POST", "merge", {"from": "a"}, 422, "into"),
    ("POST", "merge", {"from": DEEP, "into": "b"}, 422, ""),
    ("POST", "merge", {"from": True, "into": "b"}, 422, "from"),
    ("POST", "merge", {"from": "a", "into": "b", "intoo": "c"}, 422, "intoo"),
]


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once of each kind."""
    return str(request.getfixturevalue(request.param))


@pytest.mark.slow
def test_what_is_too_long_for_a_key_is_left_out_and_told(start: Start, url: str) -> None:
    client = start(url).client()
    # No two pieces are alike: what can be compressed fits into a key.
    long = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(300))
    said = {"tags": ["vip", long], "consent": ["email/offers", f"email/{long}"], "created": "9999-12-31T23:59:59-14:00"}
    put = client.put("/v1/customers/amina", json=said)
    assert (put.status_code, {one["path"] for one in put.json()["warnings"]}) == (201, set(said))
    sent = client.post("/v1/events", json={"event": "closed", "customer": {"id": "asha", **said}})
    assert (sent.status_code, len(sent.json()["warnings"])) == (202, 3)
    for name in ("amina", "asha"):
        told = client.get(f"/v1/customers/{name}").json()
        assert (told["tags"], [one["topic"] for one in told["consents"]]) == (["vip"], ["offers"])


@pytest.mark.slow
def test_what_is_wrong_is_told_by_its_path_and_nothing_is_done(start: Start, url: str) -> None:
    service = start(url)
    client = service.client()
    for method, name, body, status, path in REFUSED:
        answer = client.request(method, f"/v1/customers/{name}", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (status, path), (method, name, body)
    broken = client.request("PUT", "/v1/customers/amina", content=b"{")
    assert broken.status_code == 400
    nowhere = client.get("/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()) == (404, {"error": "Not Found"})
    large = client.put("/v1/customers/amina", json={"first_name": "a" * 70_000})
    assert (large.status_code, large.json()) == (413, {"error": "a body may have 65536 bytes, unpacked"})
    for method, name in (("PUT", "amina"), ("GET", "amina"), ("POST", "merge")):
        assert _status(service.client(None), method, name) == _status(service.client("another"), method, name) == 401
    assert client.get("/v1/customers/amina").status_code == 404


def _status(client: httpx2.Client, method: str, name: str) -> int:
    return client.request(method, f"/v1/customers/{name}", json={"from": "a", "into": "b"}).status_code


@pytest.mark.slow
def test_a_profile_that_is_set_moves_segments_and_lets_people_in(start: Start) -> None:
    service = start(publish=False)
    (service.root / "workflows/segments.yaml").write_text('gold: {when: customer.tier == "gold"}\n')
    (service.root / "workflows/gold.yaml").write_text(
        "journey: gold\ntopic: offers\nenter: {segment: gold}\nsteps:\n  - wait: 1d\n"
    )
    app = service.app()
    app.runtime.publish()
    app.close()
    client = service.client()
    assert client.put("/v1/customers/amina", json={"tier": "gold"}).status_code == 201

    def inside() -> bool:
        told = client.get("/v1/customers/amina").json()
        return told["segments"] == ["gold"] and [one["journey"] for one in told["journeys"]] == ["gold"]

    eventually(inside)
