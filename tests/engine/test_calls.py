"""`call` against real servers: what is sent, what is kept, what is tried again, and what never twice."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from engine.channels.call import HttpCaller
from engine.guarded.client import Guarded, origins
from engine.language.check import check_directory
from engine.runtime import pausing
from engine.runtime.doubts import resolve
from engine.runtime.explain import explain
from engine.runtime.outbox import latest
from engine.runtime.status import status
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.guarded.server import Behave, Server, answering, serving

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "tok-7f3a91"

JOURNEY = """enter: {{event: purchase}}
steps:
  - id: ask
    call:
      url: http://crm.example:{port}/people/{{{{ customer.id }}}}?order={{{{ entry.order_id }}}}
      method: {method}
      headers: {{Authorization: 'Bearer {{{{ secret("CRM_TOKEN") }}}}'}}
      {json}
      save: quote
      answer: {{price: money}}
    when: customer.score is not set
  - branch:
      - if: quote.price == 12.5
        then: [{{exit: quoted}}]
      - else: [{{exit: no quote}}]
"""
JSON = 'json: {name: "{{ customer.first_name }}", total: "{{ entry.total }}", note: "{{ customer.score }} points"}'

Asking = Callable[..., tuple[Shop, Server]]


@pytest.fixture
def asking(database: Database, tmp_path: Path) -> Iterator[Asking]:
    """A shop whose journey asks a server, which does as told."""
    with serving() as server:

        def open_(behave: Behave, method: str = "POST") -> tuple[Shop, Server]:
            server.behave = behave
            shop = Shop.of(tmp_path, database, {}, publish=False)
            own = JOURNEY.format(port=server.port, method=method, json=JSON if method in ("POST", "PUT") else "")
            (tmp_path / "workflows/j.yaml").write_text(f"journey: j\n{own}")
            content, problems = check_directory(tmp_path, shop.runtime.registry, None)
            assert not problems
            guard = Guarded(
                inside=origins(f"http://crm.example:{server.port}"),
                resolve=lambda host, port: ["127.0.0.1"],
                seconds=2,
            )
            caller = HttpCaller(guard, {"CRM_TOKEN": TOKEN}.get, SIGNING)
            shop.runtime.renew(content, replace(shop.runtime.post, caller=caller))
            shop.runtime.publish()
            return shop, server

        yield open_


def buys(shop: Shop, customer: str = "amina", order: str = "A1") -> None:
    shop.happens(customer, "purchase", order_id=order, total=4000)
    shop.settle()


def outcome(shop: Shop) -> list[tuple[str, str | None, int]]:
    return [tuple(row) for row in shop.rows("SELECT state, reason, attempts FROM message ORDER BY id")]


QUOTED = answering("200 OK", b'{"price": 12.5, "secret": "x"}')


def test_a_call_says_what_the_step_says_and_keeps_what_it_declares(asking: Asking) -> None:
    shop, server = asking(QUOTED)
    buys(shop, order="a/../b?c=1&d #é")
    assert server.asked[0].startswith(b"POST /people/amina?order=a%2F..%2Fb%3Fc%3D1%26d%20%23%C3%A9 HTTP/1.1\r\n")
    assert json.loads(server.body()) == {"name": "Amina", "total": 40, "note": " points"}
    headers = server.headers()
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert shop.decisions("amina")[-1] == "exit_1 quoted"
    assert shop.rows("SELECT detail FROM decision WHERE kind = 'moves' AND step = 'ask'") in (
        [('{"price":1250}',)],
        [({"price": 1250},)],
    )


def test_a_call_is_signed_so_that_a_receivers_library_finds_it_genuine(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, server = asking(QUOTED)
    buys(shop)
    headers = server.headers()
    at = shop.clock.now()
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", _At(at))
    assert Webhook(SIGNING).verify(server.body(), headers)
    assert headers["idempotency-key"] == f'"{headers["webhook-id"]}"'


class _At:
    """Stands for the library's clock: ours is virtual."""

    def __init__(self, at: object) -> None:
        self._at = at

    def now(self, tz: object = None) -> object:
        return self._at

    def __getattr__(self, name: str) -> object:
        import datetime

        return getattr(datetime.datetime, name)


def test_secrets_and_answers_stand_in_no_row_and_no_log(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shop, _ = asking(answering("401 Unauthorized", b'{"you": "amina@shop.example"}'))
    buys(shop)
    with shop.runtime.database.read() as connection:
        told = latest(connection, 10)
    assert [(one.state, one.channel) for one in told] == [("queued", "call:crm.example")]
    everything = caplog.text + repr(told) + repr(shop.rows("SELECT source FROM journey_version"))
    for row in ("message", "decision", "enrolment", "mark"):
        everything += repr(shop.rows(f"SELECT * FROM {row}"))
    assert TOKEN not in everything and "you" not in caplog.text


@pytest.mark.parametrize("status", ["429 Too Many Requests", "408 Request Timeout", "401 Unauthorized"])
def test_what_certainly_was_not_done_is_asked_again_under_the_same_key(asking: Asking, status: str) -> None:
    shop, server = asking(answering(status, b"", "Retry-After: 30"))
    buys(shop)
    first = server.headers()["idempotency-key"]
    server.behave = QUOTED
    shop.later(minutes=20)
    assert [server.headers(n)["idempotency-key"] for n in range(2)] == [first, first]
    assert outcome(shop) == [("accepted", None, 2)]
    assert shop.decisions("amina")[-1] == "exit_1 quoted"


@pytest.mark.parametrize("status", ["404 Not Found", "302 Found", "400 Bad Request"])
def test_a_no_for_good_is_not_asked_again(asking: Asking, status: str) -> None:
    shop, server = asking(answering(status, b""))
    buys(shop)
    shop.later(days=1)
    assert len(server.asked) == 1
    assert outcome(shop) == [("refused", f"answer: {status[:3]}", 1)]
    assert shop.decisions("amina")[-1] == "exit_2 no quote"


def hang_up(connection: socket.socket, asked: bytes) -> None:
    """They take the question and say nothing."""


@pytest.mark.parametrize("behave", [answering("503 Unavailable", b""), hang_up], ids=["503", "hang up"])
def test_a_post_that_may_have_arrived_is_never_asked_again_by_itself(asking: Asking, behave: Behave) -> None:
    shop, server = asking(behave)
    buys(shop)
    for _ in range(5):
        shop.later(hours=6)
        shop.runtime.recover()
    assert len(server.asked) == 1
    assert outcome(shop)[0][0] == "in_doubt"
    assert shop.decisions("amina")[-1] == "exit_2 no quote"


def test_a_person_may_let_a_post_in_doubt_be_asked_once_more_under_the_same_key(asking: Asking) -> None:
    shop, server = asking(hang_up)
    buys(shop)
    with shop.runtime.database.write() as connection:
        ref = latest(connection, 1, in_doubt=True)[0].ref
        assert resolve(connection, ref, "again", "they lost it", shop.clock.now())
    server.behave = QUOTED
    shop.later(minutes=1)
    assert len({server.headers(n)["idempotency-key"] for n in range(2)}) == 1
    assert outcome(shop)[0][0] == "accepted"
    runtime = shop.runtime
    with runtime.database.read() as connection:
        told = explain(connection, runtime.content, runtime.registry, "amina", shop.clock.now()).stories[0].ways[0]
    words = [line.words for line in told.lines]
    assert any(line.endswith("it was asked once more") for line in words)
    assert any(line.endswith("it is asked once more, because they lost it") for line in words)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_may_be_repeated_is_asked_again_when_nobody_knows_whether_it_arrived(asking: Asking, method: str) -> None:
    shop, server = asking(hang_up, method)
    buys(shop)
    server.behave = QUOTED
    shop.later(minutes=2)
    assert len(server.asked) == 2
    assert outcome(shop) == [("accepted", None, 2)]
    assert shop.decisions("amina")[-1] == "exit_1 quoted"


@pytest.mark.parametrize(("method", "state", "asked"), [("POST", "in_doubt", 0), ("GET", "accepted", 1)])
def test_a_crash_after_a_call_was_marked_as_leaving_repeats_a_get_and_no_post(
    asking: Asking, method: str, state: str, asked: int
) -> None:
    shop, server = asking(QUOTED, method)
    with shop.runtime.database.write() as connection:
        pausing.pause(connection, "j", shop.clock.now())
    buys(shop)
    with shop.runtime.database.write() as connection:  # as the dead engine left it
        connection.exec_driver_sql("UPDATE message SET state = 'dispatching', fence = 1, lease_until = 1")
        pausing.resume(connection, "j")
    shop.runtime.recover()
    shop.later(minutes=1)
    assert (len(server.asked), outcome(shop)[0][0]) == (asked, state)


def test_a_pause_holds_calls_and_an_exit_stops_them(asking: Asking, database: Database) -> None:
    shop, server = asking(QUOTED)
    with database.write() as connection:
        pausing.pause(connection, pausing.ALL, shop.clock.now())
    buys(shop)
    assert not server.asked
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE enrolment SET state = 'ended', outcome = 'stopped', due_at = NULL")
        pausing.resume(connection, pausing.ALL)
    shop.later(minutes=1)
    assert not server.asked
    assert outcome(shop) == [("stopped", "left_journey", 1)]


def test_what_when_says_by_the_time_of_the_call_holds(asking: Asking, database: Database) -> None:
    shop, server = asking(QUOTED)
    with database.write() as connection:
        pausing.pause(connection, "j", shop.clock.now())
    buys(shop)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE customer SET attributes = '{\"score\": 7}'")
        pausing.resume(connection, "j")
    shop.later(minutes=1)
    assert not server.asked
    assert outcome(shop) == [("stopped", "when", 1)]


def test_calls_count_as_no_messages(asking: Asking, database: Database) -> None:
    shop, _ = asking(QUOTED)
    buys(shop)
    with database.read() as connection:
        told = status(connection, shop.runtime.content, shop.runtime.registry, shop.clock.now())
    assert [(one.entered, one.sent) for one in told.journeys] == [(1, 0)]


def test_a_host_that_does_not_answer_is_left_alone_and_others_are_not(asking: Asking) -> None:
    shop, server = asking(answering("429 Too Many Requests", b""))
    for n in range(12):
        shop.happens(f"c{n}", "purchase", order_id=f"o{n}", total=1)
    shop.settle()
    assert len(server.asked) < 12
    assert shop.runtime.post.silent("call:crm.example", shop.clock.now())
    assert not shop.runtime.post.silent("call:other.example", shop.clock.now())


def test_a_missing_secret_holds_the_call_until_somebody_has_set_it(asking: Asking) -> None:
    shop, server = asking(QUOTED)
    caller = shop.runtime.post.caller
    assert isinstance(caller, HttpCaller)
    known, caller._secret = caller._secret, lambda name: None
    buys(shop)
    assert not server.asked
    caller._secret = known
    shop.later(minutes=13)
    assert outcome(shop) == [("accepted", None, 2)]


def test_an_inside_host_is_refused_for_good_and_the_reason_names_no_address(asking: Asking) -> None:
    shop, server = asking(QUOTED)
    guard = Guarded(resolve=lambda host, port: ["127.0.0.1"])
    shop.runtime.renew(
        shop.runtime.content, replace(shop.runtime.post, caller=HttpCaller(guard, {"CRM_TOKEN": TOKEN}.get))
    )
    buys(shop)
    shop.later(days=1)
    assert not server.came
    assert outcome(shop) == [("refused", "only https:// is asked", 1)]


def test_an_engine_that_calls_holds_its_messages_when_its_database_is_old(asking: Asking) -> None:
    shop, _ = asking(QUOTED)
    shop.runtime.awake()
    with shop.runtime.database.write() as connection:
        pausing.pause(connection, "j", shop.clock.now())
    buys(shop)
    shop.clock.advance_to(shop.clock.now() + timedelta(hours=2))
    assert shop.runtime.awake(starting=True) is not None
