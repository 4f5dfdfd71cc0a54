"""karibu suppressions: listed, added, removed, imported, exported; never an address kept or shown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from engine.runtime.clock import VirtualClock
from engine.store.database import Database
from tests.cli.session import Ran, karibu
from tests.scenarios.shop import FILES, PROJECT

START = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
AMINA = "amina@shop.example"


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once of each kind."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def root(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, url: str) -> Path:
    monkeypatch.setenv("KARIBU_DATABASE_URL", url)
    monkeypatch.setenv("KARIBU_SECRET_KEY", "a secret of the tests, long enough")
    return project({"workflows/project.yaml": PROJECT, **FILES})


@pytest.fixture
def run(root: Path) -> Callable[..., Ran]:
    clock = VirtualClock(START)
    return lambda *arguments: karibu("-C", str(root), "suppressions", *arguments, clock=clock)


Run = Callable[..., Ran]


def hashes(run: Run) -> set[tuple[str, str, str]]:
    rows = csv.DictReader(io.StringIO(run("export").out))
    return {(row["channel"], row["address_hash"], row["reason"]) for row in rows}


def test_what_is_added_is_listed_without_its_address_and_can_be_removed(run: Run) -> None:
    assert run("add", "email", AMINA, "--reason", "asked by telephone").code == 0
    assert "already" in run("add", "email", "Amina@SHOP.example").out
    assert run("add", "sms", "+254 712 345678").code == 0
    said = run("list").out
    assert "asked by telephone" in said and "amina" not in said.lower() and "712" not in said
    counted = json.loads(run("list", "--json", "--channel", "email").out)
    assert counted["counts"] == [{"channel": "email", "reason": "asked by telephone", "count": 1}]
    assert run("remove", "email", "amina@shop.EXAMPLE").code == 0
    assert run("remove", "email", AMINA).code == 2
    assert run("add", "email", AMINA).out == "Nothing is sent there any more.\n"


@pytest.mark.parametrize(
    ("channel", "address"), [("email", "amina"), ("sms", "0712345678"), ("sms", AMINA), ("email", "")]
)
def test_what_is_no_address_is_told(channel: str, address: str, run: Run) -> None:
    ran = run("add", channel, address)
    assert ran.code == 2 and "this is no" in ran.err
    assert run("list").out == "Nothing is suppressed.\n"


def test_a_file_is_taken_row_by_row_and_its_faults_are_told_by_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "old.csv"
    file.write_bytes(
        b"\xef\xbb\xbfName;E-mail;Email;Reason;Since\r\n"
        b'"O\'Neil";x;amina@shop.example;"called; twice";2026-02-01T09:00:00+03:00\r\n'
        b"Baraka;x;nobody;;\r\n"
        b"\r\n"
        b"Chidi;x;chidi@shop.example;;\r\n"
        b"Chidi;x;CHIDI@shop.example;;\r\n"
        b"Dalila;x;dalila@shop.example;;tomorrow\r\n"
        b"Ella;x\r\n"
        b"Fatu;x;f@shop.example;;2027-01-01T00:00:00Z\r\n"
    )
    ran = run("import", str(file))
    assert ran.code == 1
    assert f"{file}: 7 rows, 2 addresses newly suppressed" in ran.out
    assert [line.strip() for line in ran.err.splitlines()] == [
        f"{file}:3: this is no e-mail address",
        f"{file}:7: its since is no time with a zone, like 2026-12-24T18:00:00+03:00, or lies ahead",
        f"{file}:8: this is no e-mail address",
        f"{file}:9: its since is no time with a zone, like 2026-12-24T18:00:00+03:00, or lies ahead",
    ]
    assert "nobody" not in ran.err
    again = json.loads(run("import", str(file), "--json").out)
    assert (again["rows"], again["new"], again["rejected"]) == (7, 0, 4)
    assert sorted(reason for _, _, reason in hashes(run)) == ["called; twice", "manual"]


def test_an_export_can_be_read_by_a_spreadsheet_and_imported_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "phones.csv"
    file.write_text("phone,reason\n'+254712345678,=HYPERLINK(1)\n+254712345679,-1\n+254712345670,@x\n")
    assert run("import", str(file)).code == 0
    exported = run("export")
    cells = [cell for row in csv.reader(io.StringIO(exported.out)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "'=HYPERLINK(1)" in cells and "keyed hashes" in exported.err and "712" not in exported.out
    before = hashes(run)
    for number in ("+254712345678", "+254712345679", "+254712345670"):
        assert run("remove", "sms", number).code == 0
    assert run("list").out == "Nothing is suppressed.\n"
    (tmp_path / "export.csv").write_text(exported.out.replace("2026-03-01T06:30:00Z", ""))
    assert run("import", str(tmp_path / "export.csv")).code == 0
    assert hashes(run) == before


def test_an_old_word_does_not_undo_a_newer_one(run: Run, tmp_path: Path) -> None:
    """Who was let go of stays so, however often an old list is imported."""
    run("add", "email", AMINA)
    run("remove", "email", AMINA)
    file = tmp_path / "old.csv"
    file.write_text(f"email,since\n{AMINA},{(START - timedelta(days=1)).isoformat()}\n")
    assert "0 addresses newly" in run("import", str(file)).out


@pytest.mark.parametrize("body", ["", "name,tel\nA,1\n", "address\nx\n", "\0", AMINA])
def test_a_file_without_a_column_of_addresses_is_told(body: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(body)
    ran = run("import", str(tmp_path / "x.csv"))
    assert ran.code == 2 and ("names no column" in ran.err or "--channel" in ran.err)


def test_more_rows_than_a_transaction_takes_are_taken(run: Run, tmp_path: Path, url: str) -> None:
    file = tmp_path / "many.csv"
    file.write_text("address\n" + "".join(f"n{n}@shop.example\n" for n in range(2500)) + "nobody\n" * 30)
    ran = run("import", str(file), "--channel", "email")
    assert "2,530 rows, 2,500 addresses newly suppressed" in ran.out and "… and 10 more" in ran.err
    database = Database(url)
    with database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM suppression_said WHERE state = 'on'")) == 2500
    database.dispose()
