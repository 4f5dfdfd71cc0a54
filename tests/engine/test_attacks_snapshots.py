"""Law 3 inside one statement: PostgreSQL shows a statement what was committed before it began, but lets it lock what was
committed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.conftest import Postgres
from tests.engine.shop import Shop
from tests.engine.test_interleavings import LISTEN, two_engines, waits_for_a_lock
from tests.listening import before_statements
from tests.patience import PATIENCE, eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

GATE = 1
"""An advisory lock that one holds while the other shall stand still."""


@contextmanager
def after_the_snapshot(mover: Shop, shop: Shop, what: Callable[[], object]) -> Iterator[None]:
    """What happens in `shop` while the freezing of a cohort stands between its snapshot and its locks, as that of a
    large one does for a while."""
    engine, here = mover.runtime.database._writer, get_ident()
    shut, stood = Event(), list[bool]()

    def stop(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if get_ident() == here and statement.startswith("INSERT INTO moving"):
            gate = f"FROM (SELECT pg_advisory_xact_lock({GATE})) AS gate CROSS JOIN enrolment JOIN customer"
            assert "FROM enrolment JOIN customer" in statement
            statement = statement.replace("FROM enrolment JOIN customer", gate, 1)
        return statement, parameters

    def other() -> None:
        with shop.runtime.database._writer.begin() as gate:
            gate.execute(select(func.pg_advisory_xact_lock(GATE)))
            shut.set()
            eventually(lambda: waits_for_a_lock(shop.runtime.database), every=0.005)
            what()
            stood.append(True)

    thread = Thread(target=other)
    thread.start()
    shut.wait(PATIENCE)
    try:
        with before_statements(stop, engine, retval=True):
            yield
    finally:
        thread.join(PATIENCE)
    assert stood


def test_an_event_between_the_snapshot_and_the_lock_of_a_move_to_listening_is_heard(
    postgres: Postgres, tmp_path: Path
) -> None:
    with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
        shop.happens("amina", "purchase")
        (work,) = mover.runtime.work()
        with after_the_snapshot(mover, shop, lambda: shop.happens("amina", "shipped")):
            mover.runtime.move(work.version_id, "parcel", "p")
        shop.settle()
        assert shop.rows("SELECT outcome FROM enrolment") == [("arrived",)]


def test_an_event_between_the_snapshot_and_the_lock_of_the_limit_is_heard(postgres: Postgres, tmp_path: Path) -> None:
    with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
        shop.happens("amina", "purchase")
        shop.settle()
        in_time = shop.clock.now()
        shop.clock.advance_to(shop.clock.now() + timedelta(days=2))
        (work,) = mover.runtime.work()
        with after_the_snapshot(mover, shop, lambda: shop.happens("amina", "shipped", at=in_time)):
            mover.runtime.move(work.version_id, "parcel", "p")
        shop.settle()
        assert shop.rows("SELECT outcome FROM enrolment") == [("arrived",)]
