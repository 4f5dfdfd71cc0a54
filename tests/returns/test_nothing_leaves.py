"""Beside the fake provider nothing leaves the machine, whatever project.yaml and the settings say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.app import App
from engine.channels.base import Accepted, ConfigurationError, Refused, Request
from engine.channels.maildir import Maildir
from engine.channels.sendgrid import SendGrid
from engine.channels.telegram import Telegram
from engine.channels.twilio import Twilio
from engine.runtime.clock import SystemClock
from engine.settings import Settings
from tests.channels.conftest import PUSH, Words, fake, outgoing
from tests.engine.shop import PROJECT

OWN = (
    "channels: {email: {provider: smtp}, sms: {provider: webhook}, whatsapp: {provider: twilio}, "
    "telegram: {provider: telegram}, push: {provider: fcm}}\n"
)
SHOP = PROJECT.replace("channels: {email: {provider: maildir}, sms: {provider: maildir}}\n", OWN).replace(
    "team: {shop: team@duka.example}", "team: {ops: apprise}"
)
HERE = "http://127.0.0.1:9"
FAKE = {
    "sendgrid_base_url": HERE,
    "sendgrid_api_key": "SG.fake",
    "twilio_base_url": HERE,
    "twilio_account_sid": "ACfake",
    "twilio_auth_token": "fake",
    "twilio_from": "+15550001111",
    "telegram_base_url": HERE,
    "telegram_token": "1:fake",
}


@pytest.fixture
def opened(project: Callable[..., Path]) -> Callable[..., App]:
    """Makes the program of a shop whose own channels all lead to the world, with the fake provider instead."""
    root = project({"workflows/project.yaml": SHOP})
    return lambda **more: App(Settings.of(root, provider="fake", **{**FAKE, **more}), SystemClock())


def test_every_channel_speaks_with_the_fake_provider_or_writes_files(opened: Callable[..., App]) -> None:
    app = opened()
    assert {name: type(channel) for name, channel in app.channels.items()} == {
        "email": SendGrid,
        "sms": Twilio,
        "whatsapp": Twilio,
        "telegram": Telegram,
        "push": Maildir,
        "team": Maildir,
    }
    app.close()


def test_a_push_message_and_a_notice_become_files(
    opened: Callable[..., App], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake("fake_http", tmp_path) as world:
        monkeypatch.setenv("KARIBU_TEAM_OPS", f"json://127.0.0.1:{world.port}/notices")
        app = opened(fcm_base_url=world.url)
        for channel, to, content in (("push", "device", PUSH), ("team", "ops", Words(text="A purchase"))):
            message = outgoing(channel=channel, to=to, content=content)
            assert isinstance(app.channels[channel].send(message), Accepted)
            (file,) = (app.settings.mail / channel).iterdir()
            assert json.loads(file.read_text())["to"] == to
        app.close()
        assert world.taken() == []


def test_a_call_asks_this_machine_and_no_other(opened: Callable[..., App], tmp_path: Path) -> None:
    def call(url: str) -> Any:
        return outgoing(request=Request("POST", url, (), b"{}", "key-1", False))

    with fake("fake_http", tmp_path) as here:
        inside = f"{here.url}, http://crm.internal:8080"
        caller = opened(inside_origins=inside).caller
        assert isinstance(caller.send(call(f"{here.url}/crm")), Accepted)
        assert len(here.taken()) == 1
        for away in (
            "https://crm.example/",
            "http://crm.internal:8080/",
            "https://localhost.example/",
            "https://10.0.0.1/",
        ):
            assert caller.send(call(away)) == Refused("fake provider: only this machine is asked"), away
        for none in ("http://2130706433/", "https://a@127.0.0.1/", "ftp://127.0.0.1/", "https://127.0.0.1:444/"):
            result = caller.send(call(none))
            assert isinstance(result, Refused) and result.retry_after is None, none
        assert len(here.taken()) == 1


@pytest.mark.parametrize("base", ["https://api.sendgrid.com", "http://127.0.0.1.example", "", "http://10.0.0.1"])
def test_a_provider_that_is_said_to_be_fake_and_lies_elsewhere_is_not_opened(
    base: str, opened: Callable[..., App]
) -> None:
    with pytest.raises(ConfigurationError, match="KARIBU_SENDGRID_BASE_URL leads away"):
        _ = opened(sendgrid_base_url=base).channels
