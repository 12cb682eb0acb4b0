"""Every usable row of the pools on disk, in order: what `collect` chooses from without holding text in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import tables, tags
from deltadata.dedup import plain
from deltadata.errors import UserError
from deltadata.files import is_pattern
from deltadata.layouts import BadRow, messages, text, value_at
from deltadata.parquet import groups, writing
from deltadata.prompt_rules import neutralise
from deltadata.recipe import Recipe
from deltadata.rows import LOOK_AHEAD, Row, bad_row, first_three, no_such_column, read_rows
from deltadata.sections import Pool
from deltadata.tables import CONTENT, META, POOL, PROMPT, PROMPT_ID, PROMPTS

WHERE = "where"
RANK = "rank"
TAG = "tag"
SCHEMA = PROMPTS.schema.append(pa.field(WHERE, pa.string()))
FEW_BAD = 10  # so many bad rows are let pass in any pool
SHOWN_BAD = 10_000  # bad rows that are kept to be written aside
CHUNK = 1024


class Read(NamedTuple):
    """What was read of one pool: rows, and the bad ones among them."""

    name: str
    path: str
    read: int
    bad: int


def spool(recipe: Recipe, recipe_dir: Path, path: Path, bad: list[dict[str, str]]) -> tuple[list[Read], pl.DataFrame]:
    """Write the usable rows of all pools to `path`, in order; adds to `bad`.

    Returns what was read of each pool, and a narrow row for each spooled one: PROMPT_ID, POOL and RANK, a number that
    the seed and the prompt fix.

    Raises UserError when a column is missing, a pool has no usable row or too many bad ones (more than 10 and more
    than collect.max_bad of it), or a source cannot be read; OutsideError when the Hub does not answer.
    """
    counts, narrow = [], [_narrow([], recipe.seed)]
    with writing(path, SCHEMA, published=False) as writer:
        for pool in recipe.collect.pools:
            reader = _Reader(pool, recipe, recipe_dir)
            for rows in reader.chunks():
                writer.write(pa.Table.from_pylist(rows, SCHEMA))
                narrow.append(_narrow(rows, recipe.seed))
            reader.finish()
            bad += reader.bad
            counts.append(Read(pool.name, pool.path, reader.read, reader.bad_rows))
    return counts, pl.concat(narrow)


def texts(path: Path) -> Iterator[pl.Series]:
    """The prompts' plain text, in order, a row group at a time."""
    for group in groups(path, without=(META, WHERE, POOL, PROMPT_ID)):
        yield pl.DataFrame(group).select(plain().alias(PROMPT)).to_series()


def _narrow(rows: list[dict[str, Any]], seed: int) -> pl.DataFrame:
    ids = [row[PROMPT_ID] for row in rows]
    columns = {PROMPT_ID: ids, POOL: [row[POOL] for row in rows], RANK: [tables.rank(seed, i) for i in ids]}
    return pl.DataFrame(columns, schema={PROMPT_ID: pl.String, POOL: pl.String, RANK: pl.Int64})


class _Reader:
    """Reads one pool; knows when it holds nothing of use."""

    def __init__(self, pool: Pool, recipe: Recipe, recipe_dir: Path) -> None:
        self.pool, self.collect, self.recipe_dir = pool, recipe.collect, recipe_dir
        self.read = self.bad_rows = self.readable = self.absent = 0
        self.bad: list[dict[str, str]] = []
        self.kept: set[str] = set()

    def chunks(self) -> Iterator[list[dict[str, Any]]]:
        """Rows of SCHEMA."""
        rows: list[dict[str, Any]] = []
        needed = [self.pool.prompt] if is_pattern(self.pool.path) else []
        for row in read_rows(self.pool.path, self.recipe_dir, [self.pool.prompt, *self.pool.keep], needed):
            self.read += 1
            self._look(row)
            if self.absent == LOOK_AHEAD == self.readable:
                break
            try:
                prompt, meta = _prompt(row, self.pool)
            except BadRow as why:
                self.bad_rows += 1
                if len(self.bad) < SHOWN_BAD:
                    self.bad.append(bad_row(row, str(why)))
                continue
            rows.append({PROMPT: prompt, POOL: self.pool.name, META: meta, WHERE: row.where})
            if len(rows) == CHUNK:
                yield self._made(rows)
                rows = []
        yield self._made(rows)

    def _look(self, row: Row) -> None:
        if row.value is not None:
            self.readable += 1
            self.absent += self.pool.prompt not in row.value
            self.kept.update(name for name in self.pool.keep if name in row.value)

    def _made(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with their ids, after what the recipe does to texts."""
        if self.collect.special_tokens == "neutralise":
            _neutralise(rows)
        if self.collect.tag:
            _tag(rows)
        for row in rows:
            row[PROMPT_ID] = tables.prompt_id(row[PROMPT])
        return rows

    def finish(self) -> None:
        """Raises UserError when the pool had nothing, too much that is bad, or never a column that was asked for."""
        nowhere = self.readable and self.absent == self.readable
        for column in [self.pool.prompt] if nowhere else [k for k in self.pool.keep if k not in self.kept]:
            if self.readable:
                raise no_such_column(column, self.pool.path, self.recipe_dir, f"pool {self.pool.name!r}")
        _refuse_bad(self.pool, self.bad, self.bad_rows, self.read, self.collect.max_bad)


def _neutralise(rows: list[dict[str, Any]]) -> None:
    turns = [turn for row in rows for turn in row[PROMPT]]
    contents = pl.Series(CONTENT, [turn[CONTENT] for turn in turns], dtype=pl.String)
    for turn, content in zip(turns, contents.to_frame().select(neutralise(pl.col(CONTENT))).to_series(), strict=True):
        turn[CONTENT] = content


def _tag(rows: list[dict[str, Any]]) -> None:
    asked = pl.DataFrame({PROMPT: [row[PROMPT] for row in rows]}, schema={PROMPT: _MESSAGES})
    for row, tag in zip(rows, asked.select(tags.tag(plain())).to_series(), strict=True):
        row[META] = _packed({**json.loads(row[META] or "{}"), TAG: tag})


_MESSAGES = pl.List(pl.Struct({tables.ROLE: pl.String, tables.CONTENT: pl.String}))


def _prompt(row: Row, pool: Pool) -> tuple[list[dict[str, str]], str | None]:
    """Messages and meta of a row. Raises BadRow."""
    if row.value is None:
        raise BadRow(row.problem)
    prompt = messages(value_at(row.value, pool.prompt), pool.prompt, pool.take)
    meta = {name: _no_nan(row.value[name]) for name in pool.keep if name in row.value}
    return prompt, _packed(meta) if meta else None


def _packed(meta: dict[str, Any]) -> str:
    """Meta as JSON text. Raises BadRow when it is none."""
    try:
        # Dates, decimals and bytes, which Parquet has and JSON has not, become text.
        packed = json.dumps(
            meta, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str
        )
    except (ValueError, RecursionError) as problem:
        raise BadRow(f"the kept columns are no JSON: {problem}") from None
    return text(packed, META)


def _no_nan(value: Any) -> Any:
    """NaN is how some writers spell null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _refuse_bad(pool: Pool, bad: list[dict[str, str]], count: int, read: int, max_bad: float) -> None:
    if read == count:
        said = f"all {read} rows are bad: {first_three(bad)}" if bad else "it has no rows"
        cure = "mend its rows, or name another column with the prompts as `prompt:`"
        cure = cure if bad else "give a file with rows, or drop the pool"
        raise UserError(f"pool {pool.name!r} is an empty pool: {said}", where=pool.path, cure=cure)
    if count > FEW_BAD and count > max_bad * read:
        raise UserError(
            f"pool {pool.name!r}: {count} of {read} rows ({count / read:.1%}) are bad: {first_three(bad)}",
            where=pool.path,
            cure=f"mend the rows, or allow more with --set collect.max_bad={math.ceil(100 * count / read) / 100}",
        )
