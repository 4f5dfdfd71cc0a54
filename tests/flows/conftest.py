"""A Prefect server for all tests of flows, and a shop to run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.prefect_server import PrefectServer
from engine.store.database import Database

from . import shop as shops


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A running server, the same for the whole run: it takes seconds to start."""
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def shop(sqlite_database: Database, project: Callable[..., Path]) -> Iterator[shops.Shop]:
    """The shop on SQLite, its journeys published."""
    shops.BROKEN.clear()
    yield shops.Shop.open(sqlite_database, project(shops.FILES))
    shops.BROKEN.clear()
