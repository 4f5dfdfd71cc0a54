"""What a body of events holds, and what is wrong with it, told by place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language.content import load
from engine.runtime.bounds import AHEAD
from engine.runtime.door import Door
from engine.runtime.identity import Who
from engine.web.reading import MOST_EVENTS, Posted, Unreadable, read
from tests.scenarios.shop import PROJECT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SIGNED_UP = {"event": "signed_up", "customer": "amina"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    from engine.builtins import registry

    root = tmp_path_factory.mktemp("shop")
    (root / "workflows").mkdir()
    (root / "workflows/project.yaml").write_text(PROJECT)
    content = load(root, registry())
    return Door(content.project, content.vocabulary, "a secret")


def taken(door: Door, body: Any) -> Posted:
    return read(orjson.dumps(body), door, NOW)


def faults(door: Door, **changes: Any) -> list[tuple[str, str]]:
    """Path and message of what is wrong with a sign-up so changed; None leaves the key out."""
    item = {key: value for key, value in (SIGNED_UP | changes).items() if value is not None}
    posted = taken(door, item)
    assert bool(posted.faults) != bool(posted.events)
    return [(fault.path, fault.message) for fault in posted.faults]


def test_an_event_is_typed_as_the_project_declares(door: Door) -> None:
    body = {
        "event": "purchase",
        "customer": {"id": "amina", "email": "Amina@Shop.example", "tier": "gold", "consent": ["email/offers"]},
        "time": "2026-03-02T11:00:00+03:00",
        "key": "order-17",
        "properties": {"total": 49.9, "order_id": 17, "items": [{"sku": "A1", "qty": 2}]},
    }
    ((index, event),) = taken(door, body).events
    assert (index, event.customer, event.name, event.key, event.source) == (0, "amina", "purchase", "order-17", "api")
    assert event.occurred_at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert event.properties == {"total": 4990, "order_id": "17", "items": [{"sku": "A1", "qty": 2}]}
    assert event.profile is not None
    assert event.profile.columns["email"] == "Amina@shop.example" and event.profile.attributes == {"tier": "gold"}
    assert [(one.channel, one.topic, one.state) for one in event.profile.consents] == [("email", "offers", "on")]


def test_what_has_another_type_is_kept_and_told(door: Door) -> None:
    body = {
        "event": "purchase",
        "customer": {"id": "amina", "email": "nowhere", "teir": "gold"},
        "properties": {"total": "a lot", "colour": "red"},
    }
    posted = taken(door, body)
    assert posted.events[0][1].properties == {"total": "a lot", "colour": "red"}
    assert {one.path for one in posted.warnings} == {"customer.email", "customer.teir", "properties.total"}


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"created": "9999-12-31T23:59:59-14:00"}, "created"),
        ({"created": "0001-01-01T00:00:00+14:00"}, "created"),
        ({"tags": ["x" * 256]}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"consent": ["email/" + "x" * 256]}, "consent"),
        ({"consent": ["x" * 256 + "/offers"]}, "consent"),
    ],
)
def test_what_no_database_can_keep_of_a_customer_is_left_out_and_told(
    door: Door, said: dict[str, Any], path: str
) -> None:
    posted = taken(door, SIGNED_UP | {"customer": {"id": "amina", **said}})
    assert [one.path for one in posted.warnings] == [f"customer.{path}"]
    profile = posted.events[0][1].profile
    assert profile is not None and (profile.created_at, profile.tags, profile.consents) == (None, (), ())


def test_null_is_no_tag(door: Door) -> None:
    for tags, kept in ((None, ()), ([None, "vip"], ("vip",))):
        posted = taken(door, SIGNED_UP | {"customer": {"id": "amina", "tags": tags}})
        profile = posted.events[0][1].profile
        assert profile is not None and profile.tags == kept and not posted.warnings


def test_a_whole_number_is_one_id_however_it_is_written(door: Door) -> None:
    posted = taken(door, [SIGNED_UP | {"customer": one} for one in (7, 7.0, {"id": 7}, {"id": 7.0})])
    assert [event.customer for _, event in posted.events] == ["7"] * 4
    named = taken(door, SIGNED_UP | {"customer": {"id": 7.0, "anonymous_id": 8.0}})
    assert named.whos[0].names == ("7", "anonymous:8")


def test_an_event_nobody_declared_is_kept_and_told(door: Door) -> None:
    posted = taken(door, SIGNED_UP | {"event": "sined_up"})
    assert len(posted.events) == 1
    assert posted.warnings[0].hint == 'did you mean "signed_up"?'


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"event": None}, "event", "the event's name is missing"),
        ({"event": "Signed Up"}, "event", "this can't be an event's name"),
        ({"event": 5}, "event", "this can't be an event's name"),
        ({"event": "message_clicked"}, "event", "message_clicked is an event of Karibu's own, that nobody sends"),
        ({"customer": None}, "customer", "whose event is it?"),
        ({"customer": ""}, "customer", "this can't be an id"),
        ({"customer": True}, "customer", "this can't be an id"),
        ({"customer": " amina"}, "customer", "this can't be an id"),
        ({"customer": "a\nb"}, "customer", "this can't be an id"),
        ({"customer": "x" * 201}, "customer", "this can't be an id"),
        ({"customer": {"first_name": "Amina"}}, "customer.id", "the customer's id is missing"),
        ({"customer": {"email": "nowhere"}}, "customer.id", "the customer's id is missing"),
        ({"customer": {"id": "amina", "anonymous_id": 1.5}}, "customer.anonymous_id", "this can't be an id"),
        ({"customer": {"id": "amina", "consent": "email/offers"}}, "customer.consent", "consent is a list of texts"),
        ({"time": "2026-03-01 09:30"}, "time", "this time has no zone, so it names no moment"),
        ({"time": "yesterday"}, "time", "this is no time"),
        ({"time": 1772000000}, "time", "this is no time"),
        ({"time": "1969-12-31T23:59:59Z"}, "time", "this is before 1970"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time", "this is before 1970"),
        ({"time": (NOW + AHEAD + timedelta(seconds=1)).isoformat()}, "time", "this lies in the future"),
        ({"key": "a", "id": "b"}, "id", "key and id both name the event"),
        ({"key": ""}, "key", "this can't be an id"),
        ({"properties": [1]}, "properties", "the properties are an object"),
        ({"poperties": {}}, "poperties", 'an event has no "poperties"'),
        ({"properties": {"source": "a\0b"}}, "", "the character U+0000 can't be kept"),
        ({"properties": {"source": "x" * 70_000}}, "", "this event is larger than 65536 bytes"),
    ],
)
def test_a_fault_keeps_an_event_out(door: Door, changes: dict[str, Any], path: str, message: str) -> None:
    assert (path, message) in faults(door, **changes)


def test_deep_nesting_is_a_fault(door: Door) -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    assert faults(door, properties={"source": deep}) == [("", "this event is nested deeper than 16")]


def test_a_fault_costs_the_others_nothing(door: Door) -> None:
    posted = taken(door, [SIGNED_UP, {"event": "signed_up"}, 5, SIGNED_UP | {"customer": 7}])
    assert [index for index, _ in posted.events] == [0, 3]
    assert [(fault.index, fault.path) for fault in posted.faults] == [(1, "customer"), (2, "")]
    assert posted.events[1][1].customer == "7"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": NaN}', b'"\xff"', b'["\\ud800"]'])
def test_a_body_that_is_no_json_is_refused(door: Door, body: bytes) -> None:
    if body == b'["\\ud800"]':
        with pytest.raises(Unreadable, match="no JSON"):
            read(body, door, NOW)
        return
    with pytest.raises(Unreadable):
        read(body, door, NOW)


def test_there_is_an_end_to_a_list(door: Door) -> None:
    with pytest.raises(Unreadable, match="at most"):
        taken(door, [SIGNED_UP] * (MOST_EVENTS + 1))


def test_the_content_names_an_event_that_says_when(door: Door) -> None:
    said = SIGNED_UP | {"time": "2026-03-01T09:30:00+03:00", "properties": {"source": "web"}}
    again = SIGNED_UP | {"time": "2026-03-01T06:30:00Z", "properties": {"source": "web"}}
    other = SIGNED_UP | {"time": "2026-03-01T06:30:01Z", "properties": {"source": "web"}}
    first, second, third = (one.key for _, one in taken(door, [said, again, other]).events)
    assert first == second != third


def test_an_event_that_says_neither_key_nor_time_is_one_of_its_own(door: Door) -> None:
    first, second = (one.key for _, one in taken(door, [SIGNED_UP, SIGNED_UP]).events)
    assert first != second


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_events = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["purchase", "signed_up", "nothing"]) | _json,
        "customer": st.just("amina")
        | st.dictionaries(
            st.sampled_from(["id", "email", "phone", "birthday", "consent", "tags", "timezone", "spent", "created"]),
            _json,
        )
        | _json,
        "time": st.sampled_from(["2026-03-01T09:30:00+03:00", "2026-02-30T09:30:00Z"]) | _json,
        "key": _json,
        "properties": st.dictionaries(st.sampled_from(["total", "items", "order_id"]), _json) | _json,
    },
)


@settings(max_examples=400)
@given(st.lists(_events, max_size=3) | _json)
def test_whatever_is_posted_is_taken_or_refused_in_words(door: Door, body: Any) -> None:
    try:
        posted = taken(door, body)
    except Unreadable:
        return
    told = {fault.index for fault in posted.faults}
    assert told.isdisjoint(index for index, _ in posted.events)
    assert len(told) + len(posted.events) == posted.count


def test_a_whole_number_is_an_id_and_one_that_may_have_been_rounded_is_not(door: Door) -> None:
    for body, wanted in (
        (b"17", ["17"]),
        (b"17.0", ["17"]),
        (b"1.5", []),
        (b"-9223372036854775809", []),
        (b"true", []),
    ):
        posted = read(b'{"event": "signed_up", "customer": %s}' % body, door, NOW)
        assert [event.customer for _, event in posted.events] == wanted


def test_who_knows_no_id_names_somebody_by_what_they_know(door: Door) -> None:
    mail, phone = (door.address_hash(*one) for one in (("email", "amina@shop.example"), ("phone", "+254712345678")))

    def told(**customer: Any) -> tuple[str, list[Who]]:
        posted = taken(door, SIGNED_UP | {"customer": customer})
        ((_, event),) = posted.events
        return event.customer, list(posted.whos.values())

    assert told(anonymous_id="b-1") == ("anonymous:b-1", [])
    assert told(email="Amina@Shop.example") == (f"email:{mail}", [])
    assert told(phone="0712 345678", country="KE") == (f"phone:{phone}", [])
    both = [Who(anonymous_id="b-1", email_hash=mail)]
    assert told(anonymous_id="b-1", email="amina@shop.example") == ("anonymous:b-1", both)
    assert told(id="amina") == ("amina", [])
    assert told(id="amina", anonymous_id="b-1") == ("amina", [Who("amina", "b-1")])
    assert told(id=5, email="amina@shop.example") == ("5", [Who("5", None, mail)])
