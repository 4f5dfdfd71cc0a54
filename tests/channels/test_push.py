"""Push messages: to apps through Firebase, to browsers as the standards have it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt as theirs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from engine.channels import jwt
from engine.channels.base import Accepted, ConfigurationError, InDoubt, Outgoing, Refused, Surroundings
from engine.channels.fcm import Account, Fcm, FcmOptions
from engine.channels.webpush import WebPush, WebPushOptions, key_of
from tests.channels.conftest import AT, PUSH, FakeProvider, Words, body, fake, outgoing
from tests.channels.pushed import VAPID, Browser, service_account, service_key


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[FakeProvider]:
    with fake("fake_http", tmp_path) as running:
        yield running


@pytest.fixture
def fcm(provider: FakeProvider) -> Iterator[Fcm]:
    channel = Fcm(Account.read(service_account(provider.url)), provider.url, FcmOptions(timeout=60))
    yield channel
    channel.close()


@pytest.fixture
def browser(provider: FakeProvider) -> Browser:
    return Browser.of(provider.url)


@pytest.fixture
def webpush(provider: FakeProvider) -> Iterator[WebPush]:
    channel = WebPush(key_of(VAPID), "mailto:it@duka.example", provider.url, WebPushOptions(timeout=60))
    yield channel
    channel.close()


def push(**changes: Any) -> Outgoing:
    return outgoing(**{"channel": "push", "to": "device-token", "content": PUSH, **changes})


def test_an_app_gets_its_message_under_a_token_that_is_got_once(fcm: Fcm, provider: FakeProvider) -> None:
    assert isinstance(fcm.send(push()), Accepted)
    assert isinstance(fcm.send(push(ref="msg-2")), Accepted)
    token, first, second = provider.taken()
    assert token["path"] == "/token" and first["path"] == second["path"] == "/v1/projects/duka/messages:send"
    assert first["headers"]["authorization"] == second["headers"]["authorization"] == "Bearer token-1"
    (assertion,) = parse_qs(body(token).decode())["assertion"]
    claims = theirs.decode(
        assertion,
        service_key().public_key(),
        ["RS256"],
        audience=f"{provider.url}/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["iss"] == "karibu@duka.example" and claims["iat"] == AT.timestamp()
    assert json.loads(body(first))["message"] == {
        "token": "device-token",
        "notification": {"title": "Karibu", "body": "Look around"},
        "data": {"karibu_ref": "msg-0000000001", "url": "https://duka.example/shop"},
    }


def test_the_token_is_got_anew_before_it_ends(fcm: Fcm, provider: FakeProvider) -> None:
    fcm.send(push())
    fcm.send(push(at=AT + timedelta(minutes=56)))
    assert [one["path"] for one in provider.taken()].count("/token") == 2


@pytest.mark.parametrize(
    ("status", "code", "result"),
    [
        (404, "UNREGISTERED", Refused("gone", ends="gone")),
        (403, "SENDER_ID_MISMATCH", Refused("gone", ends="gone")),
        (429, "QUOTA_EXCEEDED", Refused("rate_limited", timedelta(seconds=30))),
        (400, "INVALID_ARGUMENT", Refused("provider: 400 INVALID_ARGUMENT")),
        (401, "THIRD_PARTY_AUTH_ERROR", Refused("provider_key: 401", timedelta(minutes=10))),
        (503, "UNAVAILABLE", InDoubt("provider: 503")),
    ],
)
def test_firebases_errors_in_our_words(
    status: int, code: str, result: object, fcm: Fcm, provider: FakeProvider
) -> None:
    error = {"code": status, "message": "device-token", "details": [{"errorCode": code}]}
    provider.mode(json.dumps({"status": status, "body": {"error": error}}))
    assert fcm.send(push()) == result


def test_without_a_token_nothing_leaves(provider: FakeProvider) -> None:
    account = json.loads(service_account(provider.url)) | {"token_uri": f"{provider.url}/push/none"}
    channel = Fcm(Account.read(json.dumps(account)), provider.url)
    result = channel.send(push())
    channel.close()
    assert isinstance(result, Refused) and result.reason == "provider_key: no token" and result.retry_after
    assert all("messages:send" not in one["path"] for one in provider.taken())


@pytest.mark.parametrize("given", ["", "{}", '{"private_key": "x"}', "/nowhere/at/all"])
def test_what_is_no_service_account_does_not_open(given: str, tmp_path: Path) -> None:
    settings = {"fcm_credentials": given}
    with pytest.raises(ConfigurationError, match="KARIBU_FCM_CREDENTIALS"):
        Fcm.open(FcmOptions(), Surroundings(tmp_path, settings.get, settings.get))


def test_only_the_browser_can_read_what_it_gets(webpush: WebPush, browser: Browser, provider: FakeProvider) -> None:
    assert webpush.send(push(to=browser.subscription)) == Accepted("msg-0000000001")
    (taken,) = provider.taken()
    assert browser.read(body(taken)) == {
        "title": "Karibu", "body": "Look around", "url": "https://duka.example/shop", "ref": "msg-0000000001",
    }  # fmt: skip
    assert b"Karibu" not in body(taken)
    headers = taken["headers"]
    assert (headers["content-encoding"], headers["ttl"], headers["urgency"]) == ("aes128gcm", "86400", "normal")
    way, _, rest = headers["authorization"].partition(" ")
    said = dict(part.strip().split("=", 1) for part in rest.split(","))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), jwt.read(said["k"]))
    claims = theirs.decode(said["t"], key, ["ES256"], audience=provider.url, options={"verify_exp": False})
    assert way == "vapid" and claims["sub"] == "mailto:it@duka.example"
    assert claims["exp"] == (AT + timedelta(hours=12)).timestamp()


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_gone(
    status: int, webpush: WebPush, browser: Browser, provider: FakeProvider
) -> None:
    provider.mode(json.dumps({"status": status}))
    assert webpush.send(push(to=browser.subscription)) == Refused("gone", ends="gone")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:1/push",
        "https://127.0.0.1/push",
        "http://fcm.googleapis.com/push",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evil.example/fcm.googleapis.com",
        "https://fcm.googleapis.com@evil.example/x",
        "https://fcm.googleapis.com:8443/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_customer_can_not_have_another_address_asked(endpoint: str, webpush: WebPush, provider: FakeProvider) -> None:
    subscription = json.loads(Browser.of("x").subscription) | {"endpoint": endpoint}
    result = webpush.send(push(to=json.dumps(subscription)))
    assert isinstance(result, Refused) and result.reason.startswith("bad_address") and result.retry_after is None


@pytest.mark.parametrize("endpoint", ["https://updates.push.services.mozilla.com/x", "https://web.push.apple.com/x"])
def test_the_push_services_of_browsers_are_known(endpoint: str, webpush: WebPush) -> None:
    assert webpush._permitted(endpoint)


@pytest.mark.parametrize(
    "to", ["", "device-token", "{}", "[]", '{"endpoint": "x", "keys": {"p256dh": "AA", "auth": "AA"}}']
)
def test_what_is_no_subscription_is_refused_for_good(to: str, webpush: WebPush) -> None:
    assert webpush.send(push(to=to)) == Refused("bad_address")


def test_a_message_that_no_push_service_takes_is_refused(webpush: WebPush, browser: Browser) -> None:
    content = Words(title="x", body="y" * 4000)
    assert webpush.send(push(to=browser.subscription, content=content)) == Refused("too_large")


@pytest.mark.parametrize(
    "settings",
    [
        {"vapid_private_key": VAPID},
        {"vapid_contact": "mailto:it@duka.example"},
        {"vapid_contact": "mailto:it@duka.example", "vapid_private_key": "short"},
        {"vapid_contact": "it@duka.example", "vapid_private_key": VAPID},
    ],
)
def test_without_its_key_and_contact_web_push_does_not_open(settings: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="KARIBU_VAPID"):
        WebPush.open(WebPushOptions(), Surroundings(tmp_path, settings.get, settings.get))
