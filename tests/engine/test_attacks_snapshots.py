"""Law 3 inside one statement: PostgreSQL shows a statement what was committed before it began, but lets it lock what was
committed since."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread, get_ident
from time import sleep
from typing import Any

import pytest
from sqlalchemy import event as hooks

from tests.conftest import Postgres
from tests.engine.shop import Shop
from tests.engine.test_interleavings import LISTEN, two_engines

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

NAP = 0.8


@contextmanager
def slow_to_lock(shop: Shop) -> Iterator[None]:
    """The freezing of a cohort takes a while between its snapshot and its locks, as that of a large one does."""
    engine, here = shop.runtime.database._writer, get_ident()

    def nap(_c: Any, _k: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if get_ident() == here and statement.startswith("INSERT INTO moving"):
            slow = f"FROM (SELECT pg_sleep({NAP})) AS nap CROSS JOIN enrolment JOIN customer"
            assert "FROM enrolment JOIN customer" in statement
            statement = statement.replace("FROM enrolment JOIN customer", slow, 1)
        return statement, parameters

    hooks.listen(engine, "before_cursor_execute", nap, retval=True)
    try:
        yield
    finally:
        hooks.remove(engine, "before_cursor_execute", nap)


def beside(shop: Shop, what: Any) -> Thread:
    def after_the_snapshot() -> None:
        sleep(NAP / 2)
        what()

    thread = Thread(target=after_the_snapshot)
    thread.start()
    return thread


def test_an_event_between_the_snapshot_and_the_lock_of_a_move_to_listening_is_heard(
    postgres: Postgres, tmp_path: Path
) -> None:
    with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
        shop.happens("amina", "purchase")
        (work,) = mover.runtime.work()
        with slow_to_lock(mover):
            other = beside(shop, lambda: shop.happens("amina", "shipped"))
            mover.runtime.move(work.version_id, "parcel", "p")
            other.join()
        shop.settle()
        assert shop.rows("SELECT outcome FROM enrolment") == [("arrived",)]


def test_an_event_between_the_snapshot_and_the_lock_of_the_limit_is_heard(postgres: Postgres, tmp_path: Path) -> None:
    with two_engines(postgres, tmp_path, LISTEN) as (mover, shop):
        shop.happens("amina", "purchase")
        shop.settle()
        in_time = shop.clock.now()
        shop.clock.advance_to(shop.clock.now() + timedelta(days=2))
        (work,) = mover.runtime.work()
        with slow_to_lock(mover):
            other = beside(shop, lambda: shop.happens("amina", "shipped", at=in_time))
            mover.runtime.move(work.version_id, "parcel", "p")
            other.join()
        shop.settle()
        assert shop.rows("SELECT outcome FROM enrolment") == [("arrived",)]
