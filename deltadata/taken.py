"""Responses of one run folder to another: what is answered once is asked no model again.

deltadata validate RECIPE --sample 200      # takes from runs/NAME what is answered there
deltadata run RECIPE                        # takes from runs/NAME/validate, and asks for the rest
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import polars as pl
import pyarrow as pa

from deltadata import parts, tables
from deltadata.parquet import open_parquet, read_columns, write_table
from deltadata.recipe import Recipe
from deltadata.sections import Rung
from deltadata.tables import PROMPT_ID, RESPONSES, SAMPLE

_KEY = [PROMPT_ID, SAMPLE]


def take_over(source: Path, run: Path, recipe: Recipe, recipe_dir: Path) -> dict[str, int]:
    """Copy the responses of the run at `source` to prompts of the run at `run`, where that one has none and the recipe
    as it is made them; returns how many of each rung. A failed one is left out: it may be asked for again.
    """
    taken: dict[str, int] = {}
    for rung in recipe.generate.rungs:
        if rung.responses or not parts.folder(source, rung.name).is_dir():
            continue
        home = parts.folder(run, rung.name)
        for made_by, rows in list(_missing(source, run, recipe, recipe_dir, rung)):
            free = next(name for name in map(parts.NAME.format, count()) if not (home / name).exists())
            write_table(home / free, rows, made_by | {parts.DIGEST: parts.digest_of(rows)})
            taken[rung.name] = taken.get(rung.name, 0) + rows.num_rows
    return taken


def _missing(
    source: Path, run: Path, recipe: Recipe, recipe_dir: Path, rung: Rung
) -> Iterator[tuple[dict[bytes, str], pa.Table]]:
    """What the run lacks and the source has, one table for each thing that made them, with its footer."""
    spec, wanted = parts.spec_of(recipe, rung, recipe_dir), _wanted(run, recipe, rung)
    found: dict[tuple[str, str], list[pa.Table]] = {}
    for path in parts.read(source, rung.name).files if wanted.height else []:
        with open_parquet(path, RESPONSES.schema) as file:
            told = file.schema_arrow.metadata or {}
            made_by = told.get(parts.SPEC, b"{}").decode(), told.get(parts.FACTS, b"{}").decode()
            if not parts.same(json.loads(made_by[0]), spec):
                continue
            rows = file.read(use_threads=False)
        keys = pl.DataFrame(rows.select([*_KEY, tables.ERROR])).with_row_index("row")
        taken = keys.filter(pl.col(tables.ERROR).is_null()).join(wanted, on=_KEY, how="semi", maintain_order="left")
        if taken.height:
            found.setdefault(made_by, []).append(rows.take(taken["row"].to_arrow()).replace_schema_metadata(None))
    for (made, facts), of_it in found.items():
        yield {parts.SPEC: made, parts.FACTS: facts}, pa.concat_tables(of_it)


def _wanted(run: Path, recipe: Recipe, rung: Rung) -> pl.DataFrame:
    """Keys that the run has no response to."""
    samples = range(recipe.generate.sampling_of(rung).samples)
    prompts = read_columns(run / tables.PROMPTS_FILE, [PROMPT_ID])
    asked = prompts.join(pl.DataFrame({SAMPLE: samples}, schema={SAMPLE: pl.UInt32}), how="cross")
    return asked.join(parts.read(run, rung.name).keys, on=_KEY, how="anti")
