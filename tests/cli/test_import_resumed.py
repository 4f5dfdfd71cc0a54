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

from engine.app import App
from engine.imports import Changed, Unreadable
from engine.imports.batches import Writing
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Problems
from engine.runtime.ingest import Incoming
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import customer, enrolment, event, identity, mark, segment_member, tally, touched
from tests.cli.session import karibu
from tests.cli.test_import import NOW, PROJECT, Shop

ROOT = Path(__file__).parents[2]
SEED = 20261125
ROWS = 12_000

RUN = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from engine.app import App
from engine.imports import Import
from engine.runtime.advance import Pace
from engine.runtime.clock import VirtualClock
from engine.settings import Settings
from tests.cli.test_import import NOW

Pace.LARGE = 500
root, address, file, points = sys.argv[1:]
left = int(points)

def point(*of):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

app = App(Settings.of(Path(root), database_url=address, secret_key="a secret of the tests"), VirtualClock(NOW))
work = Import(app.runtime, app.door)

def going_on(rows):
    print("going on", rows, flush=True)

work.going_on = going_on
for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
    event.listen(Engine, moment, point)
result = work.run(Path(file), lambda done, rows: point())
print("ended", result.rows, result.new, result.known, result.rejected, flush=True)
"""
"""An import that is killed at one of its own steps: before or after a statement, before a commit or after it."""


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
        "customers": select(c.external_id, c.bucket, c.created_at),
        "touched": select(c.external_id).join_from(touched, customer, c.id == touched.c.customer_id),
    }
    with database.read() as connection:
        return {name: sorted(tuple(row) for row in connection.execute(what)) for name, what in asked.items()}


def cleared(database: Database) -> None:
    with database.write() as connection:
        for table in (event, tally, touched, customer):
            connection.execute(table.delete())


@pytest.fixture
def shop(database: Database, project: Callable[..., Path]) -> Iterator[Shop]:
    made = Shop(project({"workflows/project.yaml": PROJECT}), database)
    yield made
    made.app.close()


def ran(shop: Shop, database: Database, file: Path, points: int) -> tuple[int, list[str], str]:
    """A process that imports a file, and is killed after so many steps: its exit code and what it said."""
    address = database.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(shop.root), address, str(file), str(points)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr[-2000:]


def packed(plain: Path, kind: str) -> Path:
    """The same rows in another kind of file."""
    if kind == ".csv":
        return plain
    path = plain.with_suffix(kind)
    if kind == ".csv.gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        pl.read_csv(plain, infer_schema=False).write_parquet(path, row_group_size=1_000)
    return path


@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".parquet"])
def test_an_import_killed_anywhere_and_run_again_is_the_same_as_an_unbroken_one(
    shop: Shop, database: Database, kind: str
) -> None:
    plain = shop.root / "a.csv"
    write_events(plain)
    path = packed(plain, kind)
    result = shop.take(path, source="import")
    assert result.reject_file is not None
    expected, rejected = facts(database), result.reject_file.read_bytes()
    assert result.rejected >= ROWS // 50 and result.known > 100
    result.reject_file.unlink()
    cleared(database)
    chance, resumed = random.Random(f"{SEED}{kind}"), []
    for turn in range(3):  # 24 batches of some 45 steps each
        code, said, err = ran(shop, database, path, chance.randint(120, 280))
        assert code == -signal.SIGKILL, err
        resumed += [int(line.split()[2]) for line in said]
        assert len(resumed) == turn
    code, said, err = ran(shop, database, path, 0)
    assert code == 0, err
    assert said[0].startswith("going on") and 0 < resumed[0] < resumed[1] < int(said[0].split()[2]) < result.rows
    assert said[1:] == [f"ended {result.rows} {result.new} {result.known} {result.rejected}"]
    assert facts(database) == expected
    assert result.reject_file.read_bytes() == rejected
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
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_file_that_has_changed_since_it_was_broken_off_is_refused_until_one_says_anew(shop: Shop, name: str) -> None:
    path = shop.root / name
    write_lines(path)
    there, when = path.read_bytes(), path.stat().st_mtime_ns
    broken_off(shop, path, 3)
    counts = shop.rows(tally.c.count, tally.c.total)
    write_lines(path, bad=8)
    with pytest.raises(Changed, match=rf"{name} has changed since its import was broken off after 120 rows"):
        shop.take(path)
    assert shop.rows(tally.c.count, tally.c.total) == counts
    path.write_bytes(there)
    os.utime(path, ns=(when, when))
    broken_off(shop, path, 1)  # as it was: it goes on
    write_lines(path, bad=8)
    again = shop.take(path, anew=True)
    assert (again.resumed, again.rows, again.rejected) == (0, 300, 10)
    assert shop.take(path).resumed == 0


@pytest.mark.usefixtures("small_batches")
def test_the_command_says_what_to_do_about_a_changed_file_and_where_it_goes_on(project: Callable[..., Path]) -> None:
    root = project({"workflows/project.yaml": PROJECT})
    app = App(Settings.of(root, secret_key="a secret of the tests"), VirtualClock(NOW))
    app.database.migrate()
    shop, path = Shop(root, app.database), root / "a.csv"
    write_lines(path)
    broken_off(shop, path, 3)
    there, when = path.read_bytes(), path.stat().st_mtime_ns
    write_lines(path, bad=8)

    def said(*options: str) -> tuple[int, str]:
        ran = karibu("import", str(path), "-C", str(root), *options, clock=VirtualClock(NOW))
        return ran.code, ran.out + ran.err

    code, text = said()
    assert code == 2
    assert "a.csv has changed since its import was broken off after 120 rows" in text and "--anew" in text
    path.write_bytes(there)
    os.utime(path, ns=(when, when))
    code, text = said()
    assert code == 1 and "going on after 120 rows: an import of this file was broken off there" in text
    assert "300 rows" in text and "290 new events" in text and "10 rows were not taken" in text
    app.close()


FIRST = "journey: first\nenter: {event: shipped}\nsteps:\n  - tag: first\n"


def test_a_live_import_that_was_broken_off_begins_anew_and_lets_nobody_in_twice(
    database: Database, project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(project({"workflows/project.yaml": PROJECT, "workflows/first.yaml": FIRST}), database)
    shop.app.runtime.publish()
    monkeypatch.setattr("engine.imports.taking.BATCH", 20)
    path = shop.root / "a.csv"
    path.write_text("customer,event,at\n" + "".join(f"c{n},shipped,2026-03-01T06:30:00Z\n" for n in range(90)))
    broken_off(shop, path, 2, live=True)
    assert shop.count(enrolment) == 40
    again = shop.take(path, live=True)
    assert (again.resumed, again.rows, again.new, again.known) == (0, 90, 50, 40)
    assert shop.count(enrolment) == shop.count(event) == 90
    shop.app.close()


@pytest.mark.usefixtures("small_batches")
def test_a_file_that_is_read_another_way_begins_anew(shop: Shop) -> None:
    path = shop.root / "a.csv"
    write_lines(path)
    broken_off(shop, path, 3)
    again = shop.take(path, source="till")
    assert (again.resumed, again.rows) == (0, 300)


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
    with pytest.raises(Unreadable, match=r"can't be unpacked beyond line \d+.* with --anew"):
        shop.take(path)
    path.write_bytes(packed)
    shop.take(path, anew=True)
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


@pytest.mark.usefixtures("small_batches")
def test_an_import_leaves_what_the_same_events_leave_at_the_door(shop: Shop, database: Database) -> None:
    chance, rows = random.Random(SEED), []
    for n in range(1_000):
        who, total, key = f"c{chance.randrange(50)}", chance.randrange(-100, 9_000), str(n)
        name, at = chance.choice(["purchase", "shipped"]), datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=n)
        said = {"order_id": key, "total": f"{total}.50"} if name == "purchase" else {"order_id": key}
        rows += [(who, name, key, at, said)] * (1 + (n % 20 == 0))  # the same row twice is one event
    chance.shuffle(rows)  # so that later batches know of earlier events
    door = shop.app.door
    batch = [
        Incoming(who, name, f"{name}:{key}", at, door.properties(name, said, Problems()), None, "import")
        for who, name, key, at, said in rows
    ]
    receipt = shop.app.runtime.ingest(batch, live=False)
    expected = facts(database)
    cleared(database)
    path = shop.root / "a.csv"
    lines = [f"{who},{name},{at.isoformat()},{key},{said.get('total', '')}" for who, name, key, at, said in rows]
    path.write_text("\n".join(["customer,event,at,order_id,total", *lines]) + "\n", encoding="utf-8")
    result = shop.take(path)
    assert (result.new, result.known) == (receipt.accepted, receipt.duplicates)
    assert facts(database) == expected
    assert shop.rows(func.count(segment_member.c.customer_id)) == [(0,)]


def test_history_moves_the_beginning_of_a_customer_unless_it_was_said(shop: Shop) -> None:
    shop.take("id,created\namina,2025-06-01\nbaraka,\n")
    shop.take("customer,event,at\namina,shipped,2025-01-01\nbaraka,shipped,2025-01-01\nbaraka,shipped,2025-02-01\n")
    began = [
        (name, at.astimezone(UTC).isoformat()[:10])
        for name, at in shop.rows(customer.c.external_id, customer.c.created_at)
    ]
    assert began == [("amina", "2025-05-31"), ("baraka", "2024-12-31")]  # midnight in Nairobi


def test_history_of_an_anonymous_id_and_of_an_address_is_of_whoever_they_are_now(shop: Shop) -> None:
    shop.take("id,email\namina,amina@shop.example\n")
    door = shop.app.door
    address = door.address_hash("email", "amina@shop.example")
    with shop.app.database.write() as connection:
        row_id = connection.scalar(select(customer.c.id))
        connection.execute(identity.insert().values(kind="anonymous", value="4f2c", customer_id=row_id, at=NOW))
    shop.take(
        "customer,event,at,order_id\n"
        f"anonymous:4f2c,shipped,2025-01-02,1\nemail:{address},shipped,2025-01-01,2\nanonymous:new,shipped,2025-01-03,3\n"
    )
    counted = select(customer.c.external_id, tally.c.count).join_from(
        tally, customer, customer.c.id == tally.c.customer_id
    )
    with shop.app.database.read() as connection:
        assert sorted(map(tuple, connection.execute(counted))) == [("amina", 2), ("anonymous:new", 1)]
        amina = select(customer.c.created_at).where(customer.c.external_id == "amina")
        assert connection.scalar(amina) == datetime(2024, 12, 31, 21, tzinfo=UTC)


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
