"""Streams of lines, packed bodies and requests with a key of their own, as a client of the running service sees them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from fastapi import HTTPException
from sqlalchemy import func, select

from engine.store.tables import event, tally
from engine.web.bodies import PIECE, Gunzip
from engine.web.events import LARGEST_BODY, TOLD, idempotency_key
from tests.patience import eventually
from tests.web.conftest import Service, Start

NDJSON = {"Content-Type": "application/x-ndjson"}
CLOSED: dict[str, Any] = {"event": "closed", "customer": "amina"}


def kept(service: Service) -> list[str]:
    """The keys of the events in the database, in order."""
    app = service.app()
    with app.database.read() as connection:
        found = list(connection.scalars(select(event.c.key).order_by(event.c.id)))
        counted = connection.scalar(select(func.sum(tally.c.count))) or 0
    app.close()
    assert len(found) == counted
    return found


def post(service: Service, body: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    content = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
    return service.client().post("/v1/events", content=content, headers=headers or {})


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


@pytest.mark.slow
def test_a_stream_of_lines_is_taken_as_it_comes_and_faults_are_told_by_line(start: Start) -> None:
    service = start()

    def stream() -> Iterator[bytes]:
        for n in range(2_500):
            line = lines(CLOSED | {"key": f"k{n}"})
            if n == 3:
                line = b"{no json\n\n" + b'{"event": "closed"}\n' + b" " * 300_000 + b"\n" + line
            yield line[:11]
            yield line[11:]

    answer = post(service, stream(), NDJSON)
    assert answer.status_code == 202, answer.text
    found = answer.json()
    assert (found["lines"], found["accepted"], found["duplicates"]) == (2_504, 2_500, 0)
    assert [(one["line"], one["path"]) for one in found["errors"]] == [(4, ""), (6, "customer"), (7, "")]
    assert kept(service) == [f"k{n}" for n in range(2_500)]
    # The same with an end that has no newline, packed: nothing twice.
    again = post(
        service,
        gzip.compress(b"\n".join(lines(CLOSED | {"key": f"k{n}"}).strip() for n in range(2_501))),
        NDJSON | {"Content-Encoding": "gzip"},
    )
    assert again.status_code == 202
    assert (again.json()["accepted"], again.json()["duplicates"]) == (1, 2_500)
    faulty = post(service, b"[]\n" * 300, NDJSON)
    assert faulty.status_code == 422
    assert len(faulty.json()["errors"]) == TOLD and faulty.json()["errors_left_out"] == 300 - TOLD
    assert post(service, b"", NDJSON).status_code == 400


@pytest.mark.slow
def test_a_stream_that_breaks_says_what_is_durable_and_the_rest_can_follow(start: Start) -> None:
    service = start()
    body = lines(*(CLOSED | {"key": f"k{n}", "properties": {"n": str(n)}} for n in range(2_500)))
    packed = gzip.compress(body)
    broken = post(service, packed[:-20], NDJSON | {"Content-Encoding": "gzip"})
    assert broken.status_code == 400
    assert (broken.json()["durable_lines"], broken.json()["accepted"]) == (2_000, 2_000)
    assert len(kept(service)) == 2_000
    # A sender who vanishes in the middle of a line: what was full is taken, the half line is not.
    with pytest.raises(httpx2.HTTPError):

        def vanishing() -> Iterator[bytes]:
            yield lines(*(CLOSED | {"key": f"v{n}"} for n in range(1_000)))
            yield b'{"event": "closed", "customer": "amina", "key": "v1000"}'
            raise httpx2.WriteError("gone")

        post(service, vanishing(), NDJSON)
    eventually(lambda: len(kept(service)) == 3_000)
    whole = post(service, packed, NDJSON | {"Content-Encoding": "gzip"})
    assert (whole.json()["accepted"], whole.json()["duplicates"]) == (500, 2_000)
    assert "v1000" not in kept(service)


@pytest.mark.slow
def test_bodies_packed_with_gzip_are_bounded_unpacked(start: Start) -> None:
    service = start()
    zipped = {"Content-Encoding": "gzip"}
    two_members = gzip.compress(b'[{"event": "closed", ') + gzip.compress(b'"customer": "amina", "key": "k"}]')
    assert post(service, two_members, zipped).json() == {"accepted": 1, "duplicates": 0}
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(bomb.compress(b" " * 1_000_000) for _ in range(300)) + bomb.flush()
    assert len(packed) < LARGEST_BODY / 2
    assert post(service, packed, zipped).status_code == 413
    assert post(service, b"[]", zipped).status_code == 400
    assert post(service, two_members[:-9], zipped).status_code == 400
    assert post(service, b"[]", {"Content-Encoding": "br"}).status_code == 415
    assert kept(service) == ["k"]


@pytest.mark.slow
def test_a_request_with_a_key_is_taken_once_and_answers_the_same(start: Start) -> None:
    service = start()
    key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
    bare = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    body = [CLOSED, CLOSED | {"time": "2026-03-01T09:30:00+03:00"}, {"event": "closed"}, CLOSED | {"key": "mine"}]
    first = post(service, body, key)
    assert first.status_code == 202 and first.json()["accepted"] == 3
    assert [one["index"] for one in first.json()["errors"]] == [2]
    id_ = bare["Idempotency-Key"]
    assert kept(service) == [f"{id_}:1", f"{id_}:0", "mine"]  # in the order of their times
    again = post(service, body, bare)
    assert again.status_code == 202
    assert (again.json()["accepted"], again.json()["duplicates"]) == (2, 1)  # one has a key of its own
    for other in (
        body[:2],
        [*body[:3], CLOSED],
        [body[1], body[0]],
        [CLOSED | {"customer": "baraka"}, *body[1:]],
        [*body, CLOSED],
        CLOSED,
        {**CLOSED, "properties": {"why": "rent"}},
    ):
        answer = post(service, other, key)
        assert answer.status_code == 409, other
        assert answer.json()["error"].startswith("this Idempotency-Key")
    assert len(kept(service)) == 3
    assert post(service, CLOSED, {"Idempotency-Key": "x" * 151}).status_code == 400
    assert post(service, CLOSED, {"Idempotency-Key": '""'}).status_code == 400


@pytest.mark.slow
def test_who_is_told_by_two_names_is_one_customer_in_a_stream_too(start: Start) -> None:
    service = start()
    client = service.client()
    visit = {"event": "closed", "customer": {"anonymous_id": "b"}}
    both = {"event": "closed", "customer": {"id": "amina", "anonymous_id": "b"}}
    assert post(service, lines(visit, {**both, "proprties": {}}), NDJSON).json()["accepted"] == 1
    assert client.get("/v1/customers/amina").status_code == 404  # what a fault keeps out introduces nobody
    assert post(service, lines(visit, both), NDJSON).json()["accepted"] == 2
    told = client.get("/v1/customers/anonymous:b").json()
    assert (told["id"], told["tallies"]["closed"]["count"]) == ("amina", 3)


@pytest.mark.slow
def test_a_request_with_a_key_is_the_same_after_its_customers_became_one(start: Start) -> None:
    service = start()
    body = [CLOSED | {"customer": "asha"}, CLOSED]
    key = {"Idempotency-Key": '"two"'}
    first = post(service, body, key)
    assert service.client().post("/v1/customers/merge", json={"from": "asha", "into": "amina"}).json()["merged"]
    again = post(service, body, key)
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (202, _both(2, 0))
    assert post(service, [CLOSED, CLOSED | {"customer": "baraka"}], key).status_code == 409
    assert post(service, body[:1], key).status_code == 409
    assert post(service, [*body, CLOSED], key).status_code == 409


def _both(accepted: int, duplicates: int) -> dict[str, int]:
    return {"accepted": accepted, "duplicates": duplicates}


@pytest.mark.slow
def test_the_same_request_many_times_at_once_is_taken_once(start: Start) -> None:
    service = start()
    client = service.client()
    body = [CLOSED | {"customer": f"c{n % 7}"} for n in range(50)]
    headers = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: client.post("/v1/events", json=body, headers=headers), range(36)))
    assert {(one.status_code, one.text) for one in answers} == {(202, '{"accepted":50,"duplicates":0}')}
    assert len(kept(service)) == 50


@pytest.mark.slow
def test_a_stream_with_a_key_goes_on_where_it_broke(start: Start) -> None:
    service = start()
    body = lines(*(CLOSED | {"customer": f"c{n % 9}"} for n in range(1_500)))
    packed = gzip.compress(body)
    headers = NDJSON | {"Content-Encoding": "gzip", "Idempotency-Key": "stream"}
    assert post(service, packed[:-9], headers).json()["durable_lines"] == 1_000
    for _ in range(2):
        answer = post(service, packed, headers)
        assert (answer.status_code, answer.json()) == (202, {"lines": 1_500, "accepted": 1_500, "duplicates": 0})
    assert len(kept(service)) == 1_500
    other = post(service, gzip.compress(body.replace(b"c1", b"c2")), headers)
    assert other.status_code == 409 and other.json()["durable_lines"] == 0
    assert len(kept(service)) == 1_500


def test_a_bomb_unpacks_piece_by_piece() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    found = Gunzip().feed(bomb)
    assert all(len(next(found)) <= PIECE for _ in range(10))


def test_the_key_of_a_request_may_be_quoted() -> None:
    assert idempotency_key(None) is None
    assert idempotency_key('"a key"') == idempotency_key("a key") == "a key"
    for wrong in ("", '""', '"a', 'a"b', " a", "a\\b", "é", "x" * 151, '"' + "x" * 151 + '"'):
        with pytest.raises(HTTPException):
            idempotency_key(wrong)
