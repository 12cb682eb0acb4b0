"""A hash of rows: the same for the same values in the same order, whatever file, chunk or library they come from.

The record of a dataset has it for every split; `deltadata verify` computes it again of what the Hub gives back.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Content:
    """Takes tables of one schema, in order; `hexdigest` is 64 digits over column names and values."""

    def __init__(self) -> None:
        # A stream of bytes per level of each column, so that it does not matter where one table ends.
        self._streams: dict[str, Any] = defaultdict(hashlib.sha256)
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Raises TypeError for a kind of column that no published table has."""
        self.rows += rows.num_rows
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            for chunk in column.chunks:
                self._feed(name, chunk)

    def hexdigest(self) -> str:
        whole = hashlib.sha256()
        for name in sorted(self._streams):
            whole.update(f"{name}\0{self._streams[name].hexdigest()}\n".encode())
        return whole.hexdigest()

    def _feed(self, name: str, values: pa.Array) -> None:
        self._put(f"{name}?", pc.is_valid(values).cast(pa.uint8()))
        there = values.drop_null()
        kind = there.type
        if pa.types.is_struct(kind):
            for field, inner in zip(kind, there.flatten(), strict=True):
                self._feed(f"{name}.{field.name}", inner)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._put(f"{name}#", pc.list_value_length(there).cast(pa.int64()))
            self._feed(f"{name}[]", there.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = there.cast(pa.large_binary())
            self._put(f"{name}#", pc.binary_length(text))
            offsets = np.frombuffer(text.buffers()[1], np.int64)[text.offset :][: len(text) + 1]
            self._streams[name].update(memoryview(text.buffers()[2])[offsets[0] : offsets[-1]] if len(text) else b"")
        elif pa.types.is_boolean(kind):
            self._put(name, there.cast(pa.uint8()))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._put(name, there)
        else:
            raise TypeError(f"column {name!r} of type {kind}")

    def _put(self, stream: str, numbers: pa.Array) -> None:
        self._streams[stream].update(np.ascontiguousarray(numbers.to_numpy(zero_copy_only=False)).tobytes())
