"""Journeys on a Prefect work pool, taken by a real worker, with the engine's data on PostgreSQL."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.prefect_server import PrefectServer, quiet
from engine.store.database import Database
from tests.patience import PATIENCE, eventually

from . import shop as shops
from .shop import Shop, ask

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

ROOT = Path(__file__).parents[2]
PROJECT = {name: text for name, text in shops.FILES.items() if "frail" not in name}


@contextmanager
def worker(server: PrefectServer, root: Path, database_url: str, pool: str) -> Iterator[None]:
    """A Prefect worker of its own, as somebody would start it on another machine."""
    environment = dict(os.environ) | {
        "PREFECT_API_URL": server.api_url,
        "PREFECT_HOME": str(root / "worker"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "KARIBU_ROOT": str(root),
        "KARIBU_DATABASE_URL": database_url,
        "PYTHONPATH": str(ROOT),
    }
    quiet(environment)
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        pool,
        "--type",
        "process",
        "--name",
        "test",
    ]
    with (root / "worker.log").open("wb") as log:
        child = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log)
    try:
        yield
    finally:
        child.terminate()
        child.wait(PATIENCE)


def deployments(server: PrefectServer, pool: str) -> dict[str, dict[str, Any]]:
    found = ask(server.api_url, "deployments/filter", {"work_pools": {"name": {"any_": [pool]}}})
    return {f"{one['parameters']['journey']}/{one['name']}": one for one in found}


def start(server: PrefectServer, deployment: dict[str, Any]) -> str:
    """What the button "Run" on Prefect's page does."""
    run = ask(server.api_url, f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    return str(run["id"])


def finished(server: PrefectServer, run: str) -> dict[str, Any]:
    def ended() -> dict[str, Any]:
        (found,) = ask(server.api_url, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return found if found["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else {}

    return eventually(ended, every=0.2)


def test_a_worker_takes_the_runs_of_a_deployed_journey_and_moves_its_customers(
    postgres_url: str, project: Callable[..., Path], prefect: PrefectServer
) -> None:
    from engine.deploy import Deployed, deploy

    database = Database(postgres_url)
    shop = Shop.open(database, project(PROJECT))
    root = shop.mail.parent
    assert deploy(shop.runtime, prefect.api_url, pool="one", every=None) == [Deployed("welcome", "welcome/karibu", 1)]
    deployment = deployments(prefect, "one")["welcome/karibu"]
    assert deployment["entrypoint"] == "engine.worker.welcome"
    assert deployment["parameters"] == {"journey": "welcome", "version": 1, "part": 0, "of": 1}
    assert set(deployment["tags"]) == {"karibu", "welcome", "v1", "event"}
    assert postgres_url not in str(deployment)
    shop.happens("signed_up", 4)
    with worker(prefect, root, postgres_url, "one"):
        run = finished(prefect, start(prefect, deployment))
        assert run["state"]["name"] == "Completed", (root / "worker.log").read_text()
        assert "sent 4" in run["state"]["message"]
        assert shop.standing("welcome") == {"pause": 4}
        assert re.fullmatch(r"welcome \d{4}-\d\d-\d\d \d\d:\d\d", run["name"])
        assert {"karibu", "welcome", "v1", "event"} <= set(run["tags"])
        # Nobody is due any more, and a run says so.
        again = finished(prefect, start(prefect, deployment))
        assert again["state"]["message"] == "nobody was due"
    mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    # Prefect writes task runs in the background.
    names = {"hello", "tag_1", "branch_1", "here", "pause"}
    eventually(lambda: {task["name"] for task in ask(prefect.api_url, "task_runs/filter", mine)} == names, every=0.2)
    database.dispose()


def test_deploying_again_changes_nothing_and_shards_replace_the_whole(
    postgres_url: str, project: Callable[..., Path], prefect: PrefectServer
) -> None:
    from engine.deploy import deploy

    database = Database(postgres_url)
    shop = Shop.open(database, project(PROJECT))
    deploy(shop.runtime, prefect.api_url, pool="two", every=None)
    before = deployments(prefect, "two")
    deploy(shop.runtime, prefect.api_url, pool="two", every=None)
    assert {name: one["id"] for name, one in deployments(prefect, "two").items()} == {
        name: one["id"] for name, one in before.items()
    }
    deploy(shop.runtime, prefect.api_url, pool="two", shards=2, every=None)
    parts = deployments(prefect, "two")
    assert set(parts) == {"welcome/part-1-of-2", "welcome/part-2-of-2"}
    assert [parts[name]["parameters"]["part"] for name in sorted(parts)] == [0, 1]
    database.dispose()


def test_a_pool_of_another_type_is_refused(
    postgres_url: str, project: Callable[..., Path], prefect: PrefectServer
) -> None:
    from engine.deploy import NotAProcessPool, deploy

    ask(prefect.api_url, "work_pools/", {"name": "clouds", "type": "kubernetes"})
    database = Database(postgres_url)
    shop = Shop.open(database, project(PROJECT))
    with pytest.raises(NotAProcessPool, match="kubernetes"):
        deploy(shop.runtime, prefect.api_url, pool="clouds")
    database.dispose()
