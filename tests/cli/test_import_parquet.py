"""Parquet files: read slice by slice, from any row, with the memory of a row group."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from engine.imports import reading
from engine.imports.reading import Place

PEAK = """
import sys
from collections import deque
from pathlib import Path
from engine.imports.reading import opened
deque(opened(Path(sys.argv[1])).rows(), maxlen=0)
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""
"""Tells the most memory a process has had, in MB. (`ru_maxrss` would count its parent's, too.)"""


@pytest.mark.parametrize("group", [3, 10, 100])
def test_every_row_comes_once_in_order_from_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(reading, "PARQUET_ROWS", 7)
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"n": range(50)}).write_parquet(path, row_group_size=group)
    for start in (0, 1, 7, 20, 49, 50):
        table = reading.opened(path)
        table.go_on(Place(start, start))
        rows = list(table.rows())
        assert [(row.line, *row.values) for row in rows] == [(n + 1, n) for n in range(start, 50)]
        assert (table.place(), table.done()) == (Place(50, 50), 1.0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it there")
def test_a_file_of_many_row_groups_takes_no_more_memory_than_one_of_few(tmp_path: Path) -> None:
    def peak(groups: int) -> int:
        path = tmp_path / f"{groups}.parquet"
        n = pl.int_range(groups * 100_000)
        frame = pl.select(
            *(("a text that is long enough to weigh " + (n * k).cast(pl.String)).alias(f"c{k}") for k in range(1, 9))
        )
        frame.write_parquet(path, row_group_size=100_000)
        told = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
        return int(told.stdout)

    few, many = peak(4), peak(16)
    assert many - few < 80, f"{few} MB with 4 row groups, {many} MB with 16"
