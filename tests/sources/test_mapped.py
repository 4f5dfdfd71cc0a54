"""What a mapping says of values and conditions: amounts, times, lists, defaults, constants; several events, and none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from engine import starter
from engine.builtins import registry
from engine.language.content import load
from engine.runtime.door import Door
from engine.store.tables import customer
from engine.web.saying import hear
from tests.docs.blocks import ROOT, fences
from tests.sources.conftest import NOW, Open
from tests.sources.samples import SECRET
from triggers.sources.base import Said, Told, Untold
from triggers.sources.generic import Generic, GenericOptions

BEARER = {"Authorization": f"Bearer {SECRET}"}
PLAIN: dict[str, Any] = {"topic": "type", "customer": {"id": "who"}, "events": {"paid": "purchase"}}
REQUEST: dict[str, Any] = {"type": "paid", "who": "amina"}


def written(part: Any) -> Any:
    """As the language reads YAML: single values are texts."""
    if isinstance(part, dict):
        return {key: written(value) for key, value in part.items()}
    if isinstance(part, list):
        return [written(value) for value in part]
    return str(part).lower() if isinstance(part, bool) else str(part)


def said(options: dict[str, Any], payload: Any) -> Said:
    return Generic(GenericOptions.model_validate(written(PLAIN | options))).read({"x-state": "paid"}, payload)


def told(options: dict[str, Any], payload: Any) -> Told:
    (one,) = said(options, REQUEST | payload)
    assert isinstance(one, Told)
    return one


def read(value: Any, found: Any, currency: str = "KES") -> Any:
    """The property of this mapping, if a request has this at `a`."""
    options = {"properties": {"p": value}, "currency": {"value": currency}}
    return told(options, {"a": found}).properties.get("p")


@pytest.mark.parametrize(
    ("found", "currency", "units"),
    [
        (4990, "KES", "49.90"),
        ("4990", "kes", "49.90"),
        (-5, "KES", "-0.05"),
        (0, "KES", "0.00"),
        (4990.0, "KES", "49.90"),
        (4990, "JPY", "4990"),
        (4990, "KWD", "4.990"),
        (2**53, "KES", "90071992547409.92"),
    ],
)
def test_minor_units_become_units_of_their_currency(found: Any, currency: str, units: str) -> None:
    assert read({"at": "a", "as": "minor"}, found, currency) == units


@pytest.mark.parametrize("found", ["49.90", 49.5, "49,90 KES", True, "x"])
def test_what_is_no_whole_number_of_minor_units_is_no_amount(found: Any, shop: Open) -> None:
    mapping = {"currency": {"value": "KES"}, "properties": {"total": {"at": "a", "as": "minor"}}}
    here = shop({"till": {**PLAIN, "source": "generic", **mapping}})
    answer = here.post("/hooks/till", json.dumps(REQUEST | {"a": found}).encode(), BEARER)
    assert answer.json()["accepted"] == 1
    assert [row.properties for row in here.events()] == [{"total": f"{found} as minor"}]


@pytest.mark.parametrize("currency", [None, "", "points", "kes!", 7])
def test_minor_units_of_an_unknown_currency_are_no_amount(currency: Any) -> None:
    options = {"properties": {"p": {"at": "a", "as": "minor"}}, "currency": "c"}
    assert told(options, {"a": 4990, "c": currency}).properties == {"p": "4990 as minor"}


def test_an_amount_may_be_a_number_or_a_text_with_its_currency_beside_it(shop: Open) -> None:
    mapping = {"properties": {"total": "sum.amount"}, "currency": {"at": "sum.currency", "default": "KES"}, "key": "n"}
    here = shop({"till": {**PLAIN, "source": "generic", **mapping}})
    sums = [{"amount": "49.90"}, {"amount": 49.9, "currency": "kes"}, {"amount": "49.90", "currency": "USD"}]
    for n, amount in enumerate(sums):
        here.post("/hooks/till", json.dumps(REQUEST | {"sum": amount, "n": n}).encode(), BEARER)
    kept = [row.properties for row in here.events()]
    assert kept == [{"total": 4990}, {"total": 4990}, {"total": "49.90 USD", "currency": "USD"}]


TIMES: list[tuple[Any, dict[str, str], str | None]] = [
    (1772440200, {}, "2026-03-02T08:30:00+00:00"),
    (1772440200, {"as": "seconds"}, "2026-03-02T08:30:00+00:00"),
    ("1772440200.5", {"as": "seconds"}, "2026-03-02T08:30:00.500000+00:00"),
    (1772440200123, {"as": "milliseconds"}, "2026-03-02T08:30:00.123000+00:00"),
    ("1772440200123", {"as": "milliseconds"}, "2026-03-02T08:30:00.123000+00:00"),
    ("2026-03-02T08:30:00Z", {}, "2026-03-02T08:30:00+00:00"),
    ("2026-03-02 11:30:00", {"zone": "Africa/Nairobi"}, "2026-03-02T11:30:00+03:00"),
    ("2026-07-01 11:30", {"zone": "Europe/Berlin"}, "2026-07-01T11:30:00+02:00"),
    ("2026-03-02T08:30:00Z", {"zone": "Africa/Nairobi"}, "2026-03-02T08:30:00+00:00"),
    (1772440200, {"zone": "Africa/Nairobi"}, "2026-03-02T08:30:00+00:00"),
    (1772440200123, {}, None),
    (1772440200123, {"as": "seconds"}, None),
    ("2026-03-02 11:30:00", {}, None),
    ("2026-03-02 11:30:00", {"as": "seconds"}, None),
    ("soon", {"zone": "Africa/Nairobi"}, None),
    ({"$date": 1}, {"as": "milliseconds"}, None),
    (True, {"as": "milliseconds"}, None),
    (1e300, {"as": "milliseconds"}, None),
]


@pytest.mark.parametrize(("found", "how", "at"), TIMES)
def test_a_time_is_read_as_the_mapping_says_and_kept_if_it_is_none(found: Any, how: dict[str, str], at: Any) -> None:
    payload = REQUEST | {"t": found, "n": 1}
    (one,) = said({"time": {"at": "t", **how}, "key": "n"}, payload)
    if at is None:
        assert one == Untold("paid", "its time can't be read, or names no zone", payload, "paid:1")
    else:
        assert isinstance(one, Told) and one.occurred_at is not None and one.occurred_at.isoformat() == at


@pytest.mark.parametrize("payload", [{}, {"t": None}, {"t": ""}])
def test_what_has_no_time_happens_now(payload: dict[str, Any]) -> None:
    assert told({"time": {"at": "t", "as": "milliseconds"}}, payload).occurred_at is None


@pytest.mark.parametrize(("found", "how", "at"), [each for each in TIMES if each[1]])
def test_a_time_among_the_properties_is_a_text_with_its_zone(found: Any, how: dict[str, str], at: str | None) -> None:
    scalar = isinstance(found, str | int | float)
    wrong = f"{found} as {how.get('as', 'a time')}" if scalar else found
    assert read({"at": "a", **how}, found) == (at or wrong)


@pytest.mark.parametrize(
    ("mapping", "found", "value"),
    [
        ({"at": "a", "default": "none"}, None, "none"),
        ({"at": "a", "default": "none"}, "", "none"),
        ({"at": "a", "default": "none"}, 0, 0),
        ({"at": "a", "default": "none"}, False, False),
        ({"at": "a", "as": "minor", "default": "0"}, None, "0"),
        ({"at": "a", "as": "minor", "default": "0"}, 150, "1.50"),
        ({"at": "a"}, "", ""),
        ({"at": "a"}, None, None),
        ({"value": "till"}, "other", "till"),
    ],
)
def test_a_default_stands_for_nothing_and_a_constant_for_everything(mapping: Any, found: Any, value: Any) -> None:
    assert read(mapping, found) == value


def test_the_entries_of_a_list_have_the_fields_that_are_said() -> None:
    fields = {"sku": "code", "price": {"at": "cents", "as": "minor"}, "tags": {"each": "t", "fields": {"n": "name"}}}
    lines = [{"code": "A", "cents": 150, "other": 1}, 7, {"t": [{"name": "x"}, {}]}, {}]
    assert read({"each": "a", "fields": fields}, lines) == [
        {"sku": "A", "price": "1.50"},
        {"tags": [{"n": "x"}, {}]},
        {},
    ]
    nothing: Any
    for nothing in (None, {}, "x", 7):
        assert read({"each": "a", "fields": fields}, nothing) is None


def test_what_is_known_of_the_customer_is_read_the_same_way(shop: Open) -> None:
    profile = {
        "spent": {"at": "cents", "as": "minor"},
        "tier": {"value": "gold"},
        "trial": {"at": "t", "as": "seconds"},
    }
    options = {"customer": {"id": "who", "profile": profile}, "currency": {"value": "KES"}}
    here = shop({"till": {**PLAIN, "source": "generic", **options}})
    here.post("/hooks/till", json.dumps(REQUEST | {"cents": 4990, "t": 1772440200}).encode(), BEARER)
    ((attributes,),) = here.rows(customer.c.attributes)
    assert attributes == {"spent": 4990, "tier": "gold", "trial": 1772440200 * 1_000_000}


@pytest.mark.parametrize(
    ("condition", "found", "holds"),
    [
        ("paid", "paid", True),
        ("paid", "Paid", False),
        (["paid", "settled"], "settled", True),
        (["paid", "settled"], "open", False),
        ("true", True, True),
        ("yes", True, True),
        ("true", "true", True),
        ("true", 1, False),
        ("false", False, True),
        ("false", None, False),
        ("3", 3, True),
        ("3", 3.0, True),
        ("3", "3", True),
        ("3", 4, False),
        ("x", 3, False),
        ("paid", ["paid"], False),
        ({"missing": "true"}, None, True),
        ({"missing": "true"}, "", True),
        ({"missing": "true"}, 0, False),
        ({"missing": "false"}, 0, True),
        ({"missing": "false"}, None, False),
    ],
)
def test_a_condition_says_what_stands_at_a_place(condition: Any, found: Any, holds: bool) -> None:
    payload = REQUEST | {"a": {"b": found}}
    assert (said({"ignore": {"a.b": condition}}, payload) == []) == holds
    also = {"also": [{"event": "ping", "when": {"a.b": condition, "header:X-State": "paid"}}]}
    assert [one.event for one in said(also, payload) if isinstance(one, Told)] == ["purchase"] + ["ping"] * holds
    other = {"also": [{"event": "ping", "when": {"a.b": condition, "header:X-State": "open"}}]}
    assert len(said(other, payload)) == 1


ALSO: dict[str, Any] = {
    **PLAIN,
    "source": "generic",
    "key": "n",
    "properties": {"total": "sum"},
    "events": {"changed": "ignore", "paid": "purchase"},
    "ignore": [{"test": True}, {"state": "draft", "old": True}],
    "also": [
        {"event": "purchase", "when": {"state": ["paid", "settled"]}, "time": "paid_at"},
        {"event": "signed_up", "when": {"new": True}, "key": "who", "properties": {"source": {"value": "till"}}},
    ],
}


def test_one_request_tells_every_event_whose_conditions_hold(shop: Open) -> None:
    here = shop({"till": ALSO})

    def post(**more: Any) -> Any:
        body = json.dumps({"type": "changed", "who": "amina", "n": 1} | more).encode()
        return here.post("/hooks/till", body, BEARER).json()

    assert post(state="open") == {"accepted": 0, "duplicates": 0}
    assert post(state="paid", new=True, sum="5.00", paid_at=1772440200) == {"accepted": 2, "duplicates": 0}
    # The order changes again, and is still paid: that has been told.
    assert post(state="settled", sum="6.00", paid_at=1772440200) == {"accepted": 0, "duplicates": 1}
    assert post(n=2, state="paid", test=True) == {"accepted": 0, "duplicates": 0}
    assert post(n=2, state="draft", new=True, old=True) == {"accepted": 0, "duplicates": 0}
    assert post(type="paid", n=3, sum="7.00") == {"accepted": 1, "duplicates": 0}
    assert post(type="other", n=4) == {"accepted": 0, "duplicates": 0, "kept": 1}
    assert post(type="other", n=4, state="paid") == {"accepted": 1, "duplicates": 0}
    assert [(row.name, row.key, row.properties) for row in here.events()] == [
        ("purchase", "also:purchase:1", {"total": 500}),
        ("signed_up", "also:signed_up:amina", {"source": "till"}),
        ("purchase", "paid:3", {"total": 700}),
        ("purchase", "also:purchase:4", {}),
    ]
    assert [reason for _, _, reason, _ in here.kept()] == ["unknown topic"]
    assert here.events()[0].occurred_at.isoformat() == "2026-03-02T08:30:00+00:00"


def test_parts_of_a_request_are_ignored_one_by_one() -> None:
    options = {"each": "all", "key": "n", "ignore": {"test": True}}
    parts = [REQUEST | {"n": n, "test": n % 2 == 0} for n in range(4)]
    assert [one.key for one in said(options, {"all": parts})] == ["paid:1", "paid:3"]


def test_a_topic_may_be_a_constant_or_have_a_default() -> None:
    nameless = {"who": "amina"}
    for topic in ({"value": "paid"}, {"at": "type", "default": "paid"}):
        (one,) = said({"topic": topic}, nameless)
        assert isinstance(one, Told) and one.event == "purchase"
    (lost,) = said({"topic": {"at": "type", "default": "paid"}}, nameless | {"type": "lost"})
    assert isinstance(lost, Untold) and lost.topic == "lost"


def test_minor_units_want_a_currency_of_their_own_or_the_sources() -> None:
    total = {"total": {"at": "cents", "as": "minor"}}
    also: dict[str, Any] = {"event": "ping", "when": {"a": "b"}, "properties": total}
    wrong: list[dict[str, Any]] = [
        {"properties": total},
        {"customer": {"id": "who", "profile": total}},
        {"also": [also]},
    ]
    for options in wrong:
        with pytest.raises(ValidationError, match="of which currency"):
            said(options, {})
        said({**options, "currency": "c"}, {})
    said({"also": [also | {"currency": {"value": "KES"}}]}, {})


def test_the_pages_example_becomes_what_the_page_says() -> None:
    page = fences(ROOT / "docs/connecting.md")
    (yaml,) = (fence.text for fence in page if fence.kind == "sources" and "  till:" in fence.text)
    request, events = (
        json.loads(next(fence.text for fence in page if fence.kind == kind)) for kind in ("till:request", "till:events")
    )
    options = YAML(typ="safe").load(yaml)["sources"]["till"]
    assert options.pop("source") == "generic"
    found = Generic(GenericOptions.model_validate(written(options))).read({}, request)
    shown = [
        {"event": one.event, "key": one.key, "time": one.occurred_at.isoformat(), "properties": one.properties}
        for one in found
        if isinstance(one, Told) and one.occurred_at is not None
    ]
    assert shown == events
    content = load(starter.root(), registry())
    heard = hear(found, "till", (), Door(content.project, content.vocabulary, "a secret"), NOW, lambda keys: None)
    assert not heard.kept
    (bought, _), (joined, _) = heard.events
    items = [{"sku": "MUG-1", "qty": 2, "price": 1995}, {"sku": "TEA-1", "qty": 1, "price": 1000}]
    assert bought.properties == {"order_id": "17", "total": 4990, "items": items}
    assert joined.properties == {"source": "till"}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
)


@given(found=ANY, currency=ANY, how=st.sampled_from([{"as": "minor"}, {"as": "seconds"}, {"zone": "Asia/Tokyo"}, {}]))
def test_whatever_stands_there_reading_never_fails(found: Any, currency: Any, how: dict[str, str]) -> None:
    fields = {"x": {"at": "a", **how}}
    options: dict[str, Any] = {
        "properties": {"p": {"at": "a", **how}, "q": {"each": "a", "fields": fields}},
        "currency": "c",
        "time": {"at": "a"} if how == {"as": "minor"} else {"at": "a", **how},
        "ignore": {"a": "1", "c": {"missing": "true"}},
        "also": [{"event": "ping", "when": {"a.a": {"missing": "false"}}}],
    }
    payload = REQUEST | {"a": found, "c": currency}
    assert said(options, payload) == said(options, payload)
