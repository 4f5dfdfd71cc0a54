"""Imports that are killed anywhere and run again, and files that are gzipped: the same as one unbroken import."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from sqlalchemy import func, select

from engine.imports import Unreadable
from engine.imports.batches import Writing
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.store.database import Database
from engine.store.tables import customer, enrolment, event, mark, segment_member, tally, touched
from tests.cli.test_import import NOW, PROJECT, Shop

ROOT = Path(__file__).parents[2]
SEED = 20261125
ROWS = 40_000

RUN = """
import sys
from pathlib import Path
from engine.app import App
from engine.imports import Import
from engine.runtime.advance import Pace
from engine.runtime.clock import VirtualClock
from engine.settings import Settings
from tests.cli.test_import import NOW

Pace.LARGE = 1_500
root, address, file = sys.argv[1:]
app = App(Settings.of(Path(root), database_url=address, secret_key="a secret of the tests"), VirtualClock(NOW))
work = Import(app.runtime, app.door)
work.going_on = lambda rows: print("going on", rows, flush=True)
result = work.run(Path(file), lambda done, rows: print(rows, flush=True))
print("ended", result.rows, result.new, result.known, result.rejected, flush=True)
"""


def write_events(path: Path, rows: int = ROWS) -> None:
    """One in fifty rows is refused, one in forty has the key of another, and every customer comes in every batch."""
    chance = random.Random(SEED)
    with path.open("w", encoding="utf-8") as file:
        file.write("customer,event,at,order_id,total\n")
        for n in range(rows):
            total = "ten" if n % 50 == 7 else f"{chance.randrange(100, 9000) / 100:.2f}"
            key = chance.randrange(n) if n and n % 40 == 3 else n
            at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(500_000))
            file.write(f"c{chance.randrange(400)},purchase,{at.isoformat()},o{key},{total}\n")
            if n % 1000 == 17:
                file.write('"é,\nü",purchase,2025-01-01,,1\n\n')


def facts(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """What an import leaves, without row ids."""
    e, t, c = event.c, tally.c, customer.c
    asked = {
        "tallies": select(c.external_id, t.name, t.count, t.total, t.first_at, t.last_at).join_from(
            tally, customer, c.id == t.customer_id
        ),
        "events": select(c.external_id, e.source, e.key, e.name, e.occurred_at).join_from(
            event, customer, c.id == e.customer_id
        ),
    }
    with database.read() as connection:
        return {name: sorted(tuple(row) for row in connection.execute(what)) for name, what in asked.items()}


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    made = Shop(project({"workflows/project.yaml": PROJECT}), database)
    yield made
    made.app.close()


def start(shop: Shop, address: str, file: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, str(shop.root), address, str(file)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_after(running: subprocess.Popen[str], batches: int, delay: float) -> list[str]:
    """What it said until it was killed, some time after so many batches."""
    assert running.stdout is not None
    said = []
    for line in running.stdout:
        said.append(line.strip())
        batches -= line.strip().isdigit()
        if batches <= 0:
            try:
                running.wait(delay)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
            break
    rest, _ = running.communicate()
    return [*said, *rest.split("\n")]


def test_an_import_killed_anywhere_and_run_again_is_the_same_as_an_unbroken_one(
    shop: Shop, database: Database, project: Callable[..., Path]
) -> None:
    whole, broken = shop.root / "whole.csv", shop.root / "broken.csv"
    write_events(whole)
    result = shop.take(whole, source="import")
    expected, rejected = facts(database), (shop.root / "whole.rejected.csv").read_bytes()
    assert result.rejected >= 800 and result.known > 500
    with database.write() as connection:
        for table in (event, tally, touched, customer):
            connection.execute(table.delete())
    whole.rename(broken)
    address = database.url.render_as_string(hide_password=False)
    chance, resumed = random.Random(SEED), 0
    for _ in range(4):
        said = killed_after(start(shop, address, broken), chance.randint(1, 6), chance.uniform(0, 0.05))
        assert not any(line.startswith("ended") for line in said)
        resumed += any(line.startswith("going on") for line in said)
    last = start(shop, address, broken)
    out, err = last.communicate()
    assert last.returncode == 0, err[-2000:]
    assert resumed == 3 and out.startswith("going on")
    said_last = out.strip().split("\n")[-1]
    assert said_last == f"ended {result.rows} {result.new} {result.known} {result.rejected}"
    assert facts(database) == expected
    assert (shop.root / "broken.rejected.csv").read_bytes() == rejected
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(mark)) == 0


class Stop(Exception):
    """Stands for what breaks an import off."""


def broken_off(shop: Shop, path: Path, batches: int, **how: Any) -> None:
    from engine.imports import Import

    seen = 0

    def tell(done: float, rows: int) -> None:
        nonlocal seen
        seen += 1
        if seen == batches:
            raise Stop

    with pytest.raises(Stop):
        Import(shop.app.runtime, shop.app.door, **how).run(path, tell)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.advance.Pace.LARGE", 40)


def write_lines(path: Path, bad: int = 7) -> None:
    lines = [
        {
            "customer": f"ü{n % 9}",
            "event": "purchase",
            "at": "2026-01-01T09:00:00",
            "total": "x" if n % 30 == bad else n,
        }
        for n in range(300)
    ]
    text = b"".join(orjson.dumps(line) + (b"\n\n" if n % 11 == 0 else b"\n") for n, line in enumerate(lines))
    if path.suffix == ".parquet":
        columns = {name: [str(line[name]) for line in lines] for name in lines[0]}
        pl.DataFrame(columns).write_parquet(path, row_group_size=64)
    elif ".csv" in path.suffixes:
        rows = "".join(",".join(str(line[name]) for name in lines[0]) + "\r\n" for line in lines)
        text = b"\xef\xbb\xbf" + (",".join(lines[0]) + "\r\n" + rows).encode()
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text))
    elif path.suffix != ".parquet":
        path.write_bytes(text)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.ndjson", "a.jsonl.gz", "a.parquet"])
def test_every_kind_of_file_goes_on_where_it_was_broken_off(shop: Shop, name: str) -> None:
    path = shop.root / name
    write_lines(path)
    whole = shop.take(path)
    assert (whole.rows, whole.rejected, whole.new, whole.resumed) == (300, 10, 290, 0)
    assert whole.reject_file is not None and not whole.reject_file.name.endswith(".gz")
    expected = whole.reject_file.read_bytes()
    counts = shop.rows(tally.c.count, tally.c.total)
    whole.reject_file.unlink()
    broken_off(shop, path, 3)
    again = shop.take(path)
    assert 0 < again.resumed < 300
    assert (again.rows, again.rejected, again.new, again.known) == (300, 10, 0, 290)
    assert again.reject_file is not None and again.reject_file.read_bytes() == expected
    assert shop.rows(tally.c.count, tally.c.total) == counts
    assert shop.take(path).resumed == 0  # it had ended, so it is read anew


@pytest.mark.usefixtures("small_batches")
def test_a_file_that_has_changed_or_is_read_another_way_begins_anew(shop: Shop) -> None:
    path = shop.root / "a.csv"
    write_lines(path)
    broken_off(shop, path, 3)
    write_lines(path, bad=8)
    assert shop.take(path).resumed == 0
    broken_off(shop, path, 3)
    assert shop.take(path, source="till").resumed == 0


@pytest.mark.usefixtures("small_batches")
def test_an_import_whose_file_of_rejected_rows_is_gone_begins_anew(shop: Shop) -> None:
    path = shop.root / "a.csv"
    write_lines(path)
    broken_off(shop, path, 3)
    (shop.root / "a.rejected.csv").unlink()
    again = shop.take(path)
    assert (again.resumed, again.rejected, again.new + again.known) == (0, 10, 290)


def test_a_gzipped_file_that_is_cut_off_is_told_with_its_line_and_nothing_is_lost_or_counted_twice(shop: Shop) -> None:
    path = shop.root / "a.csv.gz"
    write_events(shop.root / "a.csv", 20_000)
    packed = gzip.compress((shop.root / "a.csv").read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Unreadable, match=r"can't be unpacked beyond line \d+"):
        shop.take(path)
    path.write_bytes(packed)
    shop.take(path)
    there = facts(shop.app.database)
    shop.take(shop.root / "a.csv")
    assert facts(shop.app.database) == there


def test_progress_of_a_gzipped_file_is_told_by_its_packed_bytes(shop: Shop) -> None:
    from engine.imports import Import

    path, heard = shop.root / "a.csv.gz", []
    write_events(shop.root / "a.csv", 20_000)
    path.write_bytes(gzip.compress((shop.root / "a.csv").read_bytes()))
    Import(shop.app.runtime, shop.app.door).run(path, lambda done, rows: heard.append(done))
    assert heard == sorted(heard) and heard[-1] == 1.0 and 0 < heard[0] < 1


def test_an_import_leaves_what_the_same_events_leave_at_the_door(shop: Shop, database: Database) -> None:
    chance, batch, lines = random.Random(SEED), [], ["customer,event,at,order_id,total"]
    for n in range(3_000):
        who, total, key = f"c{chance.randrange(50)}", chance.randrange(-100, 9_000), str(n)
        name, at = chance.choice(["purchase", "shipped"]), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=n)
        said = {"order_id": key, "total": f"{total}.50"} if name == "purchase" else {"order_id": key}
        properties = shop.app.door.properties(name, said, Problems())
        for _ in range(1 + (n % 20 == 0)):  # the same row twice is one event
            batch.append(Incoming(who, name, f"{name}:{key}", at, properties, None, "import"))
            lines.append(f"{who},{name},{at.isoformat()},{key},{said.get('total', '')}")
    receipt = shop.app.runtime.ingest(batch, live=False)
    expected, people = facts(database), shop.rows(customer.c.external_id, customer.c.bucket)
    touches = shop.count(touched)
    with database.write() as connection:
        for table in (event, tally, touched, customer):
            connection.execute(table.delete())
    path = shop.root / "a.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = shop.take(path)
    assert (result.new, result.known) == (receipt.accepted, receipt.duplicates)
    assert facts(database) == expected
    assert shop.rows(customer.c.external_id, customer.c.bucket) == people
    assert shop.count(touched) == touches
    assert shop.rows(func.count(segment_member.c.customer_id)) == [(0,)]


def test_a_value_that_is_a_number_is_summed_while_it_is_whole(database: Database, project: Callable[..., Path]) -> None:
    text = PROJECT.replace("shipped: {", "shipped: {value: weight, ").replace(
        "{order_id: text}}\ntopics", "{order_id: text, weight: number}}\ntopics"
    )
    shop = Shop(project({"workflows/project.yaml": text}), database)
    shop.take("customer,event,at,weight\na,shipped,2026-01-01,3\na,shipped,2026-01-02,2.5\na,shipped,2026-01-03,4.0\n")
    assert shop.rows(tally.c.count, tally.c.total) == [(3, 7)]
    shop.app.close()


def test_batches_are_small_while_another_process_writes_to_sqlite(tmp_path: Path, project: Callable[..., Path]) -> None:
    here, there = (Database(f"sqlite:///{tmp_path / 'a.db'}") for _ in range(2))
    here.migrate()
    shop = Shop(project({"workflows/project.yaml": PROJECT}), here)
    writing = Writing(shop.app.runtime)
    sizes = []
    for turn in range(3):
        if turn == 1:
            with there.write() as connection:
                connection.execute(mark.insert().values(name="other", value={}))
        with here.write() as connection:
            writing.look(connection)
        sizes.append(writing.size())
    assert sizes[0] > 20 * sizes[1] / 2 and sizes[1] == sizes[2]
    shop.app.close()
    there.dispose()


def test_json_lines_that_name_other_columns_each_time_are_read_as_what_the_first_one_is(shop: Shop) -> None:
    path = shop.root / "a.ndjson"
    lines: list[dict[str, Any]] = [{"nobody": 1}, {"id": "amina", "tier": "gold"}, {"id": "baraka", "at": "2026-01-01"}]
    path.write_bytes(b"no\n" + b"".join(orjson.dumps(line) + b"\n" for line in lines[1:]))
    result = shop.take(path)
    assert (result.kind, result.new, result.rejected, result.left_out) == ("customers", 2, 1, ("at",))


NEVER = "journey: never\nenter: {segment: strangers}\nsteps:\n  - tag: hello\n"


@pytest.mark.usefixtures("small_batches")
def test_who_is_made_by_an_import_does_not_join_before_their_history_is_there(
    database: Database, project: Callable[..., Path]
) -> None:
    files = {"project": PROJECT, "segments": 'strangers: not did("purchase")\n', "never": NEVER}
    shop = Shop(project({f"workflows/{name}.yaml": text for name, text in files.items()}), database)
    shop.app.runtime.publish()
    write_lines(shop.root / "a.csv")
    for turn in range(3):  # each batch brings people nobody has heard of
        text = "".join(f"n{turn}-{n},shipped,2026-01-01,\n" for n in range(60))
        shop.take("customer,event,at,order_id\n" + text)
    shop.take(shop.root / "a.csv")
    shop.clock.advance_to(NOW + timedelta(minutes=1))
    shop.app.runtime.tick()
    assert shop.count(enrolment) == 0
    assert shop.count(segment_member) == 180
    shop.app.close()


def test_history_of_somebody_who_was_merged_counts_for_who_they_are_now(shop: Shop) -> None:
    shop.take("customer,event,at,order_id\namina,purchase,2026-01-02,1\nasha,purchase,2026-01-03,2\n")
    shop.app.runtime.people().merge("asha", "amina")
    shop.take("customer,event,at,order_id\nasha,purchase,2025-12-01,3\namina,purchase,2026-01-05,4\n")
    assert shop.rows(customer.c.external_id) == [("amina",)]
    assert shop.rows(tally.c.name, tally.c.count)[-1] == ("purchase", 4)
    assert shop.rows(customer.c.created_at) == [(datetime(2025, 11, 30, 21, tzinfo=UTC),)]
