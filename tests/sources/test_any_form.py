"""Webhooks whose form is nobody's in particular: CloudEvents, and any JSON that project.yaml describes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from engine.language.errors import Wrong
from tests.sources.conftest import NOW, Open
from tests.sources.samples import SECRET, sample
from triggers.sources.base import SourceOptions, Told, Untold
from triggers.sources.cloudevents import CloudEvents
from triggers.sources.generic import Generic, GenericOptions
from triggers.sources.places import parse_place

EVENT = sample("cloudevents").payload
NAMED = {"events": {"example.order.paid": "purchase", "example.noise": "ignore"}}
BEARER = {"Authorization": f"Bearer {SECRET}"}


def test_a_batch_is_each_of_its_events(shop: Open) -> None:
    here = shop({"cloudevents": NAMED})
    batch = [
        EVENT,
        EVENT | {"id": "A-18"},
        EVENT,
        EVENT | {"type": "example.noise"},
        EVENT | {"type": "example.other"},
        7,
    ]
    answer = here.post("/hooks/cloudevents", json.dumps(batch).encode(), BEARER)
    assert answer.json() == {"accepted": 2, "duplicates": 1, "kept": 2}


def test_a_binary_event_has_its_attributes_in_the_headers(shop: Open) -> None:
    here = shop({"cloudevents": NAMED})
    headers = {f"ce-{name}": EVENT[name] for name in ("specversion", "id", "source", "type", "subject", "time")}
    body = json.dumps(EVENT["data"]).encode()
    assert here.post("/hooks/cloudevents", body, {**BEARER, **headers}).json()["accepted"] == 1
    # The same event, written the other way.
    assert here.post("/hooks/cloudevents", json.dumps(EVENT).encode(), BEARER).json()["duplicates"] == 1


def test_a_header_is_decoded_once_and_freed_of_quotes() -> None:
    source = CloudEvents(SourceOptions.model_validate(NAMED))
    named = {"ce-id": "A%2517", "ce-source": "/duka/%E2%82%AC", "ce-type": '"example.order\\.paid"'}
    (one,) = source.read(named | {"ce-subject": "amina%20%22o%22", "ce-time": "2026-03-02T08:30:00%2B03:00"}, {"n": 1})
    assert isinstance(one, Told) and one.occurred_at is not None
    assert (one.key, one.who.id) == ("/duka/\N{EURO SIGN}#A%17", 'amina "o"')
    assert one.occurred_at.isoformat() == "2026-03-02T08:30:00+03:00"
    (one,) = source.read(named | {"ce-subject": "%ff%"}, None)
    assert isinstance(one, Told) and one.who.id == "\N{REPLACEMENT CHARACTER}%"


def test_a_binary_event_needs_no_body(shop: Open) -> None:
    here = shop({"cloudevents": NAMED})
    headers = {f"ce-{name}": EVENT[name] for name in ("specversion", "id", "source", "type", "subject", "time")}
    assert here.post("/hooks/cloudevents", b"", {**BEARER, **headers}).json() == {"accepted": 1, "duplicates": 0}
    assert here.post("/hooks/cloudevents", b"{", {**BEARER, **headers}).status_code == 400
    assert here.post("/hooks/cloudevents", b"", BEARER).status_code == 400
    assert [(row.external_id, row.properties) for row in here.events()] == [(EVENT["subject"], {})]


def test_binary_data_is_read_where_it_holds_json_and_kept_where_it_does_not() -> None:
    source = CloudEvents(SourceOptions.model_validate(NAMED))
    bare = {name: value for name, value in EVENT.items() if name != "data"}
    packed = base64.b64encode(json.dumps(EVENT["data"]).encode()).decode()
    assert source.read({}, bare | {"data_base64": packed})[0].key == source.read({}, EVENT)[0].key
    (one,), (plain,) = source.read({}, bare | {"data_base64": packed}), source.read({}, EVENT)
    assert isinstance(one, Told) and isinstance(plain, Told) and one.properties == plain.properties
    for wrong in ("%%%", base64.b64encode(b"\x89PNG").decode(), "e30"):
        (one,) = source.read({}, bare | {"data_base64": wrong})
        assert isinstance(one, Untold) and one.reason == "its data is no JSON", wrong


def test_a_sender_that_asks_if_it_may_send_is_told_so(shop: Open) -> None:
    here = shop({"cloudevents": NAMED, "shopify": {}})
    asked = here.client.options("/hooks/cloudevents", headers={"WebHook-Request-Origin": "events.example"})
    assert (asked.status_code, asked.headers["webhook-allowed-origin"]) == (200, "events.example")
    for path, headers in (("cloudevents", {}), ("shopify", {"WebHook-Request-Origin": "a"}), ("none", {})):
        assert here.client.options(f"/hooks/{path}", headers=headers).status_code == 404


def test_the_data_may_say_more_of_the_customer_than_the_subject() -> None:
    source = CloudEvents(SourceOptions.model_validate(NAMED))
    data = {"customer": {"email": "amina@shop.example", "first_name": "Amina"}, "total": 3}
    (one,) = source.read({}, EVENT | {"data": data, "subject": "order-9"})
    assert isinstance(one, Told)
    assert (one.who.id, one.who.email, one.profile) == (None, "amina@shop.example", {"first_name": "Amina"})
    assert one.properties == {"total": 3}


LOYALTY: dict[str, Any] = {
    "source": "generic",
    "each": "records",
    "topic": "type",
    "customer": {"email": "who"},
    "properties": {"n": "points.1.n"},
    "events": {"earned": "ping", "spent": "ignore"},
}


def test_one_request_may_hold_many_and_the_content_names_each(shop: Open) -> None:
    here = shop({"loyalty": LOYALTY})
    earned = {"type": "earned", "who": "Amina@shop.example", "points": [{"n": 1}, {"n": 2}]}
    other = earned | {"points": [{"n": 1}, {"n": 3}]}
    body = json.dumps({"records": [earned, other, earned, {"type": "spent"}, {"type": "lost"}, earned | {"who": ""}]})
    answer = here.post("/hooks/loyalty", body.encode(), BEARER)
    assert answer.json() == {"accepted": 2, "duplicates": 1, "kept": 2}
    assert [(row.external_id, row.properties) for row in here.events()] == [
        ("email:" + here.app.door.address_hash("email", "amina@shop.example"), {"n": 2}),
        ("email:" + here.app.door.address_hash("email", "amina@shop.example"), {"n": 3}),
    ]
    assert {reason for _, _, reason, _ in here.kept()} == {"unknown topic", "it names no customer"}
    assert here.post("/hooks/loyalty", b'{"records": {}}', BEARER).json()["kept"] == 1
    for header in ({}, {"Authorization": SECRET}, {"Authorization": f"Basic {SECRET}"}, {"Authorization": "Bearer "}):
        assert here.post("/hooks/loyalty", body.encode(), header).status_code == 401


def test_a_key_that_is_named_must_be_there() -> None:
    options = {name: value for name, value in LOYALTY.items() if name not in ("source", "each")} | {"key": "id"}
    source = Generic(GenericOptions.model_validate(options))
    (one,) = source.read({}, {"type": "earned", "who": "amina@shop.example"})
    assert isinstance(one, Untold) and one.reason == "it has no key"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a.b", 1),
        ("a", {"b": 1}),
        ("list.1.c", 2),
        ("list.0", None),
        ("list.9", None),
        ("a.0", None),
        ("list.b", None),
        ("header:X-One", "h"),
        ("header:x-two", None),
        ("$x.y-z", 3),
    ],
)
def test_a_place_is_a_path_or_a_header(written: str, value: Any) -> None:
    payload = {"a": {"b": 1}, "list": [None, {"c": 2}], "$x": {"y-z": 3}}
    assert parse_place(written).of({"x-one": "h"}, payload) == value


@pytest.mark.parametrize(
    "written", ["", " ", ".a", "a..b", "a[0]", "é", "a b", "header:", "header:a b", "a.", "a" * 101]
)
def test_what_is_no_place_is_refused(written: str) -> None:
    with pytest.raises(Wrong):
        parse_place(written)


def test_a_prefix_must_stand_before_the_signature(shop: Open) -> None:
    one = sample("generic")
    here = shop({"generic": one.options})
    headers = one.signed(one.body, NOW)
    bare = headers | {"X-Hub-Signature-256": headers["X-Hub-Signature-256"].removeprefix("sha256=")}
    assert here.post("/hooks/generic", one.body, bare).status_code == 401
