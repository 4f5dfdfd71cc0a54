"""What every provider's hook must do. A new one is found by its decorator, and wants a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.builtins import registry
from engine.channels.returns import Called, Kind, Reply, Returned, Returns, Unreadable
from engine.channels.sendgrid_back import AHEAD, OLDEST, SECOND
from tests.returns.samples import AT, CHAT, NOW, SAMPLES, Sample, mail_event, mails, stands, text, update, wrote

HOOKS: dict[str, Any] = dict(registry().returns)


@pytest.fixture(params=sorted(HOOKS))
def hook(request: pytest.FixtureRequest) -> tuple[Returns, Sample]:
    return HOOKS[request.param](), SAMPLES[request.param]


def test_every_hook_has_a_sample() -> None:
    assert HOOKS.keys() == SAMPLES.keys()


def test_what_the_provider_signed_is_taken_and_read_in_our_words(hook: tuple[Returns, Sample]) -> None:
    theirs, sample = hook
    called = sample.genuine()
    assert theirs.verify(sample.secret, called, NOW)
    told = theirs.read(called)
    assert [one.kind for one in told if isinstance(one, Returned)] == list(sample.kinds)
    assert told and all(one.key and (isinstance(one, Reply) or one.ref == "1-1") for one in told)
    assert theirs.read(sample.genuine()) == told, "what is told again is the same"


def forgeries(sample: Sample) -> Iterator[tuple[str, Called]]:
    genuine = sample.genuine()
    yield "by somebody else", sample.forged()
    if sample.signed:
        yield "without a body", replace(genuine, body=b"")
    for place in range(0, len(genuine.body) if sample.signed else 0, 7):
        flipped = bytearray(genuine.body)
        flipped[place] ^= 1
        yield f"byte {place} flipped", replace(genuine, body=bytes(flipped))
    for name in sample.proofs:
        bare = {key: value for key, value in genuine.headers.items() if key != name}
        yield f"without {name}", replace(genuine, headers=bare)
        for rubbish in ("", "0", "%%%", "\xff", "1" * 500, genuine.headers[name][:-4]):
            yield f"{rubbish!r} as {name}", replace(genuine, headers={**genuine.headers, name: rubbish})


def test_what_is_forged_is_not_taken(hook: tuple[Returns, Sample]) -> None:
    theirs, sample = hook
    tried = list(forgeries(sample))
    assert [what for what, called in tried if theirs.verify(sample.secret, called, NOW)] == []
    print(f"forged: {len(tried)}, accepted: 0")


def test_a_wrong_key_verifies_nothing(hook: tuple[Returns, Sample]) -> None:
    theirs, sample = hook
    for wrong in ("", "no key", "AAAA", sample.secret[:-8]):
        assert not theirs.verify(wrong, sample.genuine(), NOW)


def test_what_was_signed_long_ago_or_is_of_a_time_to_come_is_not_taken(hook: tuple[Returns, Sample]) -> None:
    theirs, sample = hook
    if sample.dated:
        soon, second = timedelta(seconds=1), sample.genuine()
        assert theirs.verify(sample.secret, second, NOW + OLDEST)
        assert not theirs.verify(sample.secret, second, NOW + OLDEST + soon)
        assert theirs.verify(sample.secret, second, NOW - AHEAD)
        assert not theirs.verify(sample.secret, second, NOW - AHEAD - soon)


def test_twilio_signs_the_address_too() -> None:
    theirs, sample = HOOKS["twilio"](), SAMPLES["twilio"]
    genuine = sample.genuine()
    assert not theirs.verify(sample.secret, replace(genuine, url=genuine.url.replace("1-1", "1-2")), NOW)


@given(body=st.binary(max_size=200), values=st.lists(st.text(max_size=30), min_size=2, max_size=2))
def test_whatever_comes_is_verified_and_read_without_a_fault(body: bytes, values: list[str]) -> None:
    for name, kind in HOOKS.items():
        theirs, sample = kind(), SAMPLES[name]
        headers = dict(zip((*sample.proofs, "other"), values, strict=False))
        called = Called("https://shop.example/hooks/x/events", headers, body)
        assert not theirs.verify(sample.secret, called, NOW)
        try:
            theirs.read(called)
        except Unreadable as error:
            assert "@" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(event=st.dictionaries(st.sampled_from(sorted(mail_event("click", url="", status="", reason=""))), JSON))
def test_an_event_of_any_shape_is_read_or_left_out(event: dict[str, Any]) -> None:
    theirs = HOOKS["sendgrid"]()
    called = mails({**mail_event("click"), **event})
    for one in theirs.read(called):
        assert isinstance(one, Returned) and one.kind in get_args(Kind)


@pytest.mark.parametrize(
    ("event", "kind", "detail"),
    [
        (mail_event("processed"), "processed", {}),
        (mail_event("deferred", status="4.2.2"), "deferred", {"status": "4.2.2"}),
        (mail_event("bounce", type="bounce", status="5.1.1"), "bounced", {"status": "5.1.1"}),
        (mail_event("bounce", type="blocked", reason="a@shop.example!"), "bounced", {"soft": True}),
        (mail_event("dropped", reason="Bounced Address"), "dropped", {"because": "bounced"}),
        (mail_event("dropped", reason="Invalid"), "dropped", {}),
        (mail_event("open", sg_machine_open=False), "opened", {}),
        (mail_event("open", sg_machine_open=True), "machine_opened", {}),
        (mail_event("click", url="https://duka.example/x"), "clicked", {"url": "https://duka.example/x"}),
        (mail_event("spamreport"), "complained", {}),
        (mail_event("unsubscribe"), "unsubscribed", {"all": True}),
        (mail_event("group_unsubscribe", asm_group_id=3), "unsubscribed", {}),
    ],
)
def test_sendgrids_words_are_ours(event: dict[str, Any], kind: str, detail: dict[str, Any]) -> None:
    (one,) = HOOKS["sendgrid"]().read(mails(event))
    assert (one.kind, one.at, one.address, one.detail) == (kind, NOW + SECOND, "a@shop.example", detail)


def test_what_is_about_others_or_nothing_is_left_out() -> None:
    others = [mail_event("group_resubscribe"), mail_event("account_status_change"), {"event": "open", "timestamp": AT}]
    assert HOOKS["sendgrid"]().read(mails(*others, *others)) == []


def test_two_links_clicked_in_one_second_are_two_and_an_event_under_another_id_is_the_same() -> None:
    first, again = (mail_event("click", url="https://a.example", sg_event_id=name) for name in ("x", "y"))
    other = mail_event("click", url="https://b.example")
    keys = [one.key for one in HOOKS["sendgrid"]().read(mails(first, again, other))]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("given", "kind", "detail"),
    [
        ({"MessageStatus": "queued"}, "processed", {}),
        ({"MessageStatus": "sent"}, "processed", {}),
        ({"MessageStatus": "delivered"}, "delivered", {}),
        ({"MessageStatus": "read"}, "opened", {}),
        ({"MessageStatus": "undelivered", "ErrorCode": "30005"}, "bounced", {"code": "30005"}),
        ({"MessageStatus": "undelivered", "ErrorCode": "30003"}, "bounced", {"code": "30003", "soft": True}),
        ({"MessageStatus": "failed", "ErrorCode": "21610"}, "dropped", {"code": "21610", "because": "stop"}),
        ({"MessageStatus": "failed"}, "bounced", {"soft": True}),
        ({"MessageStatus": "canceled"}, "dropped", {}),
    ],
)
def test_twilios_words_are_ours(given: dict[str, str], kind: str, detail: dict[str, Any]) -> None:
    (one,) = HOOKS["twilio"]().read(text(**given))
    assert (one.ref, one.kind, one.key, one.at, one.detail) == ("1-2", kind, "SM1", None, detail)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SmsStatus": "received", "Body": "STOP"}, Reply("sms", "+254712345678", "STOP", "SM1")),
        ({"Body": "thanks", "OptOutType": "STOP"}, Reply("sms", "+254712345678", "STOP", "SM1")),
        ({"Body": "hi", "From": "whatsapp:+254712345678"}, Reply("whatsapp", "+254712345678", "hi", "SM1")),
    ],
)
def test_what_somebody_writes_to_the_number_is_a_reply(given: dict[str, str], said: Reply) -> None:
    assert HOOKS["twilio"]().read(text("", **{"From": "+254712345678", "To": "+15550001111", **given})) == [said]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (wrote("Is it open?"), Reply("telegram", CHAT, "Is it open?", "7", NOW)),
        (wrote("/stop"), Reply("telegram", CHAT, "/stop", "7", NOW)),
        (wrote("/STOP@duka_bot please"), Reply("telegram", CHAT, "/stop", "7", NOW, carried="please")),
        (wrote("/start abc-123_X"), Reply("telegram", CHAT, "/start", "7", NOW, carried="abc-123_X")),
        (wrote("/help"), Reply("telegram", CHAT, "/help", "7", NOW)),
        (wrote("", caption="Look"), Reply("telegram", CHAT, "Look", "7", NOW)),
        (wrote(" "), Reply("telegram", CHAT, " ", "7", NOW)),
        (stands("kicked"), Reply("telegram", CHAT, "stop", "8", NOW, written=False)),
        (stands("member"), Reply("telegram", CHAT, "start", "8", NOW, written=False)),
    ],
)
def test_what_people_say_to_the_bot_is_a_reply_of_its_time(given: dict[str, Any], said: Reply) -> None:
    assert HOOKS["telegram"]().read(update(given)) == [said]


GROUP: dict[str, Any] = {"chat": {"id": -100123, "type": "supergroup"}}


@pytest.mark.parametrize(
    "given",
    [
        {"update_id": 7},
        {"update_id": 7, "edited_message": wrote("STOP")["message"]},
        {"update_id": 7, "callback_query": {"id": "1"}},
        wrote("STOP", **GROUP),
        wrote("STOP", date="soon"),
        wrote("STOP", date=-1),
        wrote("STOP", chat="x"),
        stands("administrator"),
        {"update_id": 7, "my_chat_member": None},
    ],
)
def test_what_is_said_elsewhere_is_left_out(given: dict[str, Any]) -> None:
    assert HOOKS["telegram"]().read(update(given)) == []


@given(message=st.dictionaries(st.sampled_from(["chat", "date", "text", "caption", "new_chat_member"]), JSON))
def test_an_update_of_any_shape_is_read_or_left_out(message: dict[str, Any]) -> None:
    for kind in ("message", "my_chat_member"):
        given = wrote("hi")["message"] | message
        assert len(HOOKS["telegram"]().read(update({"update_id": 1, kind: given}))) in (0, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"update_id": "1"}'])
def test_what_is_no_update_is_told(body: bytes) -> None:
    with pytest.raises(Unreadable):
        HOOKS["telegram"]().read(Called("https://shop.example/x", {}, body))
