"""Messages through Telegram's bot, as its API documents them, and its errors in our words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.channels.base import Accepted, ConfigurationError, InDoubt, Outgoing, Refused, Result, Surroundings
from engine.channels.posting import Request
from engine.channels.telegram import Telegram, TelegramOptions
from engine.fake.behaviour import change
from engine.fake.child import Running, running
from engine.fake.ledger import taken
from tests.channels.conftest import SMS, FakeProvider, Words, body, fake, outgoing
from tests.patience import PATIENCE, eventually

TOKEN = "123:token"
CHAT = "123456789"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[FakeProvider]:
    with fake("fake_http", tmp_path) as running:
        yield running


@pytest.fixture
def channel(provider: FakeProvider) -> Iterator[Telegram]:
    channel = Telegram(TOKEN, provider.url, TelegramOptions().model_copy(update={"timeout": PATIENCE}))
    yield channel
    channel.close()


def text(**changes: Any) -> Outgoing:
    return outgoing(**{"channel": "telegram", "to": CHAT, "content": SMS, **changes})


def test_a_text_arrives_as_documented(channel: Telegram, provider: FakeProvider) -> None:
    assert channel.send(text()) == Accepted("1")
    (one,) = provider.taken()
    assert one["path"] == "/bot123:token/sendMessage"
    assert json.loads(body(one)) == {
        "chat_id": 123456789,
        "text": "Karibu, Amina",
        "link_preview_options": {"is_disabled": True},
    }


def test_a_preview_is_shown_where_it_is_wanted(provider: FakeProvider) -> None:
    channel = Telegram(TOKEN, provider.url, TelegramOptions(preview=True))
    channel.send(text())
    channel.close()
    assert json.loads(body(provider.taken()[0]))["link_preview_options"] == {"is_disabled": False}


@pytest.mark.parametrize(
    ("status", "told", "result"),
    [
        (403, "Forbidden: bot was blocked by the user", Refused("stop", ends="stop")),
        (403, "Forbidden: bot can't initiate conversation with a user", Refused("stop", ends="stop")),
        (403, "Forbidden: user is deactivated", Refused("gone", ends="gone")),
        (403, "Forbidden: bot can't send messages to bots", Refused("provider: 403")),
        (400, "Bad Request: chat not found", Refused("bad_address")),
        (400, "Bad Request: can't parse 123456789", Refused("provider: 400")),
        (401, "Unauthorized", Refused("provider_key: 401", timedelta(minutes=10))),
        (404, "Not Found", Refused("provider_key: 404", timedelta(minutes=10))),
        (429, "Too Many Requests: retry after 7", Refused("rate_limited", timedelta(seconds=30))),
        (500, "Internal Server Error", InDoubt("provider: 500")),
        (502, "Bad Gateway", InDoubt("provider: 502")),
    ],
)
def test_their_errors_in_our_words(
    status: int, told: str, result: Result, channel: Telegram, provider: FakeProvider
) -> None:
    answer = {"ok": False, "error_code": status, "description": told}
    provider.mode(json.dumps({"status": status, "body": answer}))
    assert channel.send(text()) == result
    assert provider.taken() == []


def test_it_waits_as_long_as_they_ask(channel: Telegram, provider: FakeProvider) -> None:
    answer = {"ok": False, "error_code": 429, "description": "x", "parameters": {"retry_after": 41}}
    provider.mode(json.dumps({"status": 429, "body": answer}))
    assert channel.send(text()) == Refused("rate_limited", timedelta(seconds=41))
    answer["parameters"] = {"retry_after": 10**12}
    provider.mode(json.dumps({"status": 429, "body": answer}))
    assert channel.send(text()) == Refused("rate_limited", timedelta(seconds=30)), "no sense: the usual wait"


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503},
        {"status": 200, "body": "x"},
        {"status": 200, "body": {"ok": True, "result": {}}},
        {"status": 200, "body": {"ok": False, "result": {"message_id": 7}}},
    ],
)
def test_an_answer_that_tells_nothing_is_in_doubt(answer: Any, channel: Telegram, provider: FakeProvider) -> None:
    provider.mode(json.dumps(answer))
    assert isinstance(channel.send(text()), InDoubt)


def test_an_answer_that_comes_in_pieces_is_read_to_its_end(channel: Telegram, provider: FakeProvider) -> None:
    answer = {"status": 200, "body": {"ok": True, "result": {"message_id": 77}}, "pieces": True}
    provider.mode(json.dumps(answer))
    assert channel.send(text()) == Accepted("77")


@pytest.mark.parametrize(("mode", "taken"), [("hang", 1), ("take-reset", 1), ("reset", 0)])
def test_a_silence_is_in_doubt(mode: str, taken: int, provider: FakeProvider) -> None:
    channel = Telegram(TOKEN, provider.url, TelegramOptions(timeout=2 if mode == "hang" else 60))
    provider.mode(mode)
    assert isinstance(channel.send(text()), InDoubt)
    channel.close()
    eventually(lambda: len(provider.taken()) == taken)


def test_what_could_not_be_sent_is_refused_before_it_leaves(channel: Telegram, provider: FakeProvider) -> None:
    for wrong in ("", "@duka", "-1001234", "12 34", "0"):
        assert channel.send(text(to=wrong)) == Refused("bad_address")
    assert channel.send(text(content=Words(text=" \n"))) == Refused("content: there is no text")
    assert channel.send(text(content=Words(text="x" * 4097))) == Refused("content: the text is too long")
    assert provider.taken() == []
    assert isinstance(channel.send(text(content=Words(text="Ա" * 4096))), Accepted)


def test_the_token_is_in_no_result_log_or_error(provider: FakeProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "424242:very-secret"
    results: list[Result] = []
    for mode in ("", "hang", "take-reset", "reset", json.dumps({"status": 404, "body": {"description": secret}})):
        provider.mode(mode)
        channel = Telegram(secret, provider.url, TelegramOptions(timeout=1))
        results.append(channel.send(text()))
        assert secret not in repr(channel) and secret not in repr(channel._request(text()))
        channel.close()
    nowhere = Telegram(secret, "http://127.0.0.1:1", TelegramOptions(timeout=5))
    unreachable = nowhere.send(text())
    nowhere.close()
    assert unreachable == Refused("unreachable", timedelta(seconds=30))
    broken = Telegram(secret, "http://[", TelegramOptions(timeout=5))
    results.append(broken.send(text()))
    broken.close()
    assert len(results) == 6 and secret not in repr(results) and "very-secret" not in caplog.text
    assert "very-secret" not in repr(Request(f"https://x/bot{secret}/sendMessage", b""))


def test_without_a_token_it_does_not_open_and_does_not_quote_a_wrong_one(tmp_path: Path) -> None:
    for token in (None, "", "no token", "12:a/b", "12:a\nb"):
        given = {} if token is None else {"telegram_token": token}
        with pytest.raises(ConfigurationError, match="KARIBU_TELEGRAM_TOKEN") as told:
            Telegram.open(TelegramOptions(), Surroundings(tmp_path, given.get, given.get))
        assert not token or token not in str(told.value)


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "provider") as made:
        yield made


@pytest.mark.parametrize(
    ("mode", "kind", "count"),
    [
        ("accept", Accepted, 1),
        ("429", Refused, 0),
        ("401", Refused, 0),
        ("400", Refused, 0),
        ("500", InDoubt, 0),
        ("accept-500", InDoubt, 1),
        ("accept-reset", InDoubt, 1),
        ("reset", InDoubt, 0),
    ],
)
def test_the_fake_provider_takes_what_it_says(mode: str, kind: type, count: int, bot: Running) -> None:
    change(bot.directory, mode=mode)
    channel = Telegram("1:fake", bot.url, TelegramOptions(timeout=60))
    assert isinstance(channel.send(text()), kind)
    channel.close()
    assert [one["chat_id"] for one in taken(bot.directory, "telegram")] == [123456789] * count


def test_the_fake_provider_knows_who_is_not_there(bot: Running) -> None:
    channel = Telegram("1:fake", bot.url, TelegramOptions(timeout=60))
    assert channel.send(text(to="120000")) == Refused("bad_address")
    assert channel.send(text(to="124030")) == Refused("stop", ends="stop")
    change(bot.directory, mode="429")
    assert channel.send(text()) == Refused("rate_limited", timedelta(seconds=7))
    channel.close()
    other = Telegram("2:other", bot.url, TelegramOptions(timeout=60))
    assert other.send(text()) == Refused("provider_key: 401", timedelta(minutes=10))
    other.close()
