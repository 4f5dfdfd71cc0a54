"""Prefect's server as a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import orjson
import pytest

from engine.prefect_server import QUIET, PrefectServer, ServerFailed, quiet
from tests.patience import PATIENCE

from .shop import ask

pytestmark = pytest.mark.slow


def test_it_answers_watches_for_crashed_runs_and_shows_its_page(prefect: PrefectServer) -> None:
    (watch,) = ask(prefect.api_url, "automations/filter")
    assert watch["enabled"]
    assert watch["trigger"]["within"] == 90
    with urlopen(prefect.url, timeout=PATIENCE) as page:
        assert b"Prefect" in page.read()
    with urlopen(f"{prefect.url}/ui-settings", timeout=PATIENCE) as answer:
        # Otherwise the page asks the port 4200, where another server may be.
        assert orjson.loads(answer.read())["api_url"] == "/api"
    with urlopen(f"{prefect.api_url}/admin/settings", timeout=PATIENCE) as answer:
        settings = answer.read().decode()
    assert '"analytics_enabled":false' in settings
    assert '"show_promotional_content":false' in settings


def test_its_history_is_deleted_after_thirty_days(prefect: PrefectServer) -> None:
    with urlopen(f"{prefect.api_url}/admin/settings", timeout=PATIENCE) as answer:
        vacuum = orjson.loads(answer.read())["server"]["services"]["db_vacuum"]
    assert vacuum["enabled"] == ["flow_runs"]
    assert vacuum["retention_period"] == "P30D"


def test_it_listens_on_loopback_only(prefect: PrefectServer) -> None:
    assert prefect.url.startswith("http://127.0.0.1:")


def test_a_server_that_a_killed_engine_left_behind_is_ended_and_replaced(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from engine.prefect_server import PrefectServer\n"
        "PrefectServer(pathlib.Path(sys.argv[1])).launch(); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, check=False)
    left = int((tmp_path / "server.pid").read_text().split()[0])
    os.kill(left, 0)
    with PrefectServer(tmp_path) as server:
        assert server.pid != left
        with pytest.raises(ProcessLookupError):
            os.kill(left, 0)
    assert not (tmp_path / "server.pid").exists()


def test_a_pid_file_with_a_number_that_is_another_process_now_harms_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        (tmp_path / "server.pid").write_text(f"{innocent.pid} 12345\n")
        server = PrefectServer(tmp_path)
        server.launch()
        assert innocent.poll() is None
        server.stop()
        innocent.kill()
    (tmp_path / "server.pid").write_text("nonsense")
    server.launch()
    server.stop()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = PrefectServer(tmp_path, database_url="sqlite+aiosqlite:////nowhere/at/all.db")
    with pytest.raises(ServerFailed, match=r"the end of .*server\.log"):
        server.start()
    assert server.pid is None


def test_ending_it_leaves_no_process(tmp_path: Path) -> None:
    server = PrefectServer(tmp_path)
    server.launch()
    pid = server.pid
    assert pid is not None
    time.sleep(0.5)
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def test_what_the_owner_of_the_process_has_set_stays() -> None:
    environment = {"PREFECT_LOGGING_LEVEL": "DEBUG"}
    quiet(environment)
    assert environment == QUIET | {"PREFECT_LOGGING_LEVEL": "DEBUG"}
