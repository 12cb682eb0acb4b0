"""The hash of rows depends on their values and order alone.

pytest tests/test_content.py
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata.content import Content

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [("text", pa.string()), ("turns", pa.list_(MESSAGE)), ("delta", pa.float64()), ("count", pa.uint32())]
)
turns = st.lists(st.fixed_dictionaries({"role": st.sampled_from("us"), "content": st.none() | st.text(max_size=3)}))
row = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=4),
        "turns": st.none() | turns,
        "delta": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(0, 9),
    }
)


def told(*tables: pa.Table) -> str:
    content = Content()
    for table in tables:
        content.add(table)
    return content.hexdigest()


def table(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


@given(st.lists(row, max_size=8), st.lists(st.integers(0, 8), max_size=3))
def test_it_does_not_matter_where_a_table_ends(rows: list[dict[str, Any]], cuts: list[int]):
    """Files, row groups, batches of another size and slices (whose buffers hold more than they show) hash alike."""
    whole = table(rows)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    apart = [table(rows[a:b]) for a, b in pairwise(edges)]
    slices = [whole.slice(a, b - a) for a, b in pairwise(edges)]

    assert told(*apart) == told(*slices) == told(*([whole] if rows else []))


def test_large_strings_and_lists_are_the_same_values():
    """Libraries differ in the width of their offsets."""
    large = pa.schema(
        [
            ("text", pa.large_string()),
            ("turns", pa.large_list(MESSAGE)),
            ("delta", pa.float64()),
            ("count", pa.uint32()),
        ]
    )
    rows = [{"text": "ö", "turns": [{"role": "u", "content": None}], "delta": -0.5, "count": 3}]

    assert told(table(rows)) == told(table(rows, large))


@given(st.lists(row, min_size=1, max_size=4), st.data())
def test_another_value_is_another_hash(rows: list[dict[str, Any]], data: st.DataObject):
    """Nothing that a row holds is left out."""
    at, name = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(SCHEMA.names))
    other = data.draw(row)[name]
    before = rows[at][name]
    same = before == other and not (isinstance(other, float) and math.copysign(1, other) != math.copysign(1, before))

    assert (told(table(rows)) == told(table([*rows[:at], rows[at] | {name: other}, *rows[at + 1 :]]))) == same


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([{"text": "ab"}, {"text": "c"}], [{"text": "a"}, {"text": "bc"}]),
        ([{"text": "a"}, {"text": "b"}], [{"text": "b"}, {"text": "a"}]),
        ([{"text": ""}], [{"text": None}]),
        ([{"turns": []}], [{"turns": None}]),
        (
            [{"turns": [{"role": "u", "content": "x"}]}, {"turns": []}],
            [{"turns": []}, {"turns": [{"role": "u", "content": "x"}]}],
        ),
    ],
)
def test_borders_order_and_nulls_count(one: list[dict[str, Any]], two: list[dict[str, Any]]):
    """What a plain join of all bytes would miss."""
    assert told(table(one)) != told(table(two))


def test_a_column_of_another_name_is_another_hash():
    """Names belong to the content."""
    assert told(pa.table({"a": ["x"]})) != told(pa.table({"b": ["x"]}))
