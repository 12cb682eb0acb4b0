"""Rows of a column by number: those that were asked for, whatever their order, gaps and repeats.

pytest tests/test_parquet.py
"""

from __future__ import annotations

import tempfile
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata.parquet import TextColumn


def written(folder: Path, sizes: list[int]) -> list[Path]:
    """Files of row groups of five rows, `text` counting through all of them."""
    starts = accumulate(sizes, initial=0)
    paths = []
    for number, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        paths.append(folder / f"{number}.parquet")
        pq.write_table(pa.table({"text": [f"row {start + i}" for i in range(size)]}), paths[-1], row_group_size=5)
    return paths


@pytest.mark.parametrize(
    "rows", [[0, 0, 3, 3], [2, 2, 5, 5], [0, 2, 2, 2, 4], [3, 3], [4, 3], [1, 2, 3], [5], [0, 2, 1, 3], []]
)
def test_rows_are_those_that_were_asked_for(tmp_path: Path, rows: list[int]) -> None:
    """Repeats that make up for a gap are no run of rows."""
    (path,) = written(tmp_path, [6])
    pq.write_table(pq.read_table(path), path, row_group_size=6)
    assert TextColumn([path], "text").take(pl.Series(rows, dtype=pl.UInt32)).to_pylist() == [f"row {r}" for r in rows]


@given(st.data())
def test_any_rows_of_any_files(data: st.DataObject) -> None:
    """Sorted or not, again and again from one column, over files and groups."""
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        column = TextColumn(written(Path(folder), sizes), "text")
        for _ in range(3):
            last = data.draw(st.sampled_from([min(3, sum(sizes) - 1), sum(sizes) - 1]))  # few rows: many repeats
            rows = data.draw(st.lists(st.integers(0, last), max_size=9))
            rows = sorted(rows) if data.draw(st.booleans()) else rows
            assert column.take(pl.Series(rows, dtype=pl.UInt32)).to_pylist() == [f"row {row}" for row in rows]
