"""The service as a whole: a process of its own, real HTTP, the database and the files it leaves."""

from __future__ import annotations

import json
import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy import func, select

from engine.app import App
from engine.runtime import versions
from engine.runtime.clock import SystemClock
from engine.runtime.keys import Scope
from engine.service import Refused, check_bind
from engine.settings import Settings
from engine.store.tables import consent, customer, event, tally
from tests.cli.session import karibu
from tests.patience import PATIENCE, eventually
from tests.scenarios.shop import PROJECT
from tests.web.conftest import KEY, Service, Start
from tests.web.test_keys import made, revoked

pytestmark = pytest.mark.slow

AMINA = {"id": "amina", "email": "amina@shop.example", "consent": ["email/offers"]}
SIGNED_UP = {"event": "signed_up", "customer": AMINA}


def count(service: Service, table: Any) -> int:
    app = service.app()
    with app.database.read() as connection:
        found = connection.scalar(select(func.count()).select_from(table))
    app.close()
    return int(found or 0)


@pytest.mark.parametrize("kind", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def test_an_event_becomes_a_mail(start: Start, kind: str, request: pytest.FixtureRequest) -> None:
    service = start(request.getfixturevalue(kind))
    answer = service.post(SIGNED_UP | {"key": "s-1"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0})
    eventually(lambda: len(service.mails()) == 1)
    assert b"List-Unsubscribe" in service.mails()[0].read_bytes()
    status = service.client().get("/v1/status").json()
    assert [one["journey"] for one in status["journeys"]] == ["hello", "order"]
    assert service.stop() == 0


def test_sent_again_it_counts_once_and_with_another_body_it_is_a_conflict(start: Start) -> None:
    service = start()
    bought = {"event": "purchase", "customer": "amina", "key": "o-1", "properties": {"total": 5, "order_id": "o-1"}}
    assert service.post(bought).status_code == 202
    assert service.post(bought).json() == {"accepted": 0, "duplicates": 1}
    other = bought | {"properties": {"total": 6, "order_id": "o-1"}}
    answer = service.post(other)
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["path"] == "key"
    mixed = service.post([bought, other, bought | {"key": "o-2"}, {"event": "purchase"}])
    assert mixed.status_code == 202
    assert (mixed.json()["accepted"], mixed.json()["duplicates"]) == (1, 1)
    assert [(one["index"], one["path"]) for one in mixed.json()["errors"]] == [(1, "key"), (3, "customer")]
    app = service.app()
    with app.database.read() as connection:
        assert connection.execute(select(tally.c.count, tally.c.total)).all() == [(2, 1000)]
    app.close()


def test_one_key_twice_in_one_request_is_one_event(start: Start) -> None:
    service = start()
    one = SIGNED_UP | {"key": "s-1"}
    assert service.post([one, one, one | {"customer": "baraka"}]).json() == {
        "accepted": 1,
        "duplicates": 1,
        "errors": [
            {
                "index": 2,
                "path": "key",
                "message": "another event has this key",
                "hint": "a key names one event for ever",
            }
        ],
    }


def test_without_the_key_nothing_is_told_or_taken(start: Start) -> None:
    service = start()
    shown: list[dict[str, Any]] = [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY[:-1]},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": "ключ".encode()},
    ]
    client = service.client(None)
    for headers in shown:
        for method, path in (("POST", "/v1/events"), ("GET", "/v1/status")):
            answer = client.request(method, path, content=b"{}", headers=headers)
            assert answer.status_code == 401, (headers, path)
            assert answer.json() == {"error": "an API key is needed"}
    raw = httpx2.post(f"{service.url}/v1/events", json=SIGNED_UP, headers={"X-API-Key": KEY}, trust_env=False)
    assert raw.status_code == 202
    for path in ("/", "/docs", "/openapi.json", "/v1", "/v1/customers"):
        assert service.client(None).get(path).status_code in (401, 404)
    assert service.client().get("/v1/events").status_code == 405


def test_a_body_that_is_too_large_is_refused_before_it_is_read(start: Start) -> None:
    service = start()
    client = service.client()
    large = b"[" + b" " * (3 * 1024 * 1024) + b"]"
    assert client.post("/v1/events", content=large).status_code == 413

    def drip() -> Any:
        for _ in range(48):
            yield b" " * 65_536

    assert client.post("/v1/events", content=drip()).status_code == 413
    assert client.post("/v1/events", content=b"{nonsense").status_code == 400


def test_many_at_once_are_taken_together_and_each_is_answered(start: Start) -> None:
    service = start()
    client = service.client()

    def send(n: int) -> int:
        body = {"event": "purchase", "customer": f"c{n % 20}", "key": f"o-{n}", "properties": {"total": 1}}
        return client.post("/v1/events", json=body).status_code

    with ThreadPoolExecutor(32) as pool:
        assert Counter(pool.map(send, range(300))) == {202: 300}
    assert count(service, event) == 300
    assert count(service, customer) == 20


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told_and_loses_nothing_it_has_answered(start: Start, how: signal.Signals) -> None:
    service = start()
    client = service.client()
    answered: list[int] = []

    def send(n: int) -> None:
        body = {"event": "purchase", "customer": f"c{n}", "key": f"o-{n}", "properties": {"total": 1}}
        try:
            if client.post("/v1/events", json=body).status_code == 202:
                answered.append(n)
        except httpx2.TransportError:
            pass
        if n == 60:
            service.process.send_signal(how)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(200)))
    assert service.process.wait(PATIENCE) == 0, service.log.read_text()
    assert count(service, event) >= len(answered) >= 50


def test_killed_it_loses_nothing_it_has_answered_and_goes_on(start: Start) -> None:
    service = start()
    client = service.client()
    answered = 0
    with pytest.raises(httpx2.TransportError):
        for n in range(100):
            body = {"event": "signed_up", "customer": {**AMINA, "id": f"c{n}"}, "key": f"s-{n}"}
            answered += client.post("/v1/events", json=body).status_code == 202
            if n == 30:
                service.process.kill()
    service.process.wait()
    assert count(service, event) >= answered >= 30
    again = start(publish=False)
    eventually(lambda: len(again.mails()) == count(again, event))


def test_the_unsubscribe_link_of_a_mail_ends_the_topic(start: Start) -> None:
    service = start()
    service.post(SIGNED_UP)
    eventually(lambda: len(service.mails()) == 1)
    mail = service.mails()[0].read_text()
    path = mail.split("List-Unsubscribe: <")[1].split(">")[0].replace("\n", "").split("/u/")[1]
    client = service.client(None)
    assert client.get(f"/u/{path}").status_code == 200
    assert _consents(service) == ["on"]
    one_click = {"List-Unsubscribe": "One-Click"}
    assert client.post(f"/u/{path}", data=one_click).status_code == 200
    assert _consents(service) == ["off"]
    assert client.post(f"/u/{path}x", data=one_click).status_code == 404


def _consents(service: Service) -> list[str]:
    app = service.app()
    with app.database.read() as connection:
        found = list(connection.scalars(select(consent.c.state)))
    app.close()
    return found


def test_what_is_published_meanwhile_is_taken_up(start: Start) -> None:
    service = start()
    project = (service.root / "workflows/project.yaml").read_text()
    changed = project.replace("  closed: {}\n", "  closed: {}\n  returned: {properties: {why: text}}\n")
    (service.root / "workflows/project.yaml").write_text(changed)
    (service.root / "workflows/sorry.yaml").write_text(
        "journey: sorry\ntopic: offers\nenter: {event: returned, where: 'entry.why == \"broken\"'}\nsteps: [{send: email/b}]\n"
    )
    app = service.app()
    app.runtime.publish()
    body = {"event": "returned", "customer": AMINA, "properties": {"why": "broken"}}

    def sorry() -> bool:
        service.post(body)
        return len(service.mails()) > 0

    eventually(sorry)
    # Files that can't be read, and another publishing: the clock goes on, with what was read last.
    (service.root / "workflows/project.yaml").write_text("brand: [")
    app.runtime.publish()
    with app.database.write() as connection:
        versions.stop(connection, "hello")
    eventually(lambda: "the old one stays" in service.log.read_text())
    before = len(service.mails())
    eventually(lambda: service.post(body).status_code == 202 and len(service.mails()) >= before)
    assert service.client(None).get("/healthz").status_code == 200


def test_it_listens_to_the_world_only_with_a_key_that_somebody_chose(start: Start) -> None:
    for settings, said in (
        ({"KARIBU_API_KEY": ""}, "no API key is set or made"),
        ({"KARIBU_API_KEY": "short"}, "fewer than 16"),
    ):
        service = start(wait=False, KARIBU_HOST="0.0.0.0", **settings)
        assert service.process.wait(PATIENCE) == 2
        assert said in service.log.read_text()
        assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize("kind", ["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def test_it_listens_to_the_world_when_somebody_has_made_a_key_to_send_with(
    project: Callable[..., Path], kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)
    app = App(
        Settings.of(project({"workflows/project.yaml": PROJECT}), database_url=url, host="0.0.0.0"), SystemClock()
    )
    for scope, browser in (("read", False), ("write", True)):
        made(app.database, cast(Scope, scope), browser=browser)
        with pytest.raises(Refused, match="no API key is set or made") as refused:
            check_bind(app)
        assert "karibu key create" in refused.value.hint
    key = made(app.database, "write")
    check_bind(app)
    revoked(app.database, key.prefix)
    with pytest.raises(Refused):
        check_bind(app)
    made(app.database, "admin")
    check_bind(app)
    short = App(Settings.of(app.settings.root, database_url=url, host="0.0.0.0", api_key="short"), SystemClock())
    with pytest.raises(Refused, match="fewer than 16"):  # it would still open everything
        check_bind(short)
    app.close()


def test_keys_are_made_and_revoked_while_it_runs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start()
    monkeypatch.setenv("KARIBU_DATABASE_URL", service.url_of_database)

    def key(*arguments: str) -> str:
        ran = karibu("-C", str(service.root), "key", *arguments)
        assert ran.code == 0, ran.err
        return ran.out.strip()

    old, new = key("create", "shop"), key("create", "shop")

    def answers(text: str, path: str = "/v1/events") -> int:
        return service.client(text).post(path, json=SIGNED_UP).status_code

    eventually(lambda: (answers(old), answers(new)) == (202, 202))
    assert service.client(old).get("/v1/status").status_code == 403
    key("revoke", old.split("_")[1])
    eventually(lambda: answers(old) == 401)
    assert answers(new) == 202
    assert not any(text.split("_")[2] in service.log.read_text() for text in (old, new))


def test_two_services_share_no_sqlite_file_and_no_port(start: Start) -> None:
    service = start()
    second = start(publish=False, wait=False)
    assert second.process.wait(PATIENCE) == 2
    assert "another karibu up" in second.log.read_text()
    taken = start(publish=False, wait=False, KARIBU_PORT=service.url.rpartition(":")[2])
    assert taken.process.wait(PATIENCE) == 2
    assert "nothing can listen" in taken.log.read_text()


def test_a_database_that_is_away_is_no_false_promise(start: Start, postgres_url: str, postgres: Any) -> None:
    service = start(postgres_url)
    name = postgres_url.split("?")[0].rpartition("/")[2]
    postgres._run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    answer = service.post(SIGNED_UP | {"key": "s-1"})
    assert answer.status_code == 503
    assert "amina" not in answer.text
    # Nor where somebody had to be introduced first.
    two_names = {"event": "closed", "customer": {"id": "amina", "anonymous_id": "b"}}
    assert service.post(two_names).status_code == 503
    line = json.dumps(two_names).encode()
    stream = service.client().post("/v1/events", content=line, headers={"Content-Type": "application/x-ndjson"})
    assert (stream.status_code, stream.json()["durable_lines"]) == (503, 0)
    assert service.client(None).get("/healthz").status_code == 503
    postgres._run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    eventually(lambda: service.post(SIGNED_UP | {"key": "s-1"}).status_code == 202)
    eventually(lambda: len(service.mails()) == 1)


def test_prefects_server_lives_and_dies_with_it_and_its_page_shows_the_runs(start: Start) -> None:
    service = start(KARIBU_PREFECT_API_URL="", KARIBU_PREFECT_PORT=str(_free_port()))
    client = service.client()

    def prefect() -> dict[str, Any]:
        found: dict[str, Any] = client.get("/v1/status").json()["prefect"]
        return found

    eventually(lambda: prefect()["up"])
    url = prefect()["url"]

    def runs() -> list[Any]:
        filter_ = {"flows": {"name": {"any_": ["hello"]}}}
        found: list[Any] = httpx2.post(
            f"{url}/api/flow_runs/filter", json=filter_, trust_env=False, timeout=PATIENCE
        ).json()
        return found

    def shown() -> bool:
        service.post(SIGNED_UP | {"customer": AMINA | {"id": f"c{len(service.mails())}"}})
        return bool(runs())

    eventually(shown)
    assert "amina" not in str(runs())
    assert service.stop() == 0
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}/api/health", trust_env=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
