"""Parquet: one way to write it, and to read text by row without holding a file in memory.

with writing(path, schema) as writer: writer.write(rows)     # appears under `path` when the block ends well
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from deltadata.errors import UserError
from deltadata.store import atomic

ROW_GROUP_BYTES = 16 << 20  # uncompressed; the Hub's viewer wants 100 MB or less, and readers hold one at a time
ANEW = "remove that file, then `deltadata run RECIPE`: what it held is made anew"
SHARD_BYTES = 1 << 30  # uncompressed; about 300-500 MB as zstd


class Writer:
    """Streams rows into one parquet file as the Hub likes it: zstd, page index, content-defined chunks."""

    def __init__(self, path: Path, schema: pa.Schema, published: bool = True) -> None:
        options: dict[str, Any] = {}
        if published:
            chunking = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}
            # The key that `datasets` writes, so that a later push by either cuts the same chunks.
            schema = schema.with_metadata({b"content_defined_chunking": json.dumps(chunking).encode()})
            options = {"use_content_defined_chunking": chunking, "write_page_index": True}
        self.schema, self.rows, self.bytes = schema, 0, 0
        self._file = pq.ParquetWriter(path, schema, compression="zstd", **options)
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        # Encoding and compressing let go of the interpreter: the next rows are read meanwhile.
        self._beside = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def write(self, rows: pa.Table) -> None:
        """Takes rows of the schema; they reach the file when a row group is full."""
        rows = rows.cast(self.schema) if rows.schema != self.schema else rows
        size = rows.nbytes
        if size > ROW_GROUP_BYTES and rows.num_rows > 1:
            half = rows.num_rows // 2
            self.write(rows.slice(0, half))
            self.write(rows.slice(half))
            return
        if self._held_bytes + size > ROW_GROUP_BYTES:
            self._flush()
        self._held.append(rows)
        self._held_bytes += size
        self.rows += rows.num_rows
        self.bytes += size

    def _flush(self) -> None:
        """Give the held rows to the thread, once the group before them is written."""
        self._wait()
        if self._held:
            self._writing = self._beside.submit(self._write_group, self._held)
            self._held, self._held_bytes = [], 0

    def _write_group(self, held: list[pa.Table]) -> None:
        group = pa.concat_tables(held).combine_chunks()
        held.clear()
        self._file.write_table(group, row_group_size=max(group.num_rows, 1))
        del group
        pa.default_memory_pool().release_unused()  # else a long job keeps hundreds of MB

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def close(self) -> None:
        try:
            self._flush()
            self._wait()
        finally:
            self._beside.shutdown()
            self._file.close()


@contextmanager
def writing(path: Path, schema: pa.Schema, published: bool = True) -> Iterator[Writer]:
    """A Writer whose file appears under `path` only when the block ends well."""
    with atomic(path) as temporary:
        writer = Writer(temporary, schema, published)
        try:
            yield writer
        finally:
            writer.close()


def write_table(path: Path, rows: pa.Table, metadata: dict[bytes, str] | None = None) -> None:
    """A whole small table, atomically; `metadata` goes into the file's footer."""
    with writing(path, rows.schema.with_metadata(metadata), published=False) as writer:
        writer.write(rows)


@contextmanager
def open_parquet(path: Path, schema: pa.Schema | None = None, cure: str = ANEW) -> Iterator[pq.ParquetFile]:
    """A parquet file for streaming, of that `schema` where one is given (metadata aside); `cure` where it is not ours.

    Raises UserError when it is damaged (a truncated part, say), now or while it is read.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            if schema is not None and not file.schema_arrow.equals(schema):
                raise pa.ArrowInvalid("its columns are not those it was written with")
            yield file
    except (pa.ArrowException, OSError) as problem:
        raise UserError(
            f"damaged ({str(problem).splitlines()[0].rstrip('.')[:120]})",
            where=str(path),
            cure=cure,
        ) from None


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Whole columns. Raises UserError when the file is damaged."""
    with open_parquet(path) as file:
        return pl.DataFrame(file.read(columns=list(columns), use_threads=False))


def groups(path: Path, without: Sequence[str] = ()) -> Iterator[pa.Table]:
    """The file's row groups one after the other, one in memory at a time; columns named in `without` are not read."""
    with open_parquet(path) as file:
        columns = [name for name in file.schema_arrow.names if name not in without]
        if not file.num_row_groups:
            yield file.schema_arrow.empty_table().select(columns)
        for group in range(file.num_row_groups):
            pa.default_memory_pool().release_unused()
            yield file.read_row_group(group, columns=columns, use_threads=False)


class TextColumn:
    """One column of several parquet files, addressed by row number over all of them. Holds what the last take used."""

    def __init__(self, files: Iterable[Path], column: str) -> None:
        self._column = column
        self._groups: list[tuple[Path, int]] = []  # not open files: a ladder may have thousands of parts
        self._starts: list[int] = []
        self._held: dict[int, pa.ChunkedArray] = {}
        self._type = pa.null()
        total = 0
        for path in files:
            with open_parquet(path) as file:
                self._type = file.schema_arrow.field(column).type
                for group in range(file.num_row_groups):
                    self._groups.append((path, group))
                    self._starts.append(total)
                    total += file.metadata.row_group(group).num_rows
        self._edges = pl.Series(self._starts, dtype=pl.Int64)

    def take(self, rows: pl.Series) -> pa.Array:
        """The values of these rows, in that order."""
        if not len(rows):
            return pa.array([], self._type)
        first, last = (
            self._group_of(row) for row in rows.to_frame().select(low=pl.first().min(), high=pl.last().max()).row(0)
        )
        if first == last:  # nearly always: tables that are made of each other have one order
            self._held = {first: self._held[first] if first in self._held else self._read(first)}
            return _taken(self._held[first], rows.cast(pl.Int64) - self._starts[first])
        of_row = self._edges.search_sorted(rows.cast(pl.Int64), side="right") - 1
        needed = of_row.unique().sort().to_list()
        self._held = {group: self._held[group] if group in self._held else self._read(group) for group in needed}
        shift, at = {}, 0
        for group in needed:
            shift[group] = at - self._starts[group]
            at += len(self._held[group])
        index = rows.cast(pl.Int64) + of_row.replace_strict(shift, return_dtype=pl.Int64)
        chunks = [chunk for group in needed for chunk in self._held[group].chunks]
        return pa.chunked_array(chunks).take(index.to_arrow()).combine_chunks()

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _read(self, group: int) -> pa.ChunkedArray:
        path, number = self._groups[group]
        pa.default_memory_pool().release_unused()
        with open_parquet(path) as file:
            return file.read_row_group(number, columns=[self._column], use_threads=False).column(0)


def _taken(values: pa.ChunkedArray, rows: pl.Series) -> pa.Array:
    """Some of the values; rows that follow each other, each once, are cut out, not copied one by one."""
    if rows[-1] - rows[0] == len(rows) - 1 and (rows.diff(null_behavior="drop") == 1).all():
        return values.slice(rows[0], len(rows)).combine_chunks()
    return values.take(rows.to_arrow()).combine_chunks()
