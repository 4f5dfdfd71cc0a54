"""Journeys through real Prefect runs, seen as Prefect's own page sees them."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import orjson
import pytest

from engine.prefect_server import PrefectServer
from engine.runs import JourneyRuns, Manner
from tests.patience import PATIENCE, eventually

from . import shop as shops
from .shop import Shop, ask

pytestmark = pytest.mark.slow

QUICK = Manner(linger=0.5, hold=0.3, idle=0.2, away=0.2, patience=1.0)
SHOWN = replace(QUICK, patience=PATIENCE)
"""Every pass waits for Prefect, however slow it is, so it is seen there."""
RESIDENT = replace(SHOWN, linger=PATIENCE)
DRIVEN = Manner(linger=None, patience=PATIENCE)
UUID_ = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def sent(shop: Shop, count: int) -> None:
    """Wait until so many messages lie in the maildir."""
    eventually(lambda: shop.mails() == count)


def runs_of(server: PrefectServer, since: str, journey: str = "welcome") -> list[dict[str, Any]]:
    """The journey's runs whose names begin so, oldest first."""
    like = {"flow_runs": {"name": {"like_": since}, "tags": {"all_": ["karibu", journey]}}, "sort": "START_TIME_ASC"}
    found: list[dict[str, Any]] = ask(server.api_url, "flow_runs/filter", like)
    return found


def tasks_of(server: PrefectServer, run: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The run's task runs, oldest first, when that many are told: Prefect writes them in the background."""
    wanted = {"flow_runs": {"id": {"any_": [run["id"]]}}, "limit": 200}

    def told() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(server.api_url, "task_runs/filter", wanted)
        over = all(
            task["start_time"] and task["state"] and task["state"]["type"] in ("COMPLETED", "FAILED") for task in found
        )
        done = len(found) >= count and over
        return sorted(found, key=lambda task: task["start_time"]) if done else []

    return eventually(told)


@contextmanager
def driven(shop: Shop, server: PrefectServer) -> Iterator[JourneyRuns]:
    with JourneyRuns(shop.runtime, server.api_url, DRIVEN) as runs:
        assert runs.connected(PATIENCE)
        yield runs
        runs.end()
        runs.settle()


def test_a_run_shows_its_steps_in_order_with_their_edges_and_what_became_of_whom(
    shop: Shop, prefect: PrefectServer
) -> None:
    shop.happens("signed_up", 3)
    with driven(shop, prefect) as runs:
        runs.advance("welcome", name="shown 2026-03-01")
    assert shop.mails() == 3
    (run,) = runs_of(prefect, "shown")
    assert run["name"] == "shown 2026-03-01"
    assert set(run["tags"]) == {"karibu", "welcome", "v1", "event"}
    assert run["state"]["name"] == "Completed"
    assert "sent 3" in run["state"]["message"]
    assert set(run["parameters"]) == {"journey", "version", "run"}
    tasks = tasks_of(prefect, run, 5)
    # `there` had nobody, so it has no task.
    assert [task["name"] for task in tasks] == ["hello", "tag_1", "branch_1", "here", "pause"]
    inputs = [{edge["id"] for edge in task["task_inputs"].get("wait_for", [])} for task in tasks]
    assert inputs == [set(), *({task["id"]} for task in tasks[:-1])]
    assert {task["task_version"] for task in tasks} == {run["flow_version"]}
    (artifact,) = ask(prefect.api_url, "artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert artifact["key"] == "welcome"
    first = orjson.loads(artifact["data"])[0]
    assert (first["step"], first["came"], first["sent"], first["stopped"]) == ("hello", 3, 3, "")


def test_a_driver_gets_a_run_for_each_virtual_day_with_a_pass_for_each_look(shop: Shop, prefect: PrefectServer) -> None:
    with driven(shop, prefect) as runs:
        for day in ("2026-03-01", "2026-03-02", "2026-03-03"):
            for _ in range(2):
                if day == "2026-03-01":
                    shop.happens("signed_up")
                runs.advance("welcome", name=f"daily {day}")
            runs.end()
            shop.clock.advance_to(shop.clock.now() + timedelta(days=1))
    # On the second day nobody was due, so there is no run.
    named = runs_of(prefect, "daily")
    assert [run["name"] for run in named] == ["daily 2026-03-01", "daily 2026-03-03"]
    assert len(tasks_of(prefect, named[0], 10)) == 10
    assert shop.standing("welcome") == {None: 2}


def test_a_run_costs_prefect_four_requests_and_begins_as_running(
    shop: Shop, prefect: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    send = httpx.AsyncClient.send

    async def heard(client: httpx.AsyncClient, request: httpx.Request, **how: Any) -> httpx.Response:
        answer = await send(client, request, **how)
        if answer.status_code != 503:  # two of Prefect's transactions met: the request is repeated
            asked.append((request.method, UUID_.sub("ID", request.url.path)))
        return answer

    with driven(shop, prefect) as runs:
        shop.happens("ordered")
        runs.advance("frail", name="known")
        runs.end()
        runs.settle()
        monkeypatch.setattr(httpx.AsyncClient, "send", heard)
        shop.happens("ordered")
        runs.advance("frail", name="frugal")
    assert asked == [
        ("POST", "/api/flow_runs/"),
        ("GET", "/api/flow_runs/ID"),
        ("POST", "/api/artifacts/"),
        ("POST", "/api/flow_runs/ID/set_state"),
    ]
    (run,) = runs_of(prefect, "frugal", "frail")
    assert run["start_time"] and run["end_time"] and run["run_count"] == 1
    with urlopen(f"{prefect.api_url}/flow_run_states/?flow_run_id={run['id']}") as answer:
        states = sorted(orjson.loads(answer.read()), key=lambda state: state["timestamp"])
    assert [state["name"] for state in states] == ["Running", "Completed"]
    for task in tasks_of(prefect, run, 3):
        with urlopen(f"{prefect.api_url}/task_run_states/?task_run_id={task['id']}") as answer:
            told = sorted(orjson.loads(answer.read()), key=lambda state: state["timestamp"])
        assert [state["name"] for state in told] == ["Running", "Completed"]


def test_runs_begun_ahead_open_while_others_move_and_take_the_passes_that_come(
    shop: Shop, prefect: PrefectServer
) -> None:
    with driven(shop, prefect) as runs:
        shop.happens("ordered")
        shop.happens("signed_up")
        runs.begin({"frail": "ahead 1", "welcome": "ahead 2"})
        assert shop.standing("welcome") == {"hello": 1}  # to begin a run moves nobody
        eventually(lambda: [run["state"]["name"] for run in runs_of(prefect, "ahead 2")] == ["Running"])
        runs.advance("frail", "ahead 1")
        runs.advance("welcome", "ahead 2")
    for journey, name, moved in (("frail", "ahead 1", 3), ("welcome", "ahead 2", 5)):
        (run,) = runs_of(prefect, name, journey)
        assert run["state"]["name"] == "Completed"
        assert len(tasks_of(prefect, run, moved)) == moved


def test_a_wake_is_a_pass_in_the_resident_run_which_closes_when_it_is_quiet(shop: Shop, prefect: PrefectServer) -> None:
    with JourneyRuns(shop.runtime, prefect.api_url, RESIDENT) as runs:
        assert runs.connected(PATIENCE)
        for n in range(1, 6):
            shop.happens("signed_up")
            runs.wake("welcome")
            sent(shop, n)
        (run,) = eventually(lambda: runs_of(prefect, "welcome 2026-03-01 12:00"))
        assert run["state"]["name"] == "Running"
        assert len(tasks_of(prefect, run, 25)) == 25
    shop.clock.advance_to(shops.START + timedelta(minutes=1))
    with JourneyRuns(shop.runtime, prefect.api_url, SHOWN) as runs:
        assert runs.connected(PATIENCE)
        shop.happens("signed_up")
        runs.wake("welcome")
        eventually(
            lambda: [run["state"]["name"] for run in runs_of(prefect, "welcome 2026-03-01 12:01")] == ["Completed"]
        )


def test_a_step_that_fails_shows_in_prefect_and_harms_no_other_journey(shop: Shop, prefect: PrefectServer) -> None:
    shops.BROKEN.add("weak")
    shop.clock.advance_to(shops.START + timedelta(hours=1))
    with JourneyRuns(shop.runtime, prefect.api_url, SHOWN) as runs:
        assert runs.connected(PATIENCE)
        shop.happens("ordered", 2)
        shop.happens("signed_up")
        runs.wake()
        eventually(lambda: shop.mails() == 1)
        failed = eventually(
            lambda: [run for run in runs_of(prefect, "frail", "frail") if run["state"]["name"] == "Failed"]
        )[0]
        assert failed["state"]["message"].startswith("step weak: Stumbled at engine/")
        first, weak = tasks_of(prefect, failed, 2)
        assert (first["name"], first["state"]["name"]) == ("first", "Completed")
        assert (weak["name"], weak["state"]["name"], weak["run_count"]) == ("weak", "Failed", 3)
        shops.BROKEN.clear()
        # Nobody wakes it: what failed is tried again by itself.
        eventually(lambda: shop.standing("frail") == {None: 2})
    whole = ask(prefect.api_url, "flow_runs/filter"), ask(prefect.api_url, "task_runs/filter", {"limit": 200})
    assert shops.CANARY not in str(whole)
    for file in prefect.home.rglob("*"):
        if file.is_file():
            assert shops.CANARY.encode() not in file.read_bytes(), f"a customer's address is in {file.name}"


def test_without_prefect_journeys_move_and_when_it_comes_back_runs_show_again(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = PrefectServer(tmp_path_factory.mktemp("comes-and-goes")).start()
    try:
        with JourneyRuns(shop.runtime, server.api_url, QUICK, alone=True) as runs:
            assert runs.connected(PATIENCE)
            shop.happens("signed_up")
            runs.wake("welcome")
            eventually(lambda: shop.mails() == 1)
            server.stop()  # under an open run
            for n in range(2, 5):
                shop.happens("signed_up")
                runs.wake("welcome")
                sent(shop, n)
                time.sleep(0.6)  # so that the next wake finds no run, mostly
            server.start()
            before = len(runs_of(server, "welcome"))

            def shown() -> bool:
                shop.happens("signed_up")
                runs.wake("welcome")
                return len(runs_of(server, "welcome")) > before

            eventually(shown, every=0.3)
            eventually(lambda: shop.standing("welcome") == {"pause": shop._n})
        assert shop.mails() == shop._n
    finally:
        server.stop()


PREFECTS = 30.0
"""Prefect's own client gives up such a server after four tries of 10 s each; we after one second or three."""


def test_a_prefect_that_takes_calls_and_never_answers_costs_no_more_than_our_patience(shop: Shop) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        api_url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with JourneyRuns(shop.runtime, api_url, QUICK) as runs:
            assert runs.connected(PATIENCE)
            for n in range(1, 4):
                shop.happens("signed_up")
                begun = time.monotonic()
                runs.wake("welcome")
                sent(shop, n)
                assert time.monotonic() - begun < PREFECTS
            begun = time.monotonic()
            runs.close(patience=3)
            assert time.monotonic() - begun < PREFECTS


def test_with_no_prefect_at_all_wakes_still_move(shop: Shop) -> None:
    with JourneyRuns(shop.runtime, None, QUICK) as runs:
        shop.happens("signed_up", 2)
        runs.wake()
        eventually(lambda: shop.mails() == 2)


def test_wakes_from_many_threads_lose_nobody(shop: Shop, prefect: PrefectServer) -> None:
    from threading import Thread

    shop.clock.advance_to(shops.START + timedelta(hours=2))
    with JourneyRuns(shop.runtime, prefect.api_url, QUICK) as runs:
        assert runs.connected(PATIENCE)
        shop.happens("signed_up", 40)

        def wakes() -> None:
            for _ in range(50):
                runs.wake("welcome", "frail")
                runs.wake()

        threads = [Thread(target=wakes) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(10):
            shop.happens("signed_up")
            runs.wake("welcome")
        for thread in threads:
            thread.join()
        eventually(lambda: shop.mails() == 50)
        eventually(lambda: shop.standing("welcome") == {"pause": 50})


def test_runs_that_a_dead_engine_left_open_are_marked_when_the_next_one_starts(
    shop: Shop, prefect: PrefectServer
) -> None:
    flow = ask(prefect.api_url, "flows/", {"name": "welcome"})
    left = ask(
        prefect.api_url,
        "flow_runs/",
        {"flow_id": flow["id"], "name": "left behind", "tags": ["karibu", "welcome"], "state": {"type": "RUNNING"}},
    )
    with JourneyRuns(shop.runtime, prefect.api_url, QUICK, alone=True) as runs:
        assert runs.connected(PATIENCE)
    (run,) = ask(prefect.api_url, "flow_runs/filter", {"flow_runs": {"id": {"any_": [left["id"]]}}})
    assert run["state"]["name"] == "Crashed"


def test_with_prefect_and_without_it_the_same_decisions_are_taken(
    project: Callable[..., Path], migrated_file: Path, tmp_path: Path, prefect: PrefectServer
) -> None:
    import shutil

    from engine.store.database import Database

    told = []
    for api_url in (prefect.api_url, None):
        file = tmp_path / f"{api_url is None}.db"
        shutil.copyfile(migrated_file, file)
        shop = Shop.open(Database(f"sqlite:///{file}"), project(shops.FILES, f"shop-{api_url is None}"))
        with JourneyRuns(shop.runtime, api_url, DRIVEN) as runs:
            assert api_url is None or runs.connected(PATIENCE)
            for country in ("KE", "TZ"):
                shop.happens("signed_up", 5, country)
                shop.happens("ordered", 2, country)
                for journey in ("welcome", "frail"):
                    runs.advance(journey, name=f"same {country}")
                shop.clock.advance_to(shop.clock.now() + timedelta(days=2))
            runs.advance("welcome", name="same end")
        told.append(shop.decisions())
        shop.runtime.database.dispose()
    assert told[0] == told[1]
    assert len(told[0]) > 50
