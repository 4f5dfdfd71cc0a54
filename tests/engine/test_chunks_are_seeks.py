"""A chunk of a large cohort costs what it moves, not what is still to be moved, nor what has been."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import insert, text

from engine.runtime.advance import move_step
from engine.runtime.pace import Pace
from engine.store.database import Database
from engine.store.tables import customer, enrolment
from tests.engine.shop import START, Shop
from tests.listening import plans

MANY, CHUNK = 20_000, 1_000
JOURNEY = """
enter: {event: purchase}
steps:
  - branch:
      - if: customer.tier == "gold"
        then: [{tag: gold}]
      - else: [{tag: other}]
"""


class Small(Pace):
    LARGE = SMALL = CHUNK


def test_whoever_is_taken_next_is_found_by_the_index_of_who_is_due(database: Database, tmp_path: Path) -> None:
    """Else PostgreSQL walks through the table, past all whom the chunks before have moved, for each chunk."""
    shop = Shop.of(tmp_path, database, {"many": JOURNEY})
    (program,) = shop.runtime.programs().values()
    at = {"created_at": START, "updated_at": START}
    people = [{"external_id": f"c{n}", "attributes": {}, "bucket": n, **at} for n in range(MANY)]
    with database.write() as connection:
        connection.execute(insert(customer), people)
        ids = connection.execute(text("SELECT id FROM customer ORDER BY id")).scalars().all()
        here = {"journey": "many", "version_id": program.version_id, "step": "branch_1", "state": "ready", "visit": 1}
        here |= {"key": "", "side_by_side": False, "due_at": START, "entered_at": START, "moved_at": START}
        connection.execute(insert(enrolment), [{"customer_id": id_, "cause": "t", **here} for id_ in ids])
    with database.write() as connection:
        connection.exec_driver_sql("ANALYZE")
    with plans(database, lambda statement: statement.startswith("INSERT INTO moving")) as found:
        report = move_step(database, program, "branch_1", START, "test", pace=Small(database.dialect))
    assert report.moved == MANY
    assert len(found) == MANY // CHUNK + 1
    for _, plan in found:
        assert "ix_enrolment_cohort" in plan, plan
        assert "Sort" not in plan and "TEMP B-TREE" not in plan, plan
        assert "entry" not in plan, plan  # nothing is asked of the event that let them in
