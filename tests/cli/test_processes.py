"""The command line as processes of its own: how fast it answers, what it imports, how it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def karibu(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **settings}
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_help_imports_neither_the_database_nor_prefect(tmp_path: Path) -> None:
    slow = ["prefect", "sqlalchemy", "polars", "pydantic", "jinja2", "rich"]
    code = f"import sys, engine.cli\nprint([name for name in {slow} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


@pytest.mark.slow
def test_no_command_about_files_or_facts_imports_prefect(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom engine.cli import main\n"
        "for words in (['init', 'shop'], ['-C', 'shop', 'check'], ['-C', 'shop', 'publish'], ['-C', 'shop', 'status']):\n"
        "    try: main(words)\n"
        "    except SystemExit as left: assert not left.code, left.code\n"
        "assert 'prefect' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True)


@pytest.mark.slow
def test_a_project_is_made_checked_and_asked_about(tmp_path: Path) -> None:
    assert karibu("init", "shop", cwd=tmp_path).returncode == 0
    shop = tmp_path / "shop"
    checked = karibu("check", "--json", cwd=shop)
    assert (checked.returncode, json.loads(checked.stdout)) == (0, {"ok": True, "problems": [], "notices": []})
    (shop / "workflows" / "broken.yaml").write_text("journey: [")
    checked = karibu("check", cwd=shop)
    assert checked.returncode == 1
    assert checked.stdout.startswith("workflows/broken.yaml:")
    assert checked.stderr == "1 problem in 1 file\n"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://localhost/x", "mysql:// is no database Karibu knows"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite:////proc/nothing/here.db", "unable to open"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_a_trace_or_a_password(
    url: str, said: str, tmp_path: Path
) -> None:
    karibu("init", "shop", cwd=tmp_path)
    ran = karibu("status", cwd=tmp_path / "shop", KARIBU_DATABASE_URL=url)
    assert ran.returncode == 2
    assert ran.stderr.startswith("the database can't be used: ") and said in ran.stderr
    assert "Traceback" not in ran.stderr and "secret" not in ran.stderr


def test_a_trace_is_shown_to_whoever_asks_for_it(tmp_path: Path) -> None:
    assert "Traceback" not in karibu("check", cwd=tmp_path).stderr
    assert "Traceback" in karibu("check", cwd=tmp_path, KARIBU_DEBUG="1").stderr


def test_a_setting_that_is_no_number_is_told(tmp_path: Path) -> None:
    karibu("init", "shop", cwd=tmp_path)
    ran = karibu("status", cwd=tmp_path / "shop", KARIBU_PORT="eight")
    assert (ran.returncode, ran.stderr.splitlines()[0][:28]) == (2, "KARIBU_PORT can't be used: i")


def test_a_reader_who_goes_away_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m engine.cli schema | head -1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.stdout.splitlines()[0] == "{"
    assert ran.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in ran.stderr
