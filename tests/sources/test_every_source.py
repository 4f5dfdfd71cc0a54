"""What every source must do, whoever sends. A new source is found by its decorator and tested here unasked."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.builtins import registry
from engine.language.registry import declared
from engine.store.tables import kept_hook
from tests.promises import figures
from tests.sources.conftest import NOW, Open
from tests.sources.samples import NAMES, SECRET, SIGNED, Sample, sample
from triggers.sources.base import Source, SourceOptions, Told, Untold

ONCE = {"accepted": 1, "duplicates": 0}
AGAIN = {"accepted": 0, "duplicates": 1}


@pytest.fixture(params=NAMES)
def one(request: pytest.FixtureRequest) -> Sample:
    return sample(request.param)


def source_of(one: Sample) -> Source:
    cls = registry().sources[one.name]
    made = cls(cls.Options.model_validate(one.options))
    assert isinstance(made, Source)
    return made


def low(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def path(one: Sample) -> str:
    return f"/hooks/{one.name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_source_is_declared_under_its_name_and_says_its_topics(name: str) -> None:
    cls = registry().sources[name]
    mark = declared(cls)
    assert mark is not None and (mark.kind, mark.name) == ("source", name)
    assert issubclass(cls, Source) and issubclass(cls.Options, SourceOptions)
    assert cls.topics is None or cls.topics
    assert name in SIGNED, "the suite doesn't know its signature"


def test_what_is_genuine_becomes_an_event(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    answer = here.post(path(one), one.body, one.signed(one.body, NOW))
    assert (answer.status_code, answer.json()) == (202, ONCE)
    ((customer, name, source, key, at, properties),) = here.events()
    expected = one.event
    assert (customer, name, key) == (expected["customer"], expected["name"], expected["key"])
    assert (source, at.isoformat()) == (one.name, expected["occurred_at"])
    assert properties["total"] == expected["total"]
    said = [[channel, topic, state] for channel, topic, state, _, _ in here.consents()]
    assert said == expected["consents"]


def test_what_is_told_has_the_topic_that_the_shop_calls_it(one: Sample) -> None:
    source = source_of(one)
    for said in source.read(low(one.headers), one.payload):
        assert isinstance(said, Told) and said.topic, "without one it would be kept under our own word"
        assert source.events.get(said.topic) == said.event


def test_a_delivery_that_comes_again_counts_once(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    headers = one.signed(one.body, NOW)
    assert here.post(path(one), one.body, headers).json() == ONCE
    assert here.post(path(one), one.body, headers).json() == AGAIN


def test_a_replay_under_another_delivery_id_counts_once(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    assert here.post(path(one), one.body, one.signed(one.body, NOW)).json() == ONCE
    assert here.post(path(one), one.body, one.signed(one.body, NOW, **one.again)).json() == AGAIN
    assert len(here.events()) == 1 and not here.kept()


def forged(one: Sample) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Requests that nobody with the secret has sent, by what is wrong with them."""
    genuine = one.signed(one.body, NOW)
    names = SIGNED[one.name](one.body, SECRET, NOW)
    bare = {name: value for name, value in genuine.items() if name not in names}
    cases: dict[str, tuple[bytes, dict[str, str]]] = {
        "wrong secret": (one.body, one.signed(one.body, NOW, "another secret")),
        "empty secret": (one.body, one.signed(one.body, NOW, "")),
        "no header": (one.body, bare),
    }
    for name, value in names.items():
        cases[f"empty {name}"] = (one.body, genuine | {name: ""})
        cases[f"rubbish in {name}"] = (one.body, genuine | {name: "%%% t=,v1=\xff"})
        cases[f"half of {name}"] = (one.body, genuine | {name: value[: len(value) // 2]})
    if one.signs_body:
        for place in (0, len(one.body) // 2, len(one.body) - 1):
            flipped = bytearray(one.body)
            flipped[place] ^= 1
            cases[f"byte {place} flipped"] = (bytes(flipped), genuine)
        cases["a space more"] = (one.body + b" ", genuine)
        cases["nothing left"] = (b"", genuine)
    return cases


def test_what_is_forged_is_refused_and_leaves_nothing(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    statuses = {}
    for what, (body, headers) in forged(one).items():
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        statuses[what] = here.client.post(path(one), content=body, headers=raw).status_code
    accepted = {what: status for what, status in statuses.items() if status != 401}
    figures("a forged webhook changes nothing", source=one.name, forged=len(statuses), accepted=len(accepted))
    assert accepted == {}
    assert not here.events() and not here.kept() and not here.rows(kept_hook.c.id)


def test_either_of_two_secrets_is_taken_while_they_change(one: Sample, shop: Open) -> None:
    both = {**one.options, "secret": ["first_secret", "second_secret"]}
    here = shop({one.name: both}, KARIBU_FIRST_SECRET="the new one", KARIBU_SECOND_SECRET="the old one")
    new, old = (one.signed(one.body, NOW, secret) for secret in ("the new one", "the old one"))
    assert here.post(path(one), one.body, new).json() == ONCE
    assert here.post(path(one), one.body, old).json() == AGAIN
    assert here.post(path(one), one.body, one.signed(one.body, NOW)).status_code == 401


def test_without_a_secret_nothing_is_taken(one: Sample, shop: Open) -> None:
    here = shop({one.name: {**one.options, "secret": "nowhere_secret"}})
    for secret in ("", "nowhere_secret", SECRET):
        assert here.post(path(one), one.body, one.signed(one.body, NOW, secret)).status_code == 503
    assert not here.events()


def test_what_is_genuine_and_no_json_is_refused(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    for body in (b"", b"{", b"nonsense", b"\xff\xfe", b'{"a": NaN}', b"a=1&b=2"):
        assert here.post(path(one), body, one.signed(body, NOW)).status_code == 400, body


def test_json_of_any_form_is_kept_or_taken_and_never_fails(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    strange = ["[]", "{}", "null", "1", '"text"', "[[1]]", "[null]", '{"id": {"a": []}}', '{"id": "a\\u0000b"}']
    deep = "[" * 300 + "]" * 300
    for text in [*strange, deep, json.dumps(hollow(one.payload))]:
        body = text.encode()
        assert here.post(path(one), body, one.signed(body, NOW)).status_code == 202, text[:40]


def hollow(value: object) -> object:
    """The same keys, and nothing that was expected under them."""
    return (
        {key: [{"?": None}] if isinstance(inner, dict) else {"?": 1} for key, inner in value.items()}
        if isinstance(value, dict)
        else value
    )


def test_an_unknown_topic_is_kept(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    body = json.dumps(one.unknown["payload"]).encode()
    headers = one.signed(body, NOW, **one.unknown["headers"])
    for _ in range(2):
        assert here.post(path(one), body, headers).json() == {"accepted": 0, "duplicates": 0, "kept": 1}
    ((source, _, reason, kept),) = here.kept()
    assert (source, reason) == (one.name, "unknown topic")
    assert json.loads(kept) == one.unknown["payload"]


def test_a_body_of_a_mebibyte_is_taken_and_a_larger_one_than_two_is_not(one: Sample, shop: Open) -> None:
    here = shop({one.name: one.options})
    body = one.body[:-1] + b" " * (1024 * 1024 - len(one.body)) + one.body[-1:]
    assert len(body) == 1024 * 1024
    assert here.post(path(one), body, one.signed(body, NOW)).json() == ONCE
    large = one.body + b" " * (2 * 1024 * 1024)
    assert here.post(path(one), large, one.signed(large, NOW)).status_code == 413


def test_reading_says_only_what_the_nouns_allow(one: Sample) -> None:
    source = source_of(one)
    headers = low(one.signed(one.body, NOW))
    said = source.read(headers, one.payload)
    assert said and all(isinstance(each, Told | Untold) for each in said)
    assert source.read(headers, one.payload) == said
    assert source.verify([SECRET], headers, one.body, NOW)
    assert not source.verify([], headers, one.body, NOW)
    assert not source.verify([""], low(one.signed(one.body, NOW, "")), one.body, NOW + timedelta(seconds=1))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)


def changed(draw: st.DrawFn, value: Any) -> Any:
    """The payload with some of its parts gone, or anything else."""
    chance = draw(st.integers(0, 9))
    if chance == 0:
        return draw(
            st.recursive(
                SCALARS,
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            )
        )
    if isinstance(value, dict):
        return {key: changed(draw, inner) for key, inner in value.items() if draw(st.integers(0, 9))}
    return [changed(draw, inner) for inner in value] if isinstance(value, list) else value


@st.composite
def payloads(draw: st.DrawFn, payload: Any) -> Any:
    return changed(draw, payload)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_whatever_is_sent_reading_never_fails_and_says_the_same_again(name: str, data: st.DataObject) -> None:
    one = sample(name)
    source = source_of(one)
    payload = data.draw(payloads(one.payload))
    topics = [*(source.topics or ()), *source.events, "order.updated"]
    topic = data.draw(st.sampled_from(topics))
    headers = low(one.headers) | {"x-shopify-topic": topic, "x-wc-webhook-topic": topic}
    if isinstance(payload, dict) and "type" in payload and data.draw(st.booleans()):
        payload["type"] = topic
    said = source.read(headers, payload)
    assert list(said) == list(source.read(headers, payload))
    for each in said:
        assert not isinstance(each, Told) or (each.who and each.key and each.event)


@given(headers=st.dictionaries(st.sampled_from(["t=1,v1=", "Bearer ", ""]), st.text()), body=st.binary(max_size=64))
@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_shown_verifying_never_fails_nor_takes_it(name: str, headers: dict[str, str], body: bytes) -> None:
    one = sample(name)
    source = source_of(one)
    for shown in SIGNED[name](body, SECRET, NOW):
        for before, text in headers.items():
            assert not source.verify([SECRET], {shown.lower(): before + text}, body, NOW)
