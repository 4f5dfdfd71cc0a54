"""Giving codes and releasing them costs a seek a code, also when the planner knows the pool from when it was full, and
so expects that hardly any code is held."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from engine.runtime import coupons
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.listening import plans
from tests.rewards.giving import crowd, giving, states, stock

MANY = 1_000


def full(root: Path, database: Database) -> Shop:
    steps = "  - coupon: few\n    scope: customer\n  - wait: 1d\n  - send: email/code\n"
    shop = giving(root, database, steps)
    stock(shop, "few", *(f"F-{n}" for n in range(MANY)))
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    return shop


def gives(statement: str) -> bool:
    return statement.startswith("UPDATE") and "coupon" in statement


def test_a_release_compares_no_code_with_all_others(database: Database, tmp_path: Path) -> None:
    shop = full(tmp_path, database)
    with database.write() as connection:
        connection.execute(text("UPDATE coupon SET state = 'reserved', asked = 1"))
    with plans(database, gives) as found, database.write() as connection:
        assert coupons.release(connection, list(shop.runtime.programs().values())) == MANY
    ((_, plan),) = found
    seek = "SEARCH coupon USING INTEGER PRIMARY KEY" if database.dialect == "sqlite" else "using pk_coupon on coupon"
    assert seek in plan, plan
    assert states(shop, "few") == {"released": MANY}


def test_no_customer_costs_a_look_at_all_codes_that_are_held(database: Database, tmp_path: Path) -> None:
    shop = full(tmp_path, database)
    crowd(shop, MANY)
    with plans(database, gives) as found:
        shop.runtime.advance()
    assert states(shop, "few") == {"reserved": MANY}
    judged = [plan for _, plan in found if "ix_coupon_expires" in plan]
    assert found and not judged, judged[0]
