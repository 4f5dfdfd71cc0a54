"""Signed webhooks outward, read by the reference library; and notices by chat."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Reference
from standardwebhooks.webhooks import WebhookVerificationError

from engine.channels.apprise import Apprise
from engine.channels.base import Accepted, ChannelOptions, ConfigurationError, InDoubt, Refused, Surroundings
from engine.channels.webhook import Webhook, WebhookOptions, key_of
from tests.channels.conftest import SMS, body, fake, outgoing
from tests.channels.pushed import SECRET


def test_the_reference_library_believes_what_we_sign_and_nothing_else(tmp_path: Path) -> None:
    with fake("fake_http", tmp_path) as provider:
        channel = Webhook(f"{provider.url}/inbox", key_of(SECRET))
        now = datetime.now(UTC)  # the library looks at the machine's clock
        message = outgoing(channel="sms", to="+254700000001", content=SMS, at=now)
        assert channel.send(message) == Accepted("msg-0000000001")
        channel.close()
        (taken,) = provider.taken()
    said = Reference(SECRET).verify(body(taken), taken["headers"])
    assert said["type"] == "message.sms" and said["data"]["text"] == "Karibu, Amina"
    assert taken["headers"]["webhook-id"] == said["data"]["id"] == "msg-0000000001"
    for headers, raw in (
        (taken["headers"], body(taken).replace(b"Amina", b"Baraka")),
        (taken["headers"] | {"webhook-id": "msg-2"}, body(taken)),
        (taken["headers"] | {"webhook-timestamp": str(int(now.timestamp()) + 1)}, body(taken)),
    ):
        with pytest.raises(WebhookVerificationError):
            Reference(SECRET).verify(raw, headers)


@pytest.mark.parametrize(("status", "kind"), [(500, InDoubt), (410, Refused), (302, Refused), (429, Refused)])
def test_their_answers_mean_what_they_mean_everywhere(status: int, kind: type, tmp_path: Path) -> None:
    with fake("fake_http", tmp_path) as provider:
        provider.mode(json.dumps({"status": status, "headers": {"Location": provider.url}}))
        channel = Webhook(f"{provider.url}/inbox", key_of(SECRET))
        assert isinstance(channel.send(outgoing()), kind)
        channel.close()
        assert provider.taken() == []


@pytest.mark.parametrize(
    ("url", "secret", "word"),
    [
        ("", SECRET, "KARIBU_WEBHOOK_URL"),
        ("ftp://duka.example", SECRET, "KARIBU_WEBHOOK_URL"),
        ("http://duka.example/in", SECRET, "https://"),
        ("https://duka.example/in", "", "KARIBU_WEBHOOK_SECRET"),
        ("https://duka.example/in", "whsec_c2hvcnQ=", "KARIBU_WEBHOOK_SECRET"),
        ("https://duka.example/in", "whsec_!", "KARIBU_WEBHOOK_SECRET"),
    ],
)
def test_what_is_set_wrongly_is_told_at_the_start(url: str, secret: str, word: str, tmp_path: Path) -> None:
    settings = {"webhook_url": url, "webhook_secret": secret}
    with pytest.raises(ConfigurationError, match=word):
        Webhook.open(WebhookOptions(), Surroundings(tmp_path, settings.get, settings.get))


def test_the_team_is_told_by_chat(tmp_path: Path) -> None:
    with fake("fake_http", tmp_path) as provider:
        settings = {"team_ops": f"json://127.0.0.1:{provider.port}/notices"}
        channel = Apprise.open(ChannelOptions(), Surroundings(tmp_path, settings.get))
        assert isinstance(channel.send(outgoing(channel="team", to="ops")), Accepted)
        (taken,) = provider.taken()
        assert taken["path"] == "/notices" and "Habari, Amina" in json.loads(body(taken))["message"]
        provider.mode(json.dumps({"status": 500}))
        assert isinstance(channel.send(outgoing(channel="team", to="ops")), InDoubt)
        refused = channel.send(outgoing(channel="team", to="nobody"))
        assert isinstance(refused, Refused) and "KARIBU_TEAM_NOBODY" in refused.reason


def test_a_notice_is_not_led_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    with fake("fake_http", tmp_path / "one") as provider, fake("fake_http", tmp_path / "other") as elsewhere:
        settings = {"team_ops": f"json://127.0.0.1:{provider.port}/notices"}
        channel = Apprise.open(ChannelOptions(), Surroundings(tmp_path, settings.get))
        provider.mode(json.dumps({"status": 307, "headers": {"Location": f"{elsewhere.url}/notices"}}))
        assert isinstance(channel.send(outgoing(channel="team", to="ops")), InDoubt)
        assert elsewhere.taken() == []
