"""Prompt pools to the prompts table: read, check, deduplicate, sample.

deltadata collect recipes/quickstart.yaml       # writes prompts.parquet; `deltadata show RUN prompts` prints it
"""

from __future__ import annotations

import heapq
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import tables
from deltadata.errors import UserError
from deltadata.recipe import Pool, Recipe
from deltadata.rows import (
    LOOK_AHEAD,
    USER,
    BadRow,
    Row,
    bad_row,
    conversation,
    first_three,
    no_such_column,
    read_rows,
    text,
)

FEW_BAD = 10  # so many bad rows are let pass in any pool
CHUNK = 1024
_RANK = "rank"
_RANKED = tables.PROMPTS.schema.append(pa.field(_RANK, pa.int64()))


class Collected(NamedTuple):
    """`prompts` has the columns of tables.PROMPTS. `pools` has a dict for each pool: name, path and how many rows were
    read = bad + duplicate + not_sampled + taken. `bad` has {where, why, row} of each bad row."""

    prompts: pa.Table
    pools: list[dict[str, Any]]
    bad: list[dict[str, str]]


def collect(recipe: Recipe, recipe_dir: Path) -> Collected:
    """The prompts of every pool, in the pools' order and then the files' (paths are relative to `recipe_dir`).

    A prompt that stands twice, in one pool or in two, is taken the first time; `dedup: none` is for pools known to be
    distinct and refuses the second. `limit` takes, of each pool, the prompts of the smallest seeded rank: a higher
    limit adds prompts and drops none, and a row added to one pool moves no choice in another beyond the pools' shares.

    Raises UserError when a column is missing, a pool has no usable row or too many bad ones (more than 10 and more
    than collect.max_bad of it), or a source cannot be read; OutsideError when the Hub does not answer.
    """
    limit = recipe.collect.limit
    seen: set[str] = set()
    bad: list[dict[str, str]] = []
    counts, found = [], []
    for pool in recipe.collect.pools:
        count, ranked = _read(pool, recipe, recipe_dir, seen, bad)
        counts.append(count)
        found.append(ranked)
    if limit is None:
        takes = [ranked.num_rows for ranked in found]
    else:
        usable = [count["read"] - count["bad"] - count["duplicate"] for count in counts]
        takes = shares(limit, [pool.weight for pool in recipe.collect.pools], usable)
    for count, take in zip(counts, takes, strict=True):
        count["not_sampled"] = count["read"] - count["bad"] - count["duplicate"] - take
        count["taken"] = take
    prompts = pa.concat_tables([_lowest(ranked, take) for ranked, take in zip(found, takes, strict=True)])
    return Collected(prompts.drop_columns(_RANK), counts, bad)


def shares(limit: int, weights: list[float], available: list[int]) -> list[int]:
    """How many of `limit` rows each pool gives: by weight, never more than it has, the rest going to the others.

    One row after the other goes to the pool that is furthest below its weight (Sainte-Laguë). For two pools that is the
    largest remainder; for more, the largest remainder can take a row away from a pool when the limit grows.
    """
    taken = [0] * len(weights)
    queue = [(0.5 / weight, i) for i, weight in enumerate(weights) if available[i]]
    heapq.heapify(queue)
    for _ in range(min(limit, sum(available))):
        _, i = heapq.heappop(queue)
        taken[i] += 1
        if taken[i] < available[i]:
            heapq.heappush(queue, ((taken[i] + 0.5) / weights[i], i))
    return taken


def _read(
    pool: Pool, recipe: Recipe, recipe_dir: Path, seen: set[str], bad: list[dict[str, str]]
) -> tuple[dict[str, Any], pa.Table]:
    """Counts and usable rows of one pool, of a limited recipe not more than the limit; adds to `seen` and `bad`."""
    limit = recipe.collect.limit
    read = duplicate = readable = absent = held = 0
    own_bad: list[dict[str, str]] = []
    kept: set[str] = set()
    parts, rows = [_RANKED.empty_table()], []
    for row in read_rows(pool.path, recipe_dir, [pool.prompt, *pool.keep]):
        read += 1
        if row.value is not None:
            readable += 1
            absent += pool.prompt not in row.value
            kept.update(name for name in pool.keep if name in row.value)
            if absent == LOOK_AHEAD == readable:
                break
        try:
            prompt, meta = _prompt(row, pool)
        except BadRow as why:
            own_bad.append(bad_row(row, str(why)))
            continue
        prompt_id = tables.prompt_id(prompt)
        if prompt_id in seen:
            if recipe.collect.dedup == "none":
                what = f"pool {pool.name!r}: this prompt ({prompt_id}) stands a second time"
                raise UserError(what, where=row.where, cure="`dedup: none` is for distinct prompts; say `dedup: exact`")
            duplicate += 1
            continue
        seen.add(prompt_id)
        rank = tables.rank(recipe.seed, prompt_id)
        values = {tables.PROMPT_ID: prompt_id, tables.PROMPT: prompt, tables.POOL: pool.name, tables.META: meta}
        rows.append(values | {_RANK: rank})
        if len(rows) == CHUNK:
            parts.append(pa.Table.from_pylist(rows, _RANKED))
            held, rows = held + len(rows), []
            if limit is not None and held > 2 * limit + CHUNK:
                parts, held = [_lowest(pa.concat_tables(parts), limit)], limit
    for column in [pool.prompt] if readable and absent == readable else [k for k in pool.keep if k not in kept]:
        if readable:
            raise no_such_column(column, pool.path, recipe_dir, f"pool {pool.name!r}")
    _refuse_bad(pool, own_bad, read, recipe.collect.max_bad)
    bad += own_bad
    parts.append(pa.Table.from_pylist(rows, _RANKED))
    ranked = pa.concat_tables(parts)
    count = {"name": pool.name, "path": pool.path, "read": read, "bad": len(own_bad), "duplicate": duplicate}
    return count, ranked if limit is None else _lowest(ranked, limit)


def _prompt(row: Row, pool: Pool) -> tuple[list[dict[str, str]], str | None]:
    """Messages and meta of a row. Raises BadRow."""
    if row.value is None:
        raise BadRow(row.problem)
    if pool.prompt not in row.value:
        raise BadRow(f"no column {pool.prompt!r}")
    prompt = conversation(row.value[pool.prompt], pool.prompt)
    if prompt[-1][tables.ROLE] != USER:
        raise BadRow(f"{pool.prompt} ends with a turn of {prompt[-1][tables.ROLE]}, not of {USER}")
    meta = {name: _no_nan(row.value[name]) for name in pool.keep if name in row.value}
    if not meta:
        return prompt, None
    try:
        # Dates, decimals and bytes, which Parquet has and JSON has not, become text.
        packed = json.dumps(
            meta, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str
        )
    except (ValueError, RecursionError) as problem:
        raise BadRow(f"the kept columns are no JSON: {problem}") from None
    return prompt, text(packed, tables.META)


def _no_nan(value: Any) -> Any:
    """NaN is how some writers spell null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _refuse_bad(pool: Pool, bad: list[dict[str, str]], read: int, max_bad: float) -> None:
    if read == len(bad):
        said = f"all {read} rows are bad: {first_three(bad)}" if bad else "it has no rows"
        cure = "name the column with the prompts as `prompt:`, or drop the pool"
        raise UserError(f"pool {pool.name!r} is an empty pool: {said}", where=pool.path, cure=cure)
    if len(bad) > FEW_BAD and len(bad) > max_bad * read:
        raise UserError(
            f"pool {pool.name!r}: {len(bad)} of {read} rows ({len(bad) / read:.1%}) are bad: {first_three(bad)}",
            where=pool.path,
            cure=f"mend the rows, or allow more with --set collect.max_bad={math.ceil(100 * len(bad) / read) / 100}",
        )


def _lowest(ranked: pa.Table, count: int) -> pa.Table:
    """The `count` rows of the lowest rank, in the order that they have."""
    if count >= ranked.num_rows:
        return ranked
    order = pl.Series(ranked[_RANK].to_pylist(), dtype=pl.Int64).rank("ordinal")
    return ranked.filter(pa.array((order <= count).to_list(), pa.bool_()))
