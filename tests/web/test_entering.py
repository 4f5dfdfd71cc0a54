"""Customers are let into a journey by hand over HTTP: as `karibu enter` does, and for one cause never twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from engine.app import App
from engine.runtime import versions
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.store.database import DatabaseError
from engine.store.tables import customer, enrolment
from engine.web import journeys, openapi_journeys
from engine.web.api import build
from engine.web.intake import Intake
from engine.web.room import LEAST
from engine.web.site import Site
from tests.patience import eventually
from tests.scenarios.shop import FILES, PROJECT
from tests.web.asking import Answer, ask, asked
from tests.web.conftest import JOURNEYS, Start, app_of

BY_HAND = {
    "recall": "enter: {manual: true}",
    "often": "enter: {manual: true, again: always}",
    "gold": 'enter: {manual: true, audience: customer.tier == "gold"}',
    "few": "enter: {manual: true, limit: {at_most: 1, per: day, over: wait}}",
    "measured": "holdout: 100%\nenter: {manual: true}",
}
FILES_BY_HAND = {
    f"workflows/{name}.yaml": f"journey: {name}\ntopic: offers\n{enter}\nsteps:\n  - wait: 1d\n  - send: email/a\n"
    for name, enter in BY_HAND.items()
}
PEOPLE = ("amina", "baraka", "chanda")


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once of each kind."""
    return str(request.getfixturevalue(request.param))


@dataclass
class Shop:
    """The service's own application, and what it was asked to wake."""

    app: App
    intake: Intake
    web: Any
    woken: list[str] = field(default_factory=list)

    def headers(self, key: str | None) -> dict[str, str]:
        said = {"Authorization": f"Bearer {self.app.settings.key}"}
        return said if key is None else said | {"Idempotency-Key": key}

    def post(self, journey: str, body: Any, key: str | None = None) -> Answer:
        return ask(self.web, "POST", f"/v1/journeys/{journey}/enter", self.headers(key), json.dumps(body).encode())

    def enter(self, journey: str, *names: str, key: str | None = None) -> Any:
        answer = self.post(journey, {"customers": names}, key)
        assert answer.status == 200, answer
        return answer.json()

    def inside(self, journey: str) -> list[str]:
        """Who has entered, as often as they did."""
        rows = select(customer.c.external_id).join(enrolment, enrolment.c.customer_id == customer.c.id)
        with self.app.database.read() as connection:
            return sorted(connection.scalars(rows.where(enrolment.c.journey == journey)))


@pytest.fixture
def shop(project: Callable[..., Path], url: str) -> Iterator[Shop]:
    root = project(
        {"workflows/project.yaml": PROJECT.replace("memory", "maildir"), **FILES, **JOURNEYS, **FILES_BY_HAND}
    )
    app = app_of(root, url)
    app.runtime.publish()
    app.runtime.ingest([Incoming(name, "ping", name, app.clock.now(), {"n": 1}) for name in PEOPLE])
    woken: list[str] = []
    intake = Intake(app.runtime, lambda *names: woken.extend(names))
    intake.start()
    yield Shop(app, intake, build(Site(lambda: app, intake, dict, lambda: True)), woken)
    intake.close()
    app.close()


def test_who_is_named_enters_and_the_journey_is_woken(shop: Shop) -> None:
    one = shop.post("recall", {"customer": "amina"})
    assert (one.status, one.json()) == (200, {"journey": "recall", "entered": 1, "others": []})
    assert shop.enter("recall", "baraka", "chanda", "chanda") == {"journey": "recall", "entered": 2, "others": []}
    assert shop.inside("recall") == ["amina", "baraka", "chanda"]
    assert shop.woken == ["recall", "recall"]
    with shop.app.database.read() as connection:
        assert set(connection.scalars(select(enrolment.c.state))) == {"ready"}


def test_the_examples_of_its_description_are_taken_and_answered(shop: Shop) -> None:
    described = openapi_journeys.paths()["/v1/journeys/{journey}/enter"]["post"]
    said = described["requestBody"]["content"]["application/json"]["examples"]
    shop.enter("recall", "baraka")
    assert shop.post("recall", said["list"]["value"]).json() == openapi_journeys.ENTERED
    assert shop.post("often", said["one"]["value"]).json()["entered"] == 1
    for journey, status, example in (
        ("recal", 404, openapi_journeys.MISSPELT),
        ("hello", 409, openapi_journeys.BY_EVENT),
    ):
        answer = shop.post(journey, said["one"]["value"])
        assert (answer.status, answer.json()) == (status, {"errors": [example]})
    wrong = shop.post("recall", {"customers": ["amina", ""]})
    assert (wrong.status, wrong.json()) == (422, {"errors": [openapi_journeys.WRONG_ID]})


def test_of_everybody_who_did_not_simply_enter_it_is_told_why(shop: Shop) -> None:
    def other(name: str, outcome: str, reason: str | None, words: str) -> dict[str, Any]:
        return {"customer": name, "outcome": outcome, "reason": reason, "words": words}

    by_hand = "not let in when somebody entered them by hand:"
    shop.enter("recall", "amina")
    again = other("amina", "refused", "again", f"{by_hand} they had been in before (again: never)")
    unknown = other("zuri", "unknown", None, "nobody has this id")
    told = {"journey": "recall", "entered": 1, "others": [again, unknown]}
    assert shop.enter("recall", "amina", "zuri", "baraka") == told
    (gold,) = shop.enter("gold", "amina")["others"]
    assert (gold["reason"], gold["words"][: len(by_hand)]) == ("audience", by_hand)
    assert 'customer.tier == "gold" was false' in gold["words"]
    assert shop.enter("few", "amina", "baraka")["others"] == [other("baraka", "waits", None, "waits at the door")]
    held = other("amina", "held_out", None, "entered and held out: is measured, and takes no step")
    shop.woken.clear()
    assert shop.enter("measured", "amina") == {"journey": "measured", "entered": 0, "others": [held]}
    assert shop.woken == []


def test_of_many_who_are_refused_the_first_are_told_in_words(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journeys, "TOLD", 2)
    others = shop.enter("gold", *PEOPLE, "zuri")["others"]
    assert [one["reason"] for one in others] == ["audience", "audience", "audience", None]
    assert ["words" in one for one in others] == [True, True, False, True]


def test_for_one_key_nobody_enters_twice_and_the_answer_stays(shop: Shop) -> None:
    assert shop.enter("often", "amina", key="lamp-7")["entered"] == 1
    assert shop.enter("often", "amina", key='"lamp-7"')["entered"] == 1
    assert shop.inside("often") == ["amina"]
    # Another list for the same cause: who is new in it enters.
    assert shop.enter("often", "amina", "baraka", key="lamp-7")["entered"] == 2
    assert shop.inside("often") == ["amina", "baraka"]
    # Another cause, or none, is another entry where the journey says so.
    shop.enter("often", "amina", key="lamp-8")
    shop.enter("often", "amina")
    shop.enter("often", "amina")
    assert shop.inside("often") == ["amina"] * 4 + ["baraka"]


def test_who_was_refused_for_a_key_is_refused_for_it_whatever_has_changed_since(shop: Shop) -> None:
    refused = shop.enter("gold", "amina", key="lamp-7")
    people = shop.app.runtime.people()
    people.describe("amina", shop.app.door.profile({"tier": "gold"}, Problems()))
    assert shop.enter("gold", "amina", key="lamp-7") == refused
    assert shop.enter("gold", "amina", key="lamp-8")["entered"] == 1


def test_two_requests_with_one_key_at_the_same_time_let_somebody_in_once(shop: Shop) -> None:
    async def both() -> list[Answer]:
        body = json.dumps({"customers": PEOPLE}).encode()
        said = shop.headers("lamp-7")
        return await asyncio.gather(
            *(asked(shop.web, "POST", "/v1/journeys/often/enter", said, body) for _ in range(4))
        )

    for answer in asyncio.run(both()):
        assert answer.json() == {"journey": "often", "entered": 3, "others": []}
    assert shop.inside("often") == list(PEOPLE)


def test_a_name_that_was_merged_away_means_who_has_it_now(shop: Shop) -> None:
    shop.app.runtime.people().merge("chanda", "amina")
    assert shop.enter("often", "chanda", "amina") == {"journey": "often", "entered": 2, "others": []}
    assert shop.inside("often") == ["amina"]


def test_a_journey_that_takes_nobody_by_hand_says_what_to_do(shop: Shop) -> None:
    with shop.app.database.write() as connection:
        versions.stop(connection, "often")
    for journey, status, message, hint in (
        ("recal", 404, 'there is no journey "recal"', 'did you mean "recall"?'),
        ("hello", 409, "hello lets customers in by event, not by hand", "send the event itself: POST /v1/events"),
        ("often", 409, "often takes no entries: it is not published, or it was stopped", "karibu publish often"),
    ):
        answer = shop.post(journey, {"customer": "amina"})
        assert answer.status == status
        assert answer.json() == {"errors": [{"path": "journey", "message": message, "hint": hint}]}
    assert shop.woken == []


WRONG: list[tuple[Any, str]] = [
    (["amina"], ""),
    ({}, ""),
    ({"customer": "amina", "customers": ["baraka"]}, ""),
    ({"customer": "amina", "journey": "recall"}, "journey"),
    ({"customer": None}, "customer"),
    ({"customer": True}, "customer"),
    ({"customer": {"id": "amina"}}, "customer"),
    ({"customer": "a\0"}, ""),
    ({"customers": "amina"}, "customers"),
    ({"customers": []}, "customers"),
    ({"customers": ["amina", ""]}, "customers.1"),
    ({"customers": ["amina"] * 10_001}, "customers"),
]


def test_what_is_wrong_with_a_body_is_told_by_its_path_and_nobody_enters(shop: Shop) -> None:
    for body, path in WRONG:
        answer = shop.post("recall", body)
        assert (answer.status, answer.json()["errors"][0]["path"]) == (422, path), str(body)[:80]
    unread = ask(shop.web, "POST", "/v1/journeys/recall/enter", shop.headers(None), b"amina")
    assert (unread.status, unread.json()["errors"][0]["path"]) == (400, "")
    assert shop.post("recall", {"customers": ["a" * 200] * 11_000}).status == 413
    assert shop.post("recall", {"customer": "amina"}, key="a\\b").status == 400
    assert shop.inside("recall") == []


def test_ten_thousand_enter_with_one_request_which_finds_room_on_the_slowest_machine(shop: Shop) -> None:
    now = shop.app.clock.now()
    names = [f"c{number}" for number in range(journeys.MOST)]
    shop.app.runtime.ingest([Incoming(name, "ping", name, now, {"n": 1}) for name in names])
    shop.intake._room.most = LEAST
    assert shop.enter("recall", *names)["entered"] == journeys.MOST
    assert shop.intake._coming == 0


def test_where_too_much_waits_nobody_enters_and_it_is_told_to_come_again(shop: Shop) -> None:
    shop.intake._room.most = 1
    with shop.intake.reading(1):
        busy = shop.post("recall", {"customer": "amina"})
    large = shop.post("recall", {"customers": [*PEOPLE, "d", "e", "f"]})  # the room of two events
    for answer in (busy, large):
        assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert (busy.read, large.read) == (False, True)
    assert shop.inside("recall") == []


def test_a_database_that_is_away_lets_nobody_in(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(work: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(shop.app.database, "written", away)
    answer = shop.post("recall", {"customer": "amina"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.slow
def test_a_service_that_is_up_moves_them_on_at_once(start: Start, url: str) -> None:
    service = start(url, publish=False)
    file = service.root / "workflows/recall.yaml"
    file.write_text("journey: recall\ntopic: transactional\nenter: {manual: true}\nsteps:\n  - send: email/order\n")
    app = service.app()
    app.runtime.publish()
    app.close()
    client = service.client()
    assert client.put("/v1/customers/amina", json={"email": "amina@shop.example"}).status_code == 201
    eventually(lambda: client.post("/v1/journeys/recall/enter", json={"customer": "amina"}).status_code == 200)
    eventually(lambda: len(service.mails()) == 1)
    told = client.get("/v1/customers/amina").json()["journeys"]
    assert [one["decisions"][0]["words"] for one in told] == ["entered, because somebody entered them by hand"]
